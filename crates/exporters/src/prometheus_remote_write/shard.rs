//! One shard of a batch: its series in requests, one after the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codec::prometheus::encode::{EncoderV1, EncoderV2, ExternalLabels, FamilyMap, gather};
use codec::snappy::Snappy;
use engine::{BuildContext, Rejected};
use http::{HeaderMap, HeaderValue, header};
use metrics::{Counter, Gauge};
use model::series::SeriesRef;
use model::{Payload, SeriesBatch};
use net::client::{Chunks, HttpClient, HttpResponse};
use tokio::time::Instant;

use super::answer::{REFUSED, Verdict, reasons, said, verdict};
use super::version::{Negotiated, Version};

/// A series: the batch and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) batch: usize,
    pub(super) index: usize,
}

/// What all shards send with.
pub(super) struct Sender {
    pub(super) client: HttpClient,
    pub(super) headers: HeaderMap,
    pub(super) negotiated: Negotiated,
    pub(super) max_samples: usize,
    /// Encoders that no shard uses now: their memory is used again.
    pub(super) encoders: Mutex<Vec<Encoders>>,
    pub(super) metrics: Metrics,
}

/// Counters of this exporter.
pub(super) struct Metrics {
    pub(super) joined_labels: Counter,
    pub(super) accumulated: Gauge,
    /// Exemplars whose series has no sample.
    pub(super) lone_exemplars: Counter,
}

impl Metrics {
    pub(super) fn new(context: &BuildContext) -> Self {
        Self {
            joined_labels: context.metrics.counter("floodway_prometheus_joined_labels_total", &[]),
            accumulated: context.metrics.gauge("floodway_prometheus_accumulated_series", &[]),
            lone_exemplars: context
                .metrics
                .counter("floodway_prometheus_dropped_exemplars_total", &[("reason", "no_sample")]),
        }
    }
}

/// Buffers of one request.
#[derive(Default)]
pub(super) struct Encoders {
    v1: EncoderV1,
    v2: EncoderV2,
    snappy: Snappy,
    plain: Vec<u8>,
}

/// Why something is left.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be sent later.
    Later { message: String, retry_after: Option<Duration> },
    /// It will never be taken.
    Request(String),
}

/// What became of some series.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) rejected: Vec<Rejected>,
    /// What was not sent, or not taken for a reason that may pass.
    pub(super) left: Vec<Place>,
    /// Why; the last word counts.
    pub(super) trouble: Option<Trouble>,
    /// Whether anything was taken.
    pub(super) taken: bool,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.rejected.extend(other.rejected);
        self.left.extend(other.left);
        self.taken |= other.taken;
        // Where one shard may be sent again and another may not, what is left is tried again and then judged.
        self.trouble = match (self.trouble.take(), other.trouble) {
            (
                Some(Trouble::Later { message, retry_after }),
                Some(Trouble::Later { retry_after: other, .. }),
            ) => Some(Trouble::Later { message, retry_after: retry_after.max(other) }),
            (Some(later @ Trouble::Later { .. }), _) | (_, Some(later @ Trouble::Later { .. })) => {
                Some(later)
            }
            (request, None) | (None, request) => request,
            (request, _) => request,
        };
    }
}

/// A shard under way.
pub(super) struct Shard {
    pub(super) sender: Arc<Sender>,
    pub(super) batches: Arc<[Arc<SeriesBatch>]>,
    pub(super) families: Arc<FamilyMap>,
    pub(super) external: Arc<ExternalLabels>,
    pub(super) deadline: Instant,
    /// Whether it sends the metadata that 1.0 has beside the series: one shard of each call does.
    pub(super) with_families: bool,
}

