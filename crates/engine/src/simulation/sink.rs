//! A destination that fails in every way that the delivery loop knows, and remembers what it took.

use std::time::Duration;

use model::otlp::{ExportLogsServiceRequest, ExportTraceServiceRequest};
use model::{Payload, Request, Signal, Writer};
use tokio::time::sleep;

use super::world::{Mood, Shared};
use crate::{
    AnyExporterConfig, BoxFuture, BuildContext, BuildError, Claim, DeliverySettings, ExportError, Exported,
    Exporter, Rejected, Remainder, Scope,
};

/// Refused by the destination whatever its mood: a mark behind a record's number.
const BAD: char = '!';

/// A request of these records; `bad` says which of them the destination will never take.
pub(super) fn request(signal: Signal, numbers: &[u64], bad: impl Fn(u64) -> bool, padding: usize) -> Request {
    let field = if signal == Signal::Traces { 5 } else { 3 };
    let mut writer = Writer::new();
    writer.message(1, |resource| {
        resource.message(2, |scope| {
            for number in numbers {
                let mark = if bad(*number) { "!" } else { "" };
                scope.message(2, |record| record.string(field, &format!("{number}{mark}")));
            }
        });
        resource.string(3, &"x".repeat(padding));
    });
    Request::receive(signal, writer.finish()).unwrap().0
}

/// The records of a payload: their numbers, and whether they are bad.
fn records(payload: &Payload) -> Vec<(u64, bool)> {
    let Payload::Otlp(request) = payload else { panic!("no series here") };
    let names: Vec<&str> = if request.signal() == Signal::Traces {
        let traces = ExportTraceServiceRequest::of(request.bytes());
        let scopes = traces.resource_spans().flat_map(|resource| resource.scope_spans());
        scopes.flat_map(|scope| scope.spans()).map(|span| span.name()).collect()
    } else {
        let logs = ExportLogsServiceRequest::of(request.bytes());
        let scopes = logs.resource_logs().flat_map(|resource| resource.scope_logs());
        scopes.flat_map(|scope| scope.log_records()).map(|record| record.severity_text()).collect()
    };
    names.into_iter().map(|name| (name.trim_end_matches(BAD).parse().unwrap(), name.ends_with(BAD))).collect()
}

#[derive(Clone)]
pub(super) struct Sink {
    pub(super) world: Shared,
    pub(super) settings: DeliverySettings,
}

/// What it does with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Take,
    Retry(Option<u64>),
    Never,
    TakeNever,
    Refuse(Scope),
    /// Takes all but so many, from the front.
    Reject(usize),
    /// Takes so many payloads, or half of the one.
    Remainder(usize),
    Panic,
}

impl Sink {
    fn decide(&self, payloads: &[Payload], records: &[(u64, bool)]) -> (Does, Duration, Duration) {
        let mut world = self.world.lock();
        world.seen.calls += 1;
        let Mood {
            retry,
            never,
            taken_never,
            refuse_request,
            refuse_records,
            reject,
            remainder,
            panic,
            slow_ms,
        } = world.mood;
        let roll = world.rng.below(100);
        let mut sum = 0;
        let mut within = |part: u64| {
            sum += part;
            roll < sum
        };
        let hint = world.rng.percent(30).then(|| world.rng.below(5000));
        let bad = records.iter().any(|(_, bad)| *bad);
        let mut does = if within(retry) {
            Does::Retry(hint)
        } else if within(never) {
            Does::Never
        } else if within(taken_never) {
            Does::TakeNever
        } else if within(refuse_request) {
            Does::Refuse(Scope::Request)
        } else if within(refuse_records) || bad {
            Does::Refuse(Scope::Records)
        } else if within(reject) {
            Does::Reject(1 + world.rng.below(records.len() as u64) as usize)
        } else if within(remainder) {
            Does::Remainder(1 + world.rng.below(payloads.len() as u64) as usize)
        } else if within(panic) {
            Does::Panic
        } else {
            Does::Take
        };
        if bad && does == Does::TakeNever {
            does = Does::Never;
        }
        let mut pause = || Duration::from_millis(world.rng.below(slow_ms.max(1)));
        let (before, after) = (pause(), pause());
        let late = before + after >= Duration::from_millis(world.timeout_ms);
        if late || matches!(does, Does::Retry(_) | Does::Never | Does::TakeNever | Does::Remainder(_)) {
            records.iter().for_each(|(number, _)| world.risk(*number));
        }
        world.trace(|| {
            let numbers: Vec<_> = records.iter().map(|(number, _)| number).collect();
            format!("sink: {does:?} in {before:?} and {after:?}: {numbers:?}")
        });
        (does, before, after)
    }

