//! Prometheus remote-write, 2.0 or 1.0: Prometheus, Mimir, Thanos, Cortex, VictoriaMetrics.
//!
//! ```text
//! payloads -> (OTLP converted) -> series, by the hash of their labels -> shard 0: request, request, ...
//!                                                                     -> shard 1: request, ...
//! ```
//! The shards of one call of `export` are sent at the same time, the requests of a shard one after the other, and the call ends when
//! all are answered. A series is always in the same shard, so its samples arrive in their order.
//!
//! What is not taken for a reason that may pass is left as the remainder, as series, and not converted again; what was taken is
//! not sent again. A request that is refused for something in it is sent in halves, so that a bad series is lost alone: within
//! its shard, since the other shards have delivered theirs and must not do so twice.
//!
//! Invariant: the call ends before `retry.timeout_ms` would cut it off, with what is left as the remainder. A call that were cut
//! off would be repeated as a whole, and Prometheus would count samples as out of order that it took the first time.
//!
//! Specifications: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

mod answer;
mod config;
mod exemplars;
mod shard;
mod version;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use codec::prometheus::encode::{ExternalLabels, FamilyMap, gather};
use codec::prometheus::from_otlp::{FromOtlp, Report};
use engine::{BoxFuture, ExportError, Exported, Exporter, Rejected, Remainder, Scope};
use model::series::{LabelHasher, SymbolHashes};
use model::{Payload, Request, SeriesBatch, SeriesBuilder};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use config::PrometheusRemoteWriteConfig;
use shard::{Outcome, Place, Sender, Shard, Trouble};

/// The part of `retry.timeout_ms` that a call of `export` uses, in hundredths.
const USED_TIME: u32 = 95;

struct RemoteWrite {
    sender: Arc<Sender>,
    converter: Mutex<FromOtlp>,
    families: Mutex<Arc<FamilyMap>>,
    hasher: LabelHasher,
    external: Arc<ExternalLabels>,
    shards: usize,
    timeout: Duration,
}

impl Exporter for RemoteWrite {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.send(payloads))
    }
}

impl RemoteWrite {
    async fn send(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let deadline = Instant::now() + self.timeout * USED_TIME / 100;
        let (mut batches, mut rejected) = self.series(payloads)?;
        self.sender.metrics.lone_exemplars.increment(exemplars::joined(&mut batches, &self.hasher));
        let batches: Arc<[Arc<SeriesBatch>]> = batches.into();
        let families = self.families(&batches);
        let mut sending = JoinSet::new();
        for (n, places) in self.spread(&batches).into_iter().enumerate() {
            let shard = Shard {
                sender: Arc::clone(&self.sender),
                batches: Arc::clone(&batches),
                families: Arc::clone(&families),
                external: Arc::clone(&self.external),
                deadline,
                with_families: n == 0,
            };
            sending.spawn(shard.send(places));
        }
        let mut outcome = Outcome::default();
        while let Some(ended) = sending.join_next().await {
            outcome.add(ended.map_err(|error| ExportError::Permanent {
                reason: "exporter_panic",
                message: error.to_string(),
                scope: Scope::Request,
            })?);
        }
        let converted = payloads.iter().any(|payload| matches!(payload, Payload::Otlp(_)));
        self.verdict(outcome, &batches, converted, &mut rejected)
    }

