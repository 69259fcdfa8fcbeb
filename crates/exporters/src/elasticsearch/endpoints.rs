//! The servers, and which of them is asked next.
//!
//! Requests go round. An endpoint that does not answer, or answers for one that does not (502, 503, 504), is passed over for a
//! while and the same request goes to the next one, each endpoint once. All of them down is an error like that of one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use codec::elasticsearch::FILTER_PATH;
use engine::BuildError;
use http::{HeaderMap, StatusCode};
use net::client::{Chunks, HttpClient, HttpClientOptions, HttpError, HttpResponse};

use super::ElasticsearchConfig;

/// How long an endpoint that did not answer is passed over.
const PASS_OVER: Duration = Duration::from_secs(5);

/// Most bytes of an answer that are kept. An item is 30 bytes where all is well, and a few hundred where it is not.
const MAX_ANSWER_BYTES: usize = 16 << 20;

const MAX_ENDPOINTS: usize = 64;

pub(super) struct Endpoints {
    all: Vec<Endpoint>,
    next: AtomicUsize,
    started: Instant,
    path: String,
}

struct Endpoint {
    client: HttpClient,
    /// Milliseconds after `started`.
    down_until: AtomicU64,
}

impl Endpoints {
    pub(super) fn new(config: &ElasticsearchConfig) -> Result<Self, BuildError> {
        let count = config.endpoints.len();
        if !(1..=MAX_ENDPOINTS).contains(&count) {
            return Err(BuildError::new(format!("endpoints: there are {count}; give 1 to {MAX_ENDPOINTS}")));
        }
        // With several, one that hangs must leave time for another.
        let timeout = if count > 1 { config.timeout() / 2 } else { config.timeout() };
        let endpoint = |url: &String| {
            let defaults = HttpClientOptions::new(url);
            let options = HttpClientOptions {
                tls: config.tls.clone(),
                connect_timeout: defaults.connect_timeout.min(timeout),
                request_timeout: timeout,
                max_response_bytes: MAX_ANSWER_BYTES,
                ..defaults
            };
            let client = HttpClient::new(&options).map_err(|e| BuildError::new(e.to_string()))?;
            Ok(Endpoint { client, down_until: AtomicU64::new(0) })
        };
        let all = config.endpoints.iter().map(endpoint).collect::<Result<_, BuildError>>()?;
        let mut path = format!("/_bulk?filter_path={FILTER_PATH}");
        if let Some(pipeline) = &config.pipeline {
            if pipeline.is_empty() {
                return Err(BuildError::new("pipeline is empty; leave it out to use that of the index"));
            }
            path.push_str("&pipeline=");
            percent_encode(pipeline, &mut path);
        }
        Ok(Self { all, next: AtomicUsize::new(0), started: Instant::now(), path })
    }

    /// Posts a body; an answer of any status is no error.
    pub(super) async fn post(&self, headers: &HeaderMap, body: &Bytes) -> Result<HttpResponse, HttpError> {
        let first = self.first();
        let mut last = None;
        for n in 0..self.all.len() {
            let endpoint = &self.all[(first + n) % self.all.len()];
            let result = endpoint.client.post(&self.path, headers.clone(), Chunks::from(body.clone())).await;
            let gone = match &result {
                Ok(answer) => matches!(
                    answer.status,
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                ),
                Err(error) => error.is_retryable(),
            };
            if !gone {
                return result;
            }
            endpoint.down_until.store(self.millis() + PASS_OVER.as_millis() as u64, Ordering::Relaxed);
            // An answer says more than none.
            if !matches!((&last, &result), (Some(Ok(_)), Err(_))) {
                last = Some(result);
            }
        }
        last.unwrap_or_else(|| {
            let timeout = Duration::ZERO;
            Err(HttpError::Timeout { url: String::new(), timeout })
        })
    }

    /// The next in turn that is not passed over; the next in turn, where all are.
    fn first(&self) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.millis();
        let up = |n: &usize| self.all[*n % self.all.len()].down_until.load(Ordering::Relaxed) <= now;
        (0..self.all.len()).map(|n| turn.wrapping_add(n)).find(up).unwrap_or(turn) % self.all.len()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Appends a value of a query string.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
