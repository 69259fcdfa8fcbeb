//! What is known outside the engine: what senders sent and were told, what the destination saw and said, and what must follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffer::simulated::Rng;
use model::AckMode;

/// Records of one attempt at most: their numbers are the attempt's and this.
pub(super) const MOST_ITEMS: u64 = 64;

/// How a failure begins that the model found; others are panics.
pub(super) const VERDICT: &str = "the model says";

/// One request that a sender has tried to hand over. Sent again it is another attempt, so that each can be told apart.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) sender: usize,
    pub(super) mode: AckMode,
    pub(super) items: u64,
    /// The life of the engine in which it was made.
    pub(super) life: u64,
    /// The receiver hands it over again if it could not be delivered.
    pub(super) pushed: bool,
    pub(super) told: Told,
}

/// What the sender of an attempt knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: it gave up waiting, or the engine died.
    Nothing,
    Yes,
    No(&'static str),
}

/// What became of a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    /// How often the destination took it.
    pub(super) seen: u32,
    /// How often it refused it for good.
    pub(super) refused: u32,
    /// A failure that may pass was the answer to it: it may be given up on in the end.
    pub(super) at_risk: bool,
}

/// Sums of one life of the engine, as the destination knows them, in records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Taken, and the engine was told so.
    pub(super) confirmed: u64,
    /// Refused for good, each time that it was said.
    pub(super) refused: u64,
    /// The destination's code panicked with this record alone.
    pub(super) panicked: u64,
    /// Refused while others of the same call were taken.
    pub(super) rejected: u64,
}

/// How often each thing happened, so that a test can see that it did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) attempts: u64,
    pub(super) yes: [u64; 3],
    pub(super) no: u64,
    pub(super) unknown: u64,
    pub(super) taken: u64,
    pub(super) again: u64,
    pub(super) refused: u64,
    pub(super) calls: u64,
    pub(super) kills: u64,
    pub(super) cuts: u64,
    pub(super) stops: u64,
    pub(super) recovered: u64,
    pub(super) persisted: u64,
    pub(super) exhausted: u64,
    pub(super) dropped: u64,
    pub(super) buffer_failed: u64,
}

impl Seen {
    /// Whether everything happened.
    pub(super) fn is_complete(&self) -> bool {
        let Self { yes, no, unknown, again, refused, kills, cuts, stops, .. } = *self;
        let Self { recovered, persisted, exhausted, dropped, buffer_failed, .. } = *self;
        let outside = [no, unknown, again, refused, kills, cuts, stops];
        let inside = [recovered, persisted, exhausted, dropped, buffer_failed];
        yes.iter().chain(&outside).chain(&inside).all(|count| *count > 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        (0..3).for_each(|mode| self.yes[mode] += other.yes[mode]);
        self.no += other.no;
        self.unknown += other.unknown;
        self.taken += other.taken;
        self.again += other.again;
        self.refused += other.refused;
        self.calls += other.calls;
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.stops += other.stops;
        self.recovered += other.recovered;
        self.persisted += other.persisted;
        self.exhausted += other.exhausted;
        self.dropped += other.dropped;
        self.buffer_failed += other.buffer_failed;
    }
}

/// How the destination is at the moment; parts of a hundred, in the order of [`super::sink`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    pub(super) retry: u64,
    pub(super) never: u64,
    pub(super) taken_never: u64,
    pub(super) refuse_request: u64,
    pub(super) refuse_records: u64,
    pub(super) reject: u64,
    pub(super) remainder: u64,
    pub(super) panic: u64,
    /// The longest that it thinks, before it takes something and after; milliseconds.
    pub(super) slow_ms: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) life: u64,
    pub(super) attempts: Vec<Attempt>,
    pub(super) records: BTreeMap<u64, Fate>,
    pub(super) mood: Mood,
    pub(super) sums: Sums,
    /// Whether what a sender hands over must come out in its order.
    pub(super) ordered: bool,
    /// The record of each sender that was seen last for the first time.
    pub(super) newest: BTreeMap<usize, u64>,
    /// A queue that is full drops: senders are told yes all the same.
    pub(super) drops: bool,
    pub(super) timeout_ms: u64,
    /// The first thing that was not as it must be.
    pub(super) wrong: Option<String>,
    traced: bool,
    pub(super) seen: Seen,
}

