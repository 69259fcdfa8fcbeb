//! What a log should be: a list of what was appended, and of each entry whether it must, may or must not be there.

use buffer::Tally;

/// One append. Its time of entry is its identity: no two have the same.
#[derive(Debug, Clone)]
pub(crate) struct Appended {
    pub(crate) entered_ms: u64,
    pub(crate) tag: u8,
    pub(crate) items: u32,
    pub(crate) payload: Vec<u8>,
    /// Unknown where the append failed.
    pub(crate) seq: Option<u64>,
    /// Written, and its commit not heard of.
    pub(crate) pending: bool,
    /// Durable and not done: this process must read it.
    pub(crate) readable: bool,
    /// Must be there after a crash.
    pub(crate) must: bool,
    /// May be there after a crash.
    pub(crate) may: bool,
    /// A bit of it was flipped.
    pub(crate) flipped: bool,
    /// File, offset, length.
    pub(crate) place: Option<(String, u64, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) all: Vec<Appended>,
}

impl Model {
    pub(crate) fn tally(&self) -> Tally {
        sum(self.all.iter().filter(|appended| appended.readable))
    }

    pub(crate) fn next(&self, after: u64) -> Option<usize> {
        let next = |appended: &Appended| appended.readable && appended.seq.is_some_and(|seq| seq > after);
        (0..self.all.len()).filter(|at| next(&self.all[*at])).min_by_key(|at| self.all[*at].seq)
    }

    /// Done, dropped or failed: gone for this process; after a crash it may be back until the log is settled.
    pub(crate) fn gone(&mut self, at: usize) {
        let appended = &mut self.all[at];
        (appended.pending, appended.readable, appended.must) = (false, false, false);
    }

    pub(crate) fn settled(&mut self) {
        for appended in self.all.iter_mut().filter(|appended| !appended.pending && !appended.readable) {
            appended.may = false;
        }
    }

    /// A note was damaged or could not be read: what it said may be forgotten.
    pub(crate) fn forget_notes(&mut self) {
        self.all.iter_mut().for_each(|appended| appended.may = true);
    }
}

pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Appended>) -> Tally {
    let mut tally = Tally::default();
    for appended in all {
        tally.records += 1;
        tally.items += u64::from(appended.items);
        tally.bytes += appended.payload.len() as u64;
    }
    tally
}