    /// The series of all payloads in their order. OTLP is converted, each run of requests into one batch.
    fn series(&self, payloads: &[Payload]) -> Result<(Vec<Arc<SeriesBatch>>, Vec<Rejected>), ExportError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let mut batches = Vec::new();
        let mut rejected: Vec<Rejected> = Vec::new();
        let same_form = |a: &Payload, b: &Payload| matches!((a, b), (Payload::Otlp(_), Payload::Otlp(_)));
        for run in payloads.chunk_by(same_form) {
            if let [Payload::Series(series)] = run {
                batches.push(Arc::clone(series));
                continue;
            }
            let requests = run.iter().filter_map(|payload| match payload {
                Payload::Otlp(request) => Some(request),
                Payload::Series(_) => None,
            });
            let requests: Vec<_> = requests.collect();
            batches.push(Arc::new(self.convert(&requests, now_ms, &mut rejected)?));
        }
        Ok((batches, rejected))
    }

    fn convert(
        &self,
        requests: &[&Request],
        now_ms: i64,
        rejected: &mut Vec<Rejected>,
    ) -> Result<SeriesBatch, ExportError> {
        let mut builder = SeriesBuilder::new();
        let mut converter = self.converter.lock().unwrap_or_else(PoisonError::into_inner);
        let report = converter.convert(requests.iter().copied(), now_ms, &mut builder).map_err(|error| {
            ExportError::Permanent { reason: "too_large", message: error.to_string(), scope: Scope::Records }
        })?;
        self.sender.metrics.joined_labels.increment(report.joined_labels);
        self.sender.metrics.accumulated.set(converter.accumulated_series() as f64);
        rejected.extend(report.refused.iter().map(|(reason, items)| {
            let message = "OTLP points that Prometheus cannot have".to_owned();
            Rejected { reason, items: *items, message, payloads: refused(requests, &report, reason) }
        }));
        Ok(builder.finish())
    }

    fn families(&self, batches: &[Arc<SeriesBatch>]) -> Arc<FamilyMap> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in batches.iter().filter(|batch| !batch.families().is_empty()) {
            Arc::make_mut(&mut families).remember(batch);
        }
        Arc::clone(&families)
    }

    /// The series of each shard that has any, in their order.
    fn spread(&self, batches: &[Arc<SeriesBatch>]) -> Vec<Vec<Place>> {
        let mut shards = vec![Vec::new(); self.shards];
        let mut hashes = SymbolHashes::default();
        for (batch, series) in batches.iter().enumerate() {
            self.hasher.symbols(series.symbols(), &mut hashes);
            for (index, one) in series.iter().enumerate() {
                let shard = (hashes.labels(&one.labels()) % self.shards as u128) as usize;
                shards[shard].push(Place { batch, index });
            }
        }
        shards.retain(|places| !places.is_empty());
        // Families without a series are sent all the same.
        if shards.is_empty() && batches.iter().any(|batch| !batch.families().is_empty()) {
            shards.push(Vec::new());
        }
        shards
    }

    fn verdict(
        &self,
        outcome: Outcome,
        batches: &[Arc<SeriesBatch>],
        converted: bool,
        rejected: &mut Vec<Rejected>,
    ) -> Result<Exported, ExportError> {
        let Outcome { rejected: refused, mut left, trouble, taken } = outcome;
        let untouched = !taken && refused.is_empty();
        let (message, retry_after) = match trouble {
            None => (String::new(), None),
            Some(Trouble::Request(message)) if untouched => {
                let (reason, scope) = (answer::REFUSED, Scope::Request);
                return Err(ExportError::Permanent { reason, message, scope });
            }
            // Some shards were answered otherwise: only this call knows what is refused.
            Some(Trouble::Request(message)) => {
                let items = items(&left, batches);
                rejected.extend(refused);
                let payloads = gathered(&mut left, batches);
                rejected.push(Rejected { reason: answer::REFUSED, items, message, payloads });
                return Ok(Exported { rejected: std::mem::take(rejected), remainder: None });
            }
            Some(Trouble::Later { message, retry_after }) if untouched && !converted => {
                return Err(ExportError::Retryable { message, retry_after });
            }
            Some(Trouble::Later { message, retry_after }) => (message, retry_after),
        };
        rejected.extend(refused);
        let remainder = (!left.is_empty()).then(|| Remainder {
            payloads: gathered(&mut left, batches),
            message,
            retry_after,
        });
        Ok(Exported { rejected: std::mem::take(rejected), remainder })
    }
}

/// The series in their order.
fn gathered(places: &mut [Place], batches: &[Arc<SeriesBatch>]) -> Vec<Payload> {
    places.sort_unstable();
    vec![gather(places.iter().filter_map(|place| batches.get(place.batch)?.get(place.index))).into()]
}

/// The points of requests that were not converted for one reason.
fn refused(requests: &[&Request], report: &Report, reason: &str) -> Vec<Payload> {
    let mut ranges = report.refused_points.iter().filter(|(known, _)| *known == reason).peekable();
    let mut number = 0..;
    let mut payloads = Vec::new();
    for request in requests {
        let kept = request.retain(|_| {
            let Some(point) = number.next() else { return false };
            while ranges.next_if(|(_, range)| range.end <= point).is_some() {}
            ranges.peek().is_some_and(|(_, range)| range.contains(&point))
        });
        payloads.extend(kept.map(Payload::from));
    }
    payloads
}

fn items(places: &[Place], batches: &[Arc<SeriesBatch>]) -> u64 {
    let series = places.iter().filter_map(|place| batches.get(place.batch)?.get(place.index));
    series.map(|series| series.items() as u64).sum()
}
