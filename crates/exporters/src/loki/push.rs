//! Sending pushes, and what becomes of a batch of which some were taken and some were not.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use codec::loki::{Encoder, Pushes, StreamPush, StreamTable};
use codec::snappy::Snappy;
use engine::{BoxFuture, BuildContext, BuildError, ExportError, Exported, Exporter, Remainder, Scope};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use metrics::Counter;
use model::{Payload, Request};
use net::client::{Chunks, HttpClient, HttpClientOptions, HttpResponse, retry_after};
use tokio::task::JoinSet;

use super::LokiConfig;
use crate::forms;
use crate::http_shared::{header_map, printable, secret, unanswered};

const PATH: &str = "/loki/api/v1/push";

const TENANT: &str = "x-scope-orgid";

/// Loki's answer where ingestion is blocked, unless it is told another. It is no success.
const BLOCKED: u16 = 260;

pub(super) struct LokiExporter {
    destination: Destination,
    encoder: Encoder,
    table: Mutex<StreamTable>,
    reduced: Counter,
}

/// What sends; clones share the connections.
#[derive(Clone)]
struct Destination {
    client: HttpClient,
    headers: HeaderMap,
}

impl LokiExporter {
    pub(super) fn new(config: &LokiConfig, context: &BuildContext) -> Result<Self, BuildError> {
        let endpoint = config.endpoint.trim_end_matches('/');
        let options = HttpClientOptions {
            tls: config.tls.clone(),
            request_timeout: config.timeout(),
            max_idle_connections: config.queue.concurrency,
            ..HttpClientOptions::new(endpoint.strip_suffix(PATH).unwrap_or(endpoint))
        };
        let client = HttpClient::new(&options).map_err(|e| BuildError::new(e.to_string()))?;
        let mut headers = header_map(&config.headers, |_| false)?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(tenant) = &config.tenant
            && headers.insert(TENANT, secret(tenant, "tenant")?).is_some()
        {
            return Err(BuildError::new(format!(
                "{TENANT} is in `headers` and in `tenant`; keep one of them"
            )));
        }
        let encoder = config.encoder();
        Ok(Self {
            destination: Destination { client, headers },
            table: Mutex::new(encoder.table(config.max_streams)),
            encoder,
            reduced: context.metrics.counter("floodway_reduced_labels_total", &[]),
        })
    }

    async fn send(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let requests = payloads.iter().map(forms::otlp).collect::<Result<Vec<_>, _>>()?;
        let mut pushes = self.encode(&requests);
        let mut sending = JoinSet::new();
        for shard in std::mem::take(&mut pushes.shards) {
            sending.spawn(self.destination.clone().send_in_order(shard));
        }
        let mut taken = Vec::new();
        let mut failures = Vec::new();
        while let Some(ended) = sending.join_next().await {
            let shard = ended.map_err(|error| ExportError::Retryable {
                message: format!("a request was not sent to its end: {error}"),
                retry_after: None,
            })?;
            taken.extend(shard.taken);
            failures.extend(shard.failure);
        }
        match summary(failures, taken.is_empty()) {
            None => Ok(Exported::default()),
            Some(Summary::Nothing(error)) => Err(error),
            Some(Summary::Partly { message, retry_after }) => {
                let payloads = left(&requests, &pushes.of_record, &taken);
                Ok(Exported {
                    rejected: Vec::new(),
                    remainder: Some(Remainder { payloads, message, retry_after }),
                })
            }
        }
    }

    fn encode(&self, requests: &[Cow<'_, Request>]) -> Pushes {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let pushes = self.encoder.encode(requests.iter().map(AsRef::as_ref), &mut table, now);
        self.reduced.increment(pushes.reduced);
        pushes
    }
}

impl Exporter for LokiExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.send(payloads))
    }
}

/// What became of a shard.
struct Sent {
    /// Numbers of the pushes that Loki took.
    taken: Vec<usize>,
    /// Why the next one was not taken; those behind it were not sent.
    failure: Option<ExportError>,
}

impl Destination {
    async fn send_in_order(self, pushes: Vec<StreamPush>) -> Sent {
        let mut sent = Sent { taken: Vec::new(), failure: None };
        for push in pushes {
            match self.post(&push).await {
                Ok(()) => sent.taken.push(push.number),
                Err(error) => {
                    sent.failure = Some(error);
                    break;
                }
            }
        }
        sent
    }

    async fn post(&self, push: &StreamPush) -> Result<(), ExportError> {
        let block = Snappy::default().compress(&push.body).map_err(|error| ExportError::Permanent {
            reason: "compression",
            message: error.to_string(),
            scope: Scope::Records,
        })?;
        let answer =
            self.client.post(PATH, self.headers.clone(), Chunks::new(vec![Bytes::from(block)])).await;
        verdict(&answer.map_err(|e| unanswered(&e))?)
    }
}

