//! Random programs on a disk that fails in every way that it may, against a naive model.
//!
//! `SEED=n` runs one seed; `SEEDS=100000` runs more. Each seed decides limits, program and disk. The last tests prove that the
//! simulation can fail: on disks that lie it must.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

#[path = "simulation/model.rs"]
mod model;

use std::panic::{AssertUnwindSafe, catch_unwind};

use buffer::record::{HEADER, Place};
use buffer::simulated::{Disk, Lies, Rng};
use buffer::{Committed, Error, Log, OnFull, Options, Report, Reservation, Tally};
use model::{Appended, Model, sum};

/// Fails the run with the place and what was expected.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!("{VERDICT} {}: {}", line!(), format!($($text)+)));
        }
    };
}

/// How a failure begins that the model found; others are panics.
const VERDICT: &str = "line";

type Outcome = Result<(), String>;

struct Run {
    rng: Rng,
    disk: Disk,
    options: Options,
    log: Option<Log<Disk>>,
    model: Model,
    clock: u64,
    dropped: Tally,
    expired: Tally,
    damaged: Tally,
    /// Room taken and not used yet, with the size of the payload that it is for.
    held: Vec<(usize, Reservation)>,
    /// The most bytes that any limits of this run allowed.
    most: u64,
    /// Opening did not see what is really on the disk: some of it could not be read, or the page cache shows what an earlier
    /// process failed to sync. What nobody was promised may then go or come back.
    unseen: bool,
    /// How often each thing happened, so that a test can see that it did.
    seen: Seen,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    appended: u64,
    durable: u64,
    failed: u64,
    refused: u64,
    resized: u64,
    limited: u64,
    cuts: u64,
    kills: u64,
    reappeared: u64,
    done: u64,
    dropped: u64,
    expired: u64,
    damaged: u64,
    recovered: u64,
}

impl Run {
    fn new(seed: u64, lies: Lies) -> Self {
        let mut rng = Rng(seed);
        let options = limits(&mut rng);
        let (model, zero) = (Model::default(), Tally::default());
        let disk = Disk::new(seed, lies);
        Self {
            rng,
            disk,
            options,
            log: None,
            model,
            clock: 0,
            dropped: zero,
            expired: zero,
            damaged: zero,
            held: Vec::new(),
            most: 0,
            unseen: false,
            seen: Seen::default(),
        }
    }

    fn log(&mut self) -> &mut Log<Disk> {
        self.log.as_mut().expect("open")
    }

    fn program(&mut self) -> Outcome {
        self.open()?;
        let long = if self.rng.percent(5) { 400 } else { 0 };
        for _ in 0..20 + self.rng.below(100) + long {
            match self.rng.below(100) {
                0..34 => self.append()?,
                34..38 => self.hold()?,
                38..39 => self.held.clear(),
                39..40 => self.set_limits(),
                41..55 => self.commit()?,
                55..65 => self.read()?,
                65..80 => self.done()?,
                80..83 => self.expire()?,
                83..85 => self.kill()?,
                85..88 => self.cut()?,
                88..91 => self.disk.state().fuse = Some(1 + self.rng.below(40)),
                91..93 => self.disk.state().space = Some(self.rng.below(3000)),
                93..94 => self.disk.state().faults = 3 + self.rng.below(20),
                94..95 => self.disk.state().read_faults = 10,
                95..98 => self.disk.heal(),
                98..99 => self.unlink_and_kill()?,
                40..41 => self.flip(true)?,
                _ => self.close()?,
            }
            self.trace("step");
            if self.disk.state().down {
                self.cut()?;
                self.trace("cut");
            }
            self.consistent()?;
        }
        self.disk.heal();
        self.works_again()?;
        self.cut()?;
        self.works_again()
    }

    /// With `TRACE` set: what the run looks like now.
    fn trace(&self, what: &str) {
        if std::env::var_os("TRACE").is_some() {
            let of = |wanted: fn(&Appended) -> bool| {
                let all = self.model.all.iter().filter(|appended| wanted(appended));
                all.map(|appended| (appended.entered_ms, appended.seq.unwrap_or(0))).collect::<Vec<_>>()
            };
            let (readable, pending) = (of(|appended| appended.readable), of(|appended| appended.pending));
            let back = of(|appended| appended.may && !appended.readable && !appended.pending);
            eprintln!("{what}: readable {readable:?} pending {pending:?} may be back {back:?}");
            eprintln!("    {:?} settled {:?}", self.disk, self.log.as_ref().map(Log::is_settled));
        }
    }