    fn take(&self, records: &[(u64, bool)]) {
        let mut world = self.world.lock();
        records.iter().for_each(|(number, _)| world.take(*number));
    }

    fn confirm(&self, records: usize) {
        self.world.lock().sums.confirmed += records as u64;
    }

    fn reject(&self, records: &[(u64, bool)]) {
        let mut world = self.world.lock();
        records.iter().for_each(|(number, _)| world.refuse(*number));
        world.sums.rejected += records.len() as u64;
    }

    fn refuse(&self, records: &[(u64, bool)], scope: Scope) -> ExportError {
        let mut world = self.world.lock();
        // Of several nothing is lost yet: each will come alone.
        if scope == Scope::Request || records.len() == 1 {
            records.iter().for_each(|(number, _)| world.refuse(*number));
            world.sums.refused += records.len() as u64;
        }
        ExportError::Permanent { reason: "bad_request", message: "never".to_owned(), scope }
    }

    async fn answer(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let all: Vec<Vec<(u64, bool)>> = payloads.iter().map(records).collect();
        let flat = all.concat();
        let (does, before, after) = self.decide(payloads, &flat);
        sleep(before).await;
        let rejected = |items| Rejected {
            reason: "not_those",
            items,
            message: "not those".to_owned(),
            payloads: Vec::new(),
        };
        match does {
            Does::Take => {
                self.take(&flat);
                sleep(after).await;
                self.confirm(flat.len());
                Ok(Exported::default())
            }
            Does::Retry(hint) => {
                let retry_after = hint.map(Duration::from_millis);
                Err(ExportError::Retryable { message: "come again".to_owned(), retry_after })
            }
            Does::Never => std::future::pending().await,
            Does::TakeNever => {
                self.take(&flat);
                std::future::pending().await
            }
            Does::Refuse(scope) => Err(self.refuse(&flat, scope)),
            Does::Reject(items) => {
                self.reject(&flat[..items]);
                self.take(&flat[items..]);
                sleep(after).await;
                self.confirm(flat.len() - items);
                Ok(Exported { rejected: vec![rejected(items as u64)], remainder: None })
            }
            Does::Remainder(taken) => {
                let (taken, left) = self.split(payloads, taken);
                self.take(&taken);
                sleep(after).await;
                self.confirm(taken.len());
                let remainder = Remainder { payloads: left, message: "later".to_owned(), retry_after: None };
                let remainder = (!remainder.payloads.is_empty()).then_some(remainder);
                Ok(Exported { rejected: Vec::new(), remainder })
            }
            Does::Panic => {
                if let [(number, _)] = flat[..] {
                    let mut world = self.world.lock();
                    world.refuse(number);
                    world.sums.panicked += 1;
                }
                // As a panic, but for the text on standard error.
                std::panic::resume_unwind(Box::new("as the simulation wants it"))
            }
        }
    }

    /// The records of what is taken, and what is left.
    fn split(&self, payloads: &[Payload], taken: usize) -> (Vec<(u64, bool)>, Vec<Payload>) {
        let halves = if let [one] = payloads { one.halves() } else { None };
        match halves {
            Some((first, second)) => (records(&first), vec![second]),
            None => (payloads[..taken].iter().flat_map(records).collect(), payloads[taken..].to_vec()),
        }
    }
}

impl Exporter for Sink {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.answer(payloads))
    }
}

impl AnyExporterConfig for Sink {
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn delivery(&self) -> DeliverySettings {
        self.settings.clone()
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        Ok(self)
    }
}