/// The world, for everybody in it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A random number.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.lock().rng.below(end)
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng(seed ^ 0x5e4d),
            life: 0,
            attempts: Vec::new(),
            records: BTreeMap::new(),
            mood: Mood::default(),
            sums: Sums::default(),
            ordered: false,
            newest: BTreeMap::new(),
            drops: false,
            timeout_ms: 0,
            wrong: None,
            traced: std::env::var_os("TRACE").is_some(),
            seen: Seen::default(),
        }
    }

    /// With `TRACE` set: what happens, and when.
    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            let now = crate::outside::now_ms() - 1_000_000;
            eprintln!("{now:>8} life {} {}", self.life, what());
        }
    }

    pub(super) fn fails(&mut self, text: String) {
        self.wrong.get_or_insert(format!("{VERDICT}, life {}: {text}", self.life));
    }

    /// A sender makes an attempt; its number.
    pub(super) fn attempt(&mut self, sender: usize, mode: AckMode, items: u64, pushed: bool) -> usize {
        self.seen.attempts += 1;
        let (life, told) = (self.life, Told::Nothing);
        let at = self.attempts.len();
        self.trace(|| format!("sender {sender}: attempt {at} ({mode:?}), {items} records"));
        self.attempts.push(Attempt { sender, mode, items, life, pushed, told });
        self.attempts.len() - 1
    }

    pub(super) fn numbers(&self, attempt: usize) -> std::ops::Range<u64> {
        let first = attempt as u64 * MOST_ITEMS;
        first..first + self.attempts[attempt].items
    }

    fn fate(&self, number: u64) -> Fate {
        self.records.get(&number).cloned().unwrap_or_default()
    }

    /// A sender has its answer.
    pub(super) fn told(&mut self, attempt: usize, life: u64, answer: Result<(), &'static str>) {
        if self.life != life {
            // Nobody heard that: the engine was dead by then.
            self.seen.unknown += 1;
            return;
        }
        let Attempt { mode, pushed, sender, .. } = self.attempts[attempt];
        self.trace(|| format!("sender {sender}: attempt {attempt} ({mode:?}) is told {answer:?}"));
        self.attempts[attempt].told = match answer {
            Ok(()) => Told::Yes,
            Err(reason) => Told::No(reason),
        };
        match answer {
            Ok(()) => self.seen.yes[mode as usize] += 1,
            Err(_) => self.seen.no += 1,
        }
        let fates: Vec<_> = self.numbers(attempt).map(|number| self.fate(number)).collect();
        if answer.is_ok() && mode == AckMode::Delivered && !self.drops {
            let settled = fates.iter().all(|fate| fate.seen + fate.refused > 0);
            if !settled {
                self.fails(format!("told delivered, and it is not: {attempt} {fates:?}"));
            }
        }
        // Where several requests went as one, it is not always known whose records were refused.
        if answer == Err("rejected") && fates.iter().any(|fate| fate.seen + fate.refused == 0) {
            self.fails(format!("told rejected, and nobody did: {attempt} {fates:?}"));
        }
        let entered = matches!(answer, Ok(()) | Err("not_delivered" | "rejected"));
        if !entered && !pushed && fates.iter().any(|fate| fate.seen > 0) {
            self.fails(format!("told {answer:?}, and it went out: {attempt}"));
        }
    }

    /// The destination takes a record.
    pub(super) fn take(&mut self, number: u64) {
        let at = (number / MOST_ITEMS) as usize;
        let Some(Attempt { sender, mode, life, pushed, told, .. }) = self.attempts.get(at).cloned() else {
            return self.fails(format!("nobody sent record {number}"));
        };
        match told {
            Told::No(_) if pushed => {}
            Told::No("not_delivered") if mode != AckMode::Durable || life != self.life => {}
            Told::No("rejected") | Told::Yes | Told::Nothing => {}
            Told::No(reason) => self.fails(format!("told {reason}, and it goes out: {at} {mode:?}")),
        }
        let fate = self.records.entry(number).or_default();
        fate.seen += 1;
        let (first, refused, at_risk) = (fate.seen == 1, fate.refused > 0, fate.at_risk);
        self.seen.taken += 1;
        self.seen.again += u64::from(!first);
        // What it refused once, and takes when it comes again, is its own disorder. What is pushed may be handed over again.
        let is_disorder = refused || (pushed && at_risk);
        if first && !is_disorder && self.ordered {
            let newest = self.newest.entry(sender).or_default();
            let before = *newest;
            *newest = before.max(number);
            if number < before {
                self.fails(format!("out of order: {number} after {before} of sender {sender}"));
            }
        }
    }

    pub(super) fn refuse(&mut self, number: u64) {
        self.records.entry(number).or_default().refused += 1;
        self.seen.refused += 1;
    }

    pub(super) fn risk(&mut self, number: u64) {
        self.records.entry(number).or_default().at_risk = true;
    }

    /// Records of attempts of this kind, to which the answer was yes, that the destination neither took nor refused; and how many
    /// of those it may have cost the engine's patience.
    pub(super) fn missing(&self, mode: AckMode, counts: impl Fn(&Attempt) -> bool) -> (u64, u64) {
        let (mut missing, mut exhausted) = (0, 0);
        for (at, attempt) in self.attempts.iter().enumerate() {
            if attempt.mode != mode || attempt.told != Told::Yes || !counts(attempt) {
                continue;
            }
            for fate in self.numbers(at).map(|number| self.fate(number)) {
                if fate.seen + fate.refused == 0 {
                    if fate.at_risk { exhausted += 1 } else { missing += 1 }
                }
            }
        }
        (missing, exhausted)
    }
}