    fn open(&mut self) -> Outcome {
        self.log = None;
        self.held.clear();
        self.most = self.most.max(self.options.max_bytes);
        loop {
            let was_healthy = self.disk.is_healthy();
            self.trace("opening");
            match Log::open(self.disk.clone(), self.options.clone()) {
                Ok(log) if !self.disk.state().down => {
                    (self.dropped, self.expired, self.damaged) = Default::default();
                    self.log = Some(log);
                    return self.recovered(was_healthy);
                }
                Err(error) if was_healthy => return Err(format!("{VERDICT}: a healthy disk, and {error}")),
                // The power failed while it was opened.
                _ => self.disk.cut(),
            }
        }
    }

    /// Holds what can be read against what must and may be there.
    fn recovered(&mut self, healthy: bool) -> Outcome {
        let report = self.log().report().clone();
        let unseen = report.unopened > 0 || report.unreadable_bytes > 0;
        self.unseen = unseen || self.disk.state().forgot;
        if self.unseen {
            self.model.forget_notes();
        }
        let healthy = healthy && !self.unseen;
        let there = self.read_all()?;
        ensure!(there.len() as u64 == report.undelivered.records, "{there:?} {report:?}");
        let settled = self.log().is_settled();
        for at in 0..self.model.all.len() {
            let appended = &mut self.model.all[at];
            let is_there = there.contains(&at);
            ensure!(!is_there || appended.may, "came back: {appended:?}");
            ensure!(!is_there || !appended.flipped, "flipped, and read: {appended:?}");
            ensure!(
                is_there || !appended.must || appended.flipped || unseen,
                "lost: {appended:?} {report:?}"
            );
            if appended.must && appended.flipped && !is_there && !unseen {
                // The last of these alone if an opening that the power cut short has deleted what was damaged.
                let Report { damaged, lost_bytes, tail_bytes, missing, .. } = &report;
                ensure!(
                    damaged.records + lost_bytes + tail_bytes + missing > 0,
                    "not reported: {appended:?} {report:?}"
                );
                self.seen.damaged += 1;
            }
            self.seen.reappeared += u64::from(is_there && !appended.must);
            self.seen.recovered += u64::from(is_there);
            appended.pending = false;
            appended.readable = is_there;
            // What a healthy opening has read, it has synced.
            appended.must = is_there && (healthy || appended.must);
            appended.may = is_there || (appended.may && (unseen || !settled || !healthy));
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<Vec<usize>, String> {
        let mut there: Vec<usize> = Vec::new();
        let mut after = 0;
        let read_faults = std::mem::take(&mut self.disk.state().read_faults);
        let fuse = self.disk.state().fuse.take();
        loop {
            let record = self
                .log()
                .read_next(after)
                .map_err(|error| format!("{VERDICT}: a sound disk, and {error}"))?;
            let Some(record) = record else { break };
            ensure!(record.seq > after, "{} after {after}", record.seq);
            after = record.seq;
            let appended =
                self.model.all.iter().position(|appended| appended.entered_ms == record.entered_ms);
            let Some(at) = appended else { return Err(format!("{VERDICT}: never appended: {record:?}")) };
            let appended = &mut self.model.all[at];
            ensure!(appended.seq.is_none_or(|seq| seq == record.seq), "{appended:?} read as {record:?}");
            appended.seq = Some(record.seq);
            let same = appended.payload == record.bytes && appended.items == record.items;
            ensure!(same && appended.tag == record.tag, "{appended:?} read as {record:?}");
            there.push(at);
        }
        let mut state = self.disk.state();
        (state.read_faults, state.fuse) = (read_faults, fuse);
        Ok(there)
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.rng.below(10) {
            0 => 0,
            1 => self.rng.below(6000),
            _ => self.rng.below(400),
        } as usize;
        match self.rng.below(5) {
            0 => vec![0; length],
            // Somebody sends what the log itself wrote.
            1 => self.disk.copy(self.rng.next(), length),
            2 => b"FWB1".iter().copied().cycle().take(length).collect(),
            _ => (0..length).map(|_| self.rng.next() as u8).collect(),
        }
    }

    /// Takes room to be used later.
    fn hold(&mut self) -> Outcome {
        let length = self.payload().len();
        let (is_full, log) = (self.is_full(length), self.log.as_mut().expect("open"));
        match log.reserve(length) {
            Ok(room) => self.held.push((length, room)),
            Err(Error::Full { .. } | Error::TooLarge { .. }) if is_full => self.seen.refused += 1,
            Err(error) => return Err(format!("{VERDICT}: not full, but {error}")),
        }
        self.dropped()
    }

    /// Other limits, as after a reload.
    fn set_limits(&mut self) {
        let Options { max_bytes, max_records, max_age_ms, on_full, .. } = limits(&mut self.rng);
        let reserved = self.log().reserved_bytes();
        self.most = self.most.max(max_bytes) + reserved;
        let segment_bytes = self.options.segment_bytes;
        self.options = Options { max_bytes, max_records, segment_bytes, max_age_ms, on_full };
        self.log().set_limits(max_bytes, max_records, max_age_ms, on_full);
        self.seen.limited += 1;
    }

    /// Whether a payload of this length may be refused.
    fn is_full(&self, length: usize) -> bool {
        let log = self.log.as_ref().expect("open");
        let bytes = log.disk_bytes() + log.reserved_bytes() + (length + HEADER) as u64;
        bytes > self.options.max_bytes || self.options.max_records < 1000
    }

    fn append(&mut self) -> Outcome {
        self.clock += 1;
        let (tag, items, payload) = (self.rng.next() as u8, self.rng.below(50) as u32, self.payload());
        let clock = self.clock;
        let healthy = self.disk.is_healthy();
        let pending = self.model.all.iter().any(|appended| appended.pending);
        let is_full = self.is_full(payload.len());
        let mut room = None;
        if self.rng.percent(30) {
            let length = if self.rng.percent(50) { payload.len() } else { self.payload().len() };
            match self.log().reserve(length) {
                Ok(reserved) => room = Some((length, reserved)),
                Err(error) => {
                    ensure!(self.is_full(length), "not full, but {error}");
                    self.seen.refused += 1;
                }
            }
        } else if self.rng.percent(50) && !self.held.is_empty() {
            let at = self.rng.below(self.held.len() as u64) as usize;
            room = Some(self.held.swap_remove(at));
        }
        let fits = room.as_ref().map(|(length, _)| *length >= payload.len());
        self.seen.resized += u64::from(fits == Some(false));
        let log = self.log.as_mut().expect("open");
        let result = match room {
            Some((_, room)) => log.append_reserved(room, clock, tag, items, &payload),
            None => log.append(clock, tag, items, &payload),
        };
        self.dropped()?;
        if let Err(Error::Full { .. } | Error::TooLarge { .. }) = result {
            let drops = self.options.on_full == OnFull::DropOldest;
            let stuck = self.unseen || drops && (pending || !healthy || self.options.max_records < 1000);
            ensure!(fits != Some(true) || stuck, "room was promised, but {result:?}");
            ensure!(is_full, "not full, but {result:?}");
            self.seen.refused += 1;
            return Ok(());
        }
        ensure!(result.is_ok() || !healthy, "a healthy disk, and {result:?}");
        let pending = result.is_ok();
        let place = pending.then(|| self.last_record(payload.len())).flatten();
        let seq = result.ok();
        self.seen.appended += u64::from(pending);
        self.seen.failed += u64::from(!pending);
        self.model.all.push(Appended {
            entered_ms: clock,
            tag,
            items,
            payload,
            seq,
            pending,
            readable: false,
            must: false,
            may: true,
            flipped: false,
            place,
        });
        Ok(())
    }

    /// Where the last record stands: at the end of the newest segment. `None` if that is too short to hold it.
    fn last_record(&self, length: usize) -> Option<(String, u64, u64)> {
        let sizes = self.disk.ends();
        let newest =
            sizes.into_iter().max_by_key(|(name, _)| Place::parse(name).map(|place| place.segment))?;
        let total = (length + HEADER) as u64;
        Some((newest.0, newest.1.checked_sub(total)?, total))
    }

    /// Learns what was dropped for want of room: the oldest.
    fn dropped(&mut self) -> Outcome {
        let drops = self.log().drops().full;
        let count = (drops.records - self.dropped.records) as usize;
        for _ in 0..count {
            let Some(at) = self.model.next(0) else {
                return Err(format!("{VERDICT}: dropped more than there was"));
            };
            add(&mut self.dropped, sum([&self.model.all[at]].into_iter()));
            self.model.gone(at);
            self.seen.dropped += 1;
        }
        ensure!(self.dropped == drops, "not the oldest were dropped: {:?} {drops:?}", self.dropped);
        Ok(())
    }

    fn commit(&mut self) -> Outcome {
        let split = self.rng.percent(30);
        self.commit_split(split)
    }

    fn commit_split(&mut self, split: bool) -> Outcome {
        let healthy = self.disk.is_healthy();
        let waiting: Vec<u64> = self
            .model
            .all
            .iter()
            .filter(|appended| appended.pending)
            .filter_map(|appended| appended.seq)
            .collect();
        let committed = if split {
            let syncing = self.log().begin_commit();
            // Others read, note and append while the disk syncs.
            self.read()?;
            self.done()?;
            let synced = syncing.run();
            if self.rng.percent(30) {
                self.append()?;
            }
            self.log().finish_commit(synced)
        } else {
            self.log().commit()
        };
        let Committed { durable, failed, error } = committed;
        for at in 0..self.model.all.len() {
            let Appended { pending: true, seq: Some(seq), .. } = self.model.all[at] else { continue };
            if durable.iter().any(|range| range.contains(&seq)) {
                let appended = &mut self.model.all[at];
                (appended.pending, appended.readable, appended.must) = (false, true, true);
                self.seen.durable += 1;
            } else if failed.iter().any(|range| range.contains(&seq)) {
                self.model.gone(at);
                self.seen.failed += 1;
            } else {
                ensure!(split && !waiting.contains(&seq), "{seq} is neither durable nor failed");
            }
        }
        ensure!(error.is_some() || failed.is_empty(), "failed without a reason: {failed:?}");
        ensure!(!healthy || error.is_none() || split, "a healthy disk, and {error:?}");
        if self.log().is_settled() && !self.unseen {
            self.model.settled();
        }
        ensure!(!healthy || split || self.log().is_settled(), "a healthy disk, and notes are left");
        self.dropped()?;
        Ok(())
    }

    /// Reads some records from somewhere.
    fn read(&mut self) -> Outcome {
        let newest = self.model.all.iter().filter_map(|appended| appended.seq).max().unwrap_or(0);
        let mut after = if self.rng.percent(50) { 0 } else { self.rng.below(newest + 2) };
        for _ in 0..1 + self.rng.below(5) {
            let may_fail = !self.disk.is_healthy();
            let record = match self.log().read_next(after) {
                Ok(record) => record,
                Err(error) => {
                    ensure!(may_fail && matches!(error, Error::Read { .. }), "{error}");
                    return self.rotted(after, u64::MAX);
                }
            };
            self.rotted(after, record.as_ref().map_or(u64::MAX, |record| record.seq))?;
            let expected = self.model.next(after).map(|at| &self.model.all[at]);
            let (Some(record), Some(expected)) = (&record, expected) else {
                ensure!(record.is_none() && expected.is_none(), "{record:?} instead of {expected:?}");
                break;
            };
            let same = record.entered_ms == expected.entered_ms && record.bytes == expected.payload;
            ensure!(same && Some(record.seq) == expected.seq, "{record:?} instead of {expected:?}");
            after = record.seq;
        }
        Ok(())
    }

    /// Learns which flipped records reading came across: they are counted and gone.
    fn rotted(&mut self, after: u64, before: u64) -> Outcome {
        let drops = self.log().drops().damaged;
        while self.damaged != drops {
            let next = (0..self.model.all.len()).filter(|at| {
                let appended = &self.model.all[*at];
                appended.readable
                    && appended.flipped
                    && appended.seq.is_some_and(|seq| after < seq && seq < before)
            });
            let Some(at) = next.min_by_key(|at| self.model.all[*at].seq) else {
                return Err(format!("{VERDICT}: sound, but taken for damaged: {drops:?} {:?}", self.damaged));
            };
            add(&mut self.damaged, sum([&self.model.all[at]].into_iter()));
            self.model.gone(at);
            self.seen.damaged += 1;
        }
        Ok(())
    }

    fn done(&mut self) -> Outcome {
        let Some(oldest) = self.model.next(0) else { return Ok(()) };
        let oldest = self.model.all[oldest].seq.unwrap();
        let first = if self.rng.percent(60) { oldest } else { oldest + self.rng.below(12) };
        let most = if self.rng.percent(20) { 40 } else { 6 };
        let last = first + self.rng.below(most);
        let noted = self.log().done(first..=last);
        let all = &self.model.all;
        let range =
            |at: &usize| all[*at].readable && all[*at].seq.is_some_and(|seq| first <= seq && seq <= last);
        let done: Vec<usize> = (0..all.len()).filter(range).collect();
        let expected = sum(done.iter().map(|at| &all[*at]));
        ensure!(noted == expected, "done {first}..={last}: {noted:?} instead of {expected:?}");
        self.seen.done += expected.records;
        done.into_iter().for_each(|at| self.model.gone(at));
        self.dropped()
    }

    fn expire(&mut self) -> Outcome {
        let clock = self.clock;
        let expired = self.log().expire(clock);
        add(&mut self.expired, expired);
        let mut expected = Tally::default();
        while let (Some(at), Some(age)) = (self.model.next(0), self.options.max_age_ms) {
            if clock - self.model.all[at].entered_ms <= age {
                break;
            }
            add(&mut expected, sum([&self.model.all[at]].into_iter()));
            self.model.gone(at);
        }
        self.seen.expired += expected.records;
        ensure!(expired == expected, "expired {expired:?} instead of {expected:?}");
        ensure!(self.log().drops().expired == self.expired, "expired, and not counted");
        self.dropped()
    }

    /// The process is killed; the system lives on.
    fn kill(&mut self) -> Outcome {
        self.seen.kills += 1;
        self.open()
    }

    /// The process is killed when it has removed files and could not make that durable.
    fn unlink_and_kill(&mut self) -> Outcome {
        self.disk.state().dir_fails = true;
        self.done()?;
        self.disk.state().dir_fails = false;
        self.kill()
    }

    /// The power fails; on the way back a bit may have flipped.
    fn cut(&mut self) -> Outcome {
        self.seen.cuts += 1;
        self.log = None;
        self.disk.cut();
        if self.rng.percent(30) {
            self.flip(false)?;
        }
        self.open()
    }

    fn flip(&mut self, running: bool) -> Outcome {
        let sizes = self.disk.sizes();
        // Where a record stands that came back though its append had failed is not known.
        if sizes.is_empty() || self.model.all.iter().any(|appended| appended.place.is_none() && appended.may)
        {
            return Ok(());
        }
        let (name, size) = &sizes[self.rng.below(sizes.len() as u64) as usize];
        let (offset, bit) = (self.rng.below(*size), self.rng.below(8));
        let hit = |appended: &&mut Appended| {
            let inside = |(file, start, length): &(String, u64, u64)| {
                file == name && *start <= offset && offset < start + length
            };
            appended.place.as_ref().is_some_and(inside) && !appended.pending
        };
        // A running log looks at its records again when it reads them; at notes only when it is opened.
        match self.model.all.iter_mut().find(hit) {
            Some(appended) if !appended.flipped && (!running || appended.must) => {
                appended.flipped = self.disk.flip(name, offset, bit);
            }
            None if !running => {
                self.disk.flip(name, offset, bit);
                self.model.forget_notes();
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Outcome {
        self.log().close();
        Ok(())
    }

    /// What holds at any time.
    fn consistent(&mut self) -> Outcome {
        let (undelivered, expected) = (self.log().undelivered(), self.model.tally());
        ensure!(undelivered == expected, "{undelivered:?} instead of {expected:?}");
        let held: u64 = self.held.iter().map(|(length, _)| (length + HEADER) as u64).sum();
        let reserved = self.log().reserved_bytes();
        ensure!(reserved == held, "{reserved} bytes reserved instead of {held}");
        let on_disk: u64 = self.disk.used();
        // No limit holds up the notes, and some of a failed write may stand there.
        let most = self.most + 6000;
        ensure!(on_disk <= most || self.log().report().unopened > 0, "{on_disk} bytes of {most}");
        Ok(())
    }

    /// Once nothing fails, nothing fails: all can be read and noted, and there is room.
    fn works_again(&mut self) -> Outcome {
        self.held.clear();
        self.commit_split(false)?;
        let there = self.read_all()?;
        self.rotted(0, u64::MAX)?;
        let readable = self.model.all.iter().filter(|appended| appended.readable).count();
        ensure!(there.len() == readable, "{there:?} of {readable}");
        self.log().done(0..=u64::MAX);
        (0..self.model.all.len()).for_each(|at| {
            if self.model.all[at].readable {
                self.model.gone(at);
            }
        });
        self.commit_split(false)?;
        let refused = self.seen.refused;
        self.append()?;
        let aside = self.log().report().unreadable_bytes > 0;
        ensure!(self.seen.refused == refused || aside, "an empty log refuses");
        self.commit_split(false)?;
        self.consistent()
    }
}

fn limits(rng: &mut Rng) -> Options {
    let spread = if rng.percent(50) { 10_000 } else { 100_000 };
    Options {
        max_bytes: 8000 + rng.below(spread),
        max_records: if rng.percent(20) { 5 + rng.below(40) } else { 1_000_000 },
        segment_bytes: 200 + rng.below(8000),
        max_age_ms: rng.percent(30).then(|| rng.below(60)),
        on_full: if rng.percent(50) { OnFull::Refuse } else { OnFull::DropOldest },
    }
}

fn add(tally: &mut Tally, more: Tally) {
    tally.records += more.records;
    tally.items += more.items;
    tally.bytes += more.bytes;
}

fn run(seed: u64, lies: Lies) -> Result<Seen, String> {
    let run = || {
        let mut run = Run::new(seed, lies);
        run.program().map(|()| run.seen)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default())
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_is_durable_survives_and_nothing_else_appears() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(6000),
    };
    let several = seeds.end - seeds.start > 100;
    let mut total = Seen::default();
    for seed in seeds {
        match run(seed, Lies::default()) {
            Ok(seen) => {
                total.appended += seen.appended;
                total.durable += seen.durable;
                total.failed += seen.failed;
                total.refused += seen.refused;
                total.resized += seen.resized;
                total.limited += seen.limited;
                total.cuts += seen.cuts;
                total.kills += seen.kills;
                total.reappeared += seen.reappeared;
                total.done += seen.done;
                total.dropped += seen.dropped;
                total.expired += seen.expired;
                total.damaged += seen.damaged;
                total.recovered += seen.recovered;
            }
            Err(failure) => panic!("SEED={seed} fails: {failure}"),
        }
    }
    eprintln!("{total:?}");
    let Seen {
        durable,
        failed,
        refused,
        resized,
        limited,
        cuts,
        kills,
        reappeared,
        done,
        dropped,
        expired,
        damaged,
        recovered,
        ..
    } = total;
    let all = [
        durable, failed, refused, resized, limited, cuts, kills, reappeared, done, dropped, expired, damaged,
        recovered,
    ];
    assert!(
        !several || all.iter().all(|count| *count > 0),
        "the programs never came to something: {total:?}"
    );
}

/// In how many of a thousand seeds the model itself finds a disk that lies. A panic is not its verdict and does not count.
fn caught(lies: Lies) -> usize {
    let found = |seed: &u64| run(*seed, lies).is_err_and(|failure| failure.starts_with(VERDICT));
    (0..1000).filter(found).count()
}

#[test]
fn a_disk_that_lies_about_sync_is_caught() {
    let caught = caught(Lies { sync: true, ..Lies::default() });
    assert!(caught > 100, "{caught}");
}

#[test]
fn a_disk_that_lies_about_the_directory_is_caught() {
    let caught = caught(Lies { sync_dir: true, ..Lies::default() });
    assert!(caught > 100, "{caught}");
}

#[test]
fn a_disk_that_hides_a_failed_sync_is_caught() {
    let caught = caught(Lies { failed_sync: true, ..Lies::default() });
    assert!(caught > 10, "{caught}");
}

#[test]
fn a_full_disk_that_takes_writes_is_caught() {
    let caught = caught(Lies { full: true, ..Lies::default() });
    assert!(caught > 10, "{caught}");
}

#[test]
fn a_disk_that_reads_the_wrong_file_is_caught() {
    let caught = caught(Lies { stale_read: true, ..Lies::default() });
    assert!(caught > 10, "{caught}");
}