impl Shard {
    /// Sends series in their order until all are settled, time is up, or the destination wants a rest.
    pub(super) async fn send(self, places: Vec<Place>) -> Outcome {
        let mut encoders =
            self.sender.encoders.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut outcome = Outcome::default();
        // Runs of `places` that are to be sent, the next one last.
        let mut waiting = self.requests(&places);
        let mut first = self.with_families;
        while let Some((start, end)) = waiting.pop() {
            let run = places.get(start..end).unwrap_or_default();
            let settled = self.send_run(run, first, &mut encoders, &mut outcome).await;
            first = false;
            match settled {
                Next::Settled => {}
                // One series has no halves.
                Next::Halve if run.len() < 2 => {
                    let message = "refused without a word on what was written".to_owned();
                    self.refused(run, &mut outcome, vec![], message);
                }
                Next::Halve => {
                    let middle = start + run.len().div_ceil(2);
                    waiting.extend([(middle, end), (start, middle)]);
                }
                Next::Stop(trouble) => {
                    outcome.left.extend_from_slice(run);
                    for (start, end) in waiting.drain(..).rev() {
                        outcome.left.extend_from_slice(places.get(start..end).unwrap_or_default());
                    }
                    outcome.trouble = Some(trouble);
                }
            }
        }
        self.sender.encoders.lock().unwrap_or_else(PoisonError::into_inner).push(encoders);
        outcome
    }

