//! The program's own books: what came in is what went out, was dropped, or is still there.
//!
//! ```text
//! recovered + accepted = delivered + dropped + waiting          one pipeline, one exporter
//! ```
//! A scrape is no snapshot, so the books are looked at when nobody sends, and again until they agree.

use std::time::Duration;

use super::await_some;
use super::program::Floodway;

const WITHIN: Duration = Duration::from_secs(20);

/// The books of one life of the program, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Books {
    /// Found on the disk at the start, damaged ones among them.
    pub(crate) recovered: f64,
    pub(crate) accepted: f64,
    pub(crate) delivered: f64,
    pub(crate) dropped: f64,
    /// In the queue, in the buffer or on their way.
    pub(crate) waiting: f64,
}

impl Books {
    pub(crate) fn of(program: &Floodway) -> Self {
        let text = program.metrics();
        let sum = |name: &str| sum(&text, name, &[]);
        Self {
            recovered: sum("floodway_buffer_recovered_items_total"),
            accepted: sum("floodway_accepted_items_total"),
            delivered: sum("floodway_delivered_items_total"),
            dropped: sum("floodway_dropped_items_total"),
            waiting: sum("floodway_queue_items"),
        }
    }

    fn agree(&self) -> bool {
        self.recovered + self.accepted == self.delivered + self.dropped + self.waiting
    }
}

/// The sum over the series of `name` that carry all of `labels` in the text of `/metrics`.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines()
        .filter(of_name)
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// Waits until the books agree. Nobody may be sending.
pub(crate) fn agree(program: &Floodway) -> Books {
    let mut seen = Books::default();
    let agreed = super::try_some(WITHIN, || {
        seen = Books::of(program);
        seen.agree().then_some(seen)
    });
    agreed.unwrap_or_else(|| panic!("the books do not agree: {seen:?}\n{}", program.metrics()))
}

/// Waits until all has left, and the books agree.
pub(crate) fn drained(program: &Floodway, limit: Duration) -> Books {
    await_some("delivering all that is there", limit, || (Books::of(program).waiting == 0.0).then_some(()));
    agree(program)
}