fn verdict(answer: &HttpResponse) -> Result<(), ExportError> {
    let status = answer.status;
    if status.is_success() && status.as_u16() != BLOCKED {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.body);
    let message = format!("HTTP {status}: {}", printable(&without_labels(&text)));
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {}
        _ if status.is_server_error() => {}
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(ExportError::Permanent { reason: reason(&text), message, scope: Scope::Records });
        }
        _ => {
            let reason = "refused_by_destination";
            return Err(ExportError::Permanent { reason, message, scope: Scope::Request });
        }
    }
    Err(ExportError::Retryable { message, retry_after: retry_after(&answer.headers, SystemTime::now()) })
}

/// Loki quotes the labels of the streams concerned; they are the users' and do not belong into our log.
fn without_labels(text: &str) -> Cow<'_, str> {
    match (text.find('{'), text.rfind('}')) {
        (Some(start), Some(end)) if start < end => {
            Cow::Owned(format!("{}{{...}}{}", &text[..start], &text[end + 1..]))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Why Loki refuses an entry, as far as its words tell.
fn reason(text: &str) -> &'static str {
    const REASONS: [(&str, &str); 9] = [
        ("timestamp too old", "too_old"),
        ("timestamp too new", "too_new"),
        ("too far behind", "too_far_behind"),
        ("out of order", "out_of_order"),
        ("max entry size", "line_too_long"),
        ("structured metadata", "bad_metadata"),
        ("label names", "bad_labels"),
        ("label name", "bad_labels"),
        ("labels", "bad_labels"),
    ];
    let known = REASONS.iter().find(|(words, _)| text.contains(words));
    known.map_or("refused_by_destination", |(_, reason)| reason)
}

enum Summary {
    /// Nothing was taken.
    Nothing(ExportError),
    /// Something was taken; the rest is sent again, and if it is refused as a whole that is its verdict.
    Partly { message: String, retry_after: Option<Duration> },
}

/// What to tell the engine. Of several failures one that may pass decides; else one that concerns records.
fn summary(failures: Vec<ExportError>, nothing_taken: bool) -> Option<Summary> {
    let hint = |error: &ExportError| match error {
        ExportError::Retryable { retry_after, .. } => *retry_after,
        ExportError::Permanent { .. } => None,
    };
    let longest = failures.iter().filter_map(hint).max();
    let rank = |error: &ExportError| match error {
        ExportError::Retryable { .. } => 0,
        ExportError::Permanent { scope: Scope::Records, .. } => 1,
        ExportError::Permanent { scope: Scope::Request, .. } => 2,
    };
    let worst = failures.into_iter().min_by_key(rank)?;
    Some(match worst {
        worst if !nothing_taken => Summary::Partly { message: worst.to_string(), retry_after: longest },
        ExportError::Retryable { message, .. } => {
            Summary::Nothing(ExportError::Retryable { message, retry_after: longest })
        }
        permanent => Summary::Nothing(permanent),
    })
}

/// The records whose pushes were not taken, in their order.
fn left(requests: &[Cow<'_, Request>], of_record: &[usize], taken: &[usize]) -> Vec<Payload> {
    let taken: HashSet<_> = taken.iter().collect();
    let mut numbers = of_record.iter();
    let mut payloads = Vec::new();
    for request in requests {
        let kept = request.retain(|_| numbers.next().is_some_and(|number| !taken.contains(number)));
        payloads.extend(kept.map(Payload::from));
    }
    payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_loki_quotes_stay_out_of_messages() {
        let text = "entry for stream '{job=\"x\", peer=\"p}1\"}' has timestamp too old: 2020";
        assert_eq!(without_labels(text), "entry for stream '{...}' has timestamp too old: 2020");
        assert_eq!(without_labels("} no {"), "} no {");
        assert_eq!(reason(text), "too_old");
        assert_eq!(reason("?"), "refused_by_destination");
    }

    #[test]
    fn one_failure_that_may_pass_makes_the_whole_worth_another_try() {
        let permanent = |scope| ExportError::Permanent { reason: "r", message: "p".into(), scope };
        let retryable = |seconds| ExportError::Retryable {
            message: "r".into(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let nothing = |failures| match summary(failures, true) {
            Some(Summary::Nothing(error)) => error,
            _ => panic!(),
        };
        let all = vec![permanent(Scope::Records), retryable(3), retryable(9), permanent(Scope::Request)];
        let expected = Some(Duration::from_secs(9));
        assert!(
            matches!(nothing(all), ExportError::Retryable { retry_after, .. } if retry_after == expected)
        );
        let both = vec![permanent(Scope::Request), permanent(Scope::Records)];
        assert!(matches!(nothing(both), ExportError::Permanent { scope: Scope::Records, .. }));
        assert!(matches!(summary(vec![permanent(Scope::Request)], false), Some(Summary::Partly { .. })));
        assert!(summary(vec![], false).is_none());
    }
}