    fn series(&self, place: Place) -> Option<SeriesRef<'_>> {
        self.batches.get(place.batch)?.get(place.index)
    }

    /// Cuts series into requests of `max_samples`, the first of them last.
    fn requests(&self, places: &[Place]) -> Vec<(usize, usize)> {
        let mut cuts = vec![0];
        let mut samples = 0;
        for (n, place) in places.iter().enumerate() {
            let more = self.series(*place).map_or(0, |series| series.len());
            if samples > 0 && samples + more > self.sender.max_samples {
                cuts.push(n);
                samples = 0;
            }
            samples += more;
        }
        let ends = cuts.iter().skip(1).copied().chain([places.len()]);
        let mut runs: Vec<_> = cuts.iter().copied().zip(ends).collect();
        runs.reverse();
        runs
    }

    async fn send_run(
        &self,
        run: &[Place],
        with_families: bool,
        encoders: &mut Encoders,
        outcome: &mut Outcome,
    ) -> Next {
        let negotiated = &self.sender.negotiated;
        let version = negotiated.version();
        match self.send_as(version, run, with_families, encoders, outcome).await {
            // Refused as 2.0 with no word on what was written: perhaps 1.0 is what is spoken.
            Next::Halve if version == Version::V2 && negotiated.is_open() => {
                self.send_as(Version::V1, run, with_families, encoders, outcome).await
            }
            next => next,
        }
    }

    async fn send_as(
        &self,
        version: Version,
        run: &[Place],
        with_families: bool,
        encoders: &mut Encoders,
        outcome: &mut Outcome,
    ) -> Next {
        let (body, samples) = match self.encode(version, run, with_families, encoders) {
            Ok(encoded) => encoded,
            Err(message) => return self.refused(run, outcome, vec![], message),
        };
        if body.is_empty() {
            return Next::Settled;
        }
        let answer = match self.post(version, body).await {
            Ok(answer) => answer,
            Err(trouble) => return Next::Stop(trouble),
        };
        let negotiated = &self.sender.negotiated;
        match verdict(&answer, version) {
            Verdict::Taken(None) if version == Version::V2 && samples > 0 => {
                if negotiated.is_automatic() {
                    negotiated.lacks_v2();
                    return Next::Halve;
                }
                let message = "answered yes but not how much was written: it does not speak 2.0; say `protocol_version: v1`";
                self.refused(run, outcome, vec![], message.to_owned())
            }
            Verdict::Taken(written) => {
                negotiated.taken(version);
                outcome.taken = true;
                if let Some(lost) =
                    written.and_then(|written| samples.checked_sub(written)).filter(|n| *n > 0)
                {
                    self.lost(run, samples, lost, &answer, outcome);
                }
                Next::Settled
            }
            Verdict::Partly { written } => {
                negotiated.taken(version);
                outcome.taken = true;
                self.lost(run, samples, samples.saturating_sub(written), &answer, outcome);
                Next::Settled
            }
            Verdict::Version if version == Version::V2 && negotiated.is_automatic() => {
                negotiated.lacks_v2();
                Next::Halve
            }
            Verdict::Version | Verdict::Request => Next::Stop(Trouble::Request(said(&answer))),
            Verdict::Later(retry_after) => Next::Stop(Trouble::Later { message: said(&answer), retry_after }),
            // As 2.0 it is tried as 1.0 first, also when it is but one.
            Verdict::Records if run.len() > 1 || version == Version::V2 && negotiated.is_open() => {
                Next::Halve
            }
            Verdict::Records => {
                let lost = self.items(run);
                self.refused(run, outcome, reasons(&answer, lost), said(&answer))
            }
        }
    }

    fn encode(
        &self,
        version: Version,
        run: &[Place],
        with_families: bool,
        encoders: &mut Encoders,
    ) -> Result<(Vec<u8>, u64), String> {
        let Encoders { v1, v2, snappy, plain } = encoders;
        plain.clear();
        let mut samples = 0;
        if version == Version::V1 && with_families {
            self.batches.iter().for_each(|batch| v1.families(batch));
        }
        for of_batch in run.chunk_by(|a, b| a.batch == b.batch) {
            let Some(batch) = of_batch.first().and_then(|place| self.batches.get(place.batch)) else {
                continue;
            };
            if version == Version::V2 {
                v2.begin_batch(batch.symbols().len());
            }
            for series in of_batch.iter().filter_map(|place| batch.get(place.index)) {
                samples += series.len() as u64;
                match version {
                    Version::V1 => v1.push(&series, &self.external),
                    Version::V2 => v2.push(&series, &self.external, &self.families),
                }
            }
        }
        match version {
            Version::V1 => v1.finish(plain),
            Version::V2 => v2.finish(plain),
        }
        if plain.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let body = snappy.compress(plain).map_err(|error| error.to_string())?;
        Ok((body, samples))
    }

    async fn post(&self, version: Version, body: Vec<u8>) -> Result<HttpResponse, Trouble> {
        let mut headers = self.sender.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(version.content_type()));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert("x-prometheus-remote-write-version", HeaderValue::from_static(version.number()));
        let answer = self.sender.client.post("", headers, Chunks::new(vec![body.into()]));
        let later = |message: String| Trouble::Later { message, retry_after: None };
        match tokio::time::timeout_at(self.deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_retryable() => Err(later(error.to_string())),
            Ok(Err(error)) => Err(Trouble::Request(error.to_string())),
            Err(_) => Err(later("time is up (retry.timeout_ms); the rest is sent next".to_owned())),
        }
    }

    fn items(&self, run: &[Place]) -> u64 {
        run.iter().filter_map(|place| self.series(*place)).map(|series| series.items() as u64).sum()
    }

    /// Counts a part of a request as lost. Where a record has several samples nobody says which of them are, and as many records
    /// are counted, but never more than there were.
    fn lost(&self, run: &[Place], samples: u64, lost: u64, answer: &HttpResponse, outcome: &mut Outcome) {
        let items = self.items(run);
        let lost = if lost >= samples { items } else { lost.min(items) };
        let payloads = self.payloads(run);
        let among = |rejected| Rejected { payloads: payloads.clone(), ..rejected };
        outcome.rejected.extend(reasons(answer, lost).into_iter().map(among));
    }

    /// The series of a run, for dead letters.
    fn payloads(&self, run: &[Place]) -> Vec<Payload> {
        vec![gather(run.iter().filter_map(|place| self.series(*place))).into()]
    }

    fn refused(
        &self,
        run: &[Place],
        outcome: &mut Outcome,
        rejected: Vec<Rejected>,
        message: String,
    ) -> Next {
        let payloads = self.payloads(run);
        if rejected.is_empty() {
            let items = self.items(run);
            outcome.rejected.push(Rejected { reason: REFUSED, items, message, payloads: payloads.clone() });
        }
        let among = |rejected| Rejected { payloads: payloads.clone(), ..rejected };
        outcome.rejected.extend(rejected.into_iter().map(among));
        Next::Settled
    }
}

/// What comes after a request.
enum Next {
    Settled,
    /// The halves of it.
    Halve,
    Stop(Trouble),
}
