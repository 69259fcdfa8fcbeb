//! Sends records body by body and keeps account of what became of each.
//!
//! Invariant: every record of an export is delivered, refused or left over, and none is two of them. What was delivered before
//! something failed is not sent again: it is not part of the remainder. An export that takes many bodies ends while there is
//! time, with a remainder: were it cut off by `retry.timeout_ms`, all of it would be sent again, and again.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use codec::elasticsearch::{Bulk, BulkEncoder, BulkOptions, Item, error_of, keep, read};
use engine::{BoxFuture, ExportError, Exported, Exporter, Rejected, Remainder, Scope};
use http::{HeaderMap, StatusCode};
use model::{Payload, Request};
use net::Encoding;
use net::client::{HttpResponse, retry_after};
use net::encoding::deflate;

use super::ElasticsearchConfig;
use super::endpoints::Endpoints;
use crate::forms;

/// Bodies are not made smaller than this for a server that refuses large ones.
const LEAST_BODY_BYTES: usize = 64 << 10;

pub(super) struct ElasticsearchExporter {
    endpoints: Endpoints,
    headers: HeaderMap,
    encoding: Encoding,
    options: BulkOptions,
    /// Shrinks when the server says 413.
    max_body_bytes: AtomicUsize,
    timeout: Duration,
    /// Not more than were ever in use at one time.
    idle: Mutex<Vec<Session>>,
}

/// Memory that is used from export to export.
struct Session {
    encoder: BulkEncoder,
    bulk: Bulk,
}

/// What became of the records of one export.
struct Account {
    /// When to begin no further body.
    until: Instant,
    /// Whether the server has judged any record.
    judged: bool,
    refused: Vec<Refused>,
    left: Vec<Item>,
    message: String,
    retry_after: Option<Duration>,
    /// Something failed as a whole: what comes after it is left over unsent.
    stopped: bool,
}

/// Records refused for one reason.
struct Refused {
    reason: &'static str,
    message: String,
    items: Vec<Item>,
}

/// What an answer means for all documents of a body.
enum Judged {
    /// Look at the items.
    Items(Bytes),
    TooLarge,
}

impl ElasticsearchExporter {
    pub(super) fn new(
        config: &ElasticsearchConfig,
        options: BulkOptions,
        endpoints: Endpoints,
        headers: HeaderMap,
    ) -> Self {
        Self {
            endpoints,
            headers,
            encoding: config.compression.encoding(),
            options,
            max_body_bytes: AtomicUsize::new(config.max_body_bytes),
            timeout: config.timeout(),
            idle: Mutex::default(),
        }
    }

    async fn send(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let mut session = self.idle.lock().ok().and_then(|mut idle| idle.pop()).unwrap_or_else(|| Session {
            encoder: BulkEncoder::new(self.options.clone()),
            bulk: Bulk::default(),
        });
        let result = self.send_all(&mut session, payloads).await;
        if let Ok(mut idle) = self.idle.lock() {
            session.bulk.clear();
            idle.push(session);
        }
        result
    }

    async fn send_all(&self, session: &mut Session, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let Session { encoder, bulk } = session;
        bulk.clear();
        let mut account = Account::until(Instant::now() + self.timeout / 2);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        for (number, payload) in payloads.iter().enumerate() {
            let request = forms::otlp(payload)?;
            let mut records = encoder.start(&request, number);
            while records.fill(self.max_body_bytes.load(Ordering::Relaxed), now, bulk) {
                self.flush(bulk, &mut account).await?;
            }
        }
        self.flush(bulk, &mut account).await?;
        account.close(payloads)
    }

    /// Sends the documents in `bulk` and empties it. An error means that the server has not judged any record yet.
    async fn flush(&self, bulk: &mut Bulk, account: &mut Account) -> Result<(), ExportError> {
        if bulk.items.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(std::mem::take(&mut bulk.body));
        let mut pieces: Vec<_> = std::iter::once(0..bulk.items.len()).collect();
        while let Some(piece) = pieces.pop() {
            let items = bulk.items.get(piece.clone()).unwrap_or_default();
            if account.is_over() {
                account.left.extend_from_slice(items);
                continue;
            }
            match self.post(&body.slice(bytes_of(&bulk.items, &piece))).await {
                Ok(Judged::Items(answer)) => account.judge(&answer, items, self.options.content_ids),
                Ok(Judged::TooLarge) if piece.len() > 1 => {
                    let middle = piece.start + piece.len() / 2;
                    pieces.extend([middle..piece.end, piece.start..middle]);
                }
                Ok(Judged::TooLarge) => account.reject(Refused {
                    reason: "too_large",
                    message: "HTTP 413: a single document is larger than the server takes".to_owned(),
                    items: items.to_vec(),
                }),
                Err(error) if !account.judged => return Err(error),
                Err(error) => account.stop(error, items),
            }
        }
        bulk.items.clear();
        // The transport has let go of the body, unless it failed: then it is not worth a copy. Nor is the memory of a single huge
        // document worth keeping.
        if body.is_unique() && body.len() <= 2 * self.max_body_bytes.load(Ordering::Relaxed) {
            bulk.body = Vec::from(body);
            bulk.body.clear();
        }
        Ok(())
    }

    async fn post(&self, body: &Bytes) -> Result<Judged, ExportError> {
        let compressed = match self.encoding {
            Encoding::Identity => body.clone(),
            encoding => {
                deflate(encoding, std::slice::from_ref(body)).map_err(|e| ExportError::Permanent {
                    reason: "compression",
                    message: format!("cannot compress: {e}"),
                    scope: Scope::Request,
                })?
            }
        };
        let answer = self.endpoints.post(&self.headers, &compressed).await.map_err(|error| {
            let message = error.to_string();
            match error.is_retryable() {
                true => ExportError::Retryable { message, retry_after: None },
                false => ExportError::Permanent { reason: "bad_request", message, scope: Scope::Request },
            }
        })?;
        if answer.status == StatusCode::PAYLOAD_TOO_LARGE {
            self.shrink(body.len());
            return Ok(Judged::TooLarge);
        }
        if answer.status == StatusCode::OK {
            return Ok(Judged::Items(answer.body));
        }
        Err(refused(&answer))
    }

    /// Remembers that a body of this size was too large.
    fn shrink(&self, bytes: usize) {
        let smaller = (bytes / 2).max(LEAST_BODY_BYTES);
        if self.max_body_bytes.fetch_min(smaller, Ordering::Relaxed) > smaller {
            tracing::warn!(
                "a body of {bytes} bytes was too large (HTTP 413); sending smaller ones of {smaller} bytes. Set \
                 max_body_bytes below the limit of the server, or of the proxy before it"
            );
        }
    }
}

impl Exporter for ElasticsearchExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.send(payloads))
    }
}

/// Where the documents of `piece` stand in the body.
fn bytes_of(items: &[Item], piece: &Range<usize>) -> Range<usize> {
    let end = |count: usize| count.checked_sub(1).and_then(|last| items.get(last)).map_or(0, |item| item.end);
    end(piece.start)..end(piece.end)
}

/// What an answer other than 200 and 413 means.
fn refused(answer: &HttpResponse) -> ExportError {
    let status = answer.status;
    let said = error_of(&answer.body);
    let blocked = said.as_ref().is_some_and(|(kind, _)| kind == "cluster_block_exception");
    let message = match &said {
        Some((kind, reason)) => format!("HTTP {status}: {kind}: {reason}"),
        None => format!("HTTP {status}"),
    };
    let (reason, scope) = match status.as_u16() {
        _ if blocked => return again(answer, message),
        408 | 429 | 502 | 503 | 504 => return again(answer, message),
        401 | 403 => ("unauthorized", Scope::Request),
        400 | 422 | 500 => ("refused_by_destination", Scope::Records),
        _ => ("refused_by_destination", Scope::Request),
    };
    ExportError::Permanent { reason, message, scope }
}

fn again(answer: &HttpResponse, message: String) -> ExportError {
    ExportError::Retryable { message, retry_after: retry_after(&answer.headers, SystemTime::now()) }
}

impl Account {
    fn until(until: Instant) -> Self {
        Self {
            until,
            judged: false,
            refused: Vec::new(),
            left: Vec::new(),
            message: String::new(),
            retry_after: None,
            stopped: false,
        }
    }

    fn judge(&mut self, answer: &[u8], items: &[Item], content_ids: bool) {
        let answer = read(answer, items.len(), content_ids);
        self.judged = true;
        for refusal in answer.refusals {
            let refused = refusal.positions.iter().filter_map(|position| items.get(*position).copied());
            let items = refused.collect();
            self.reject(Refused { reason: refusal.reason, message: refusal.message, items });
        }
        self.left.extend(answer.retry.iter().filter_map(|position| items.get(*position)));
        self.say(answer.message);
    }

    fn reject(&mut self, refused: Refused) {
        self.judged = true;
        match self.refused.iter_mut().find(|known| known.reason == refused.reason) {
            Some(known) => known.items.extend(refused.items),
            None => self.refused.push(refused),
        }
    }

    /// The server judged some records, and would not or could not look at these. Should it refuse them for good, it will do so
    /// again when they are sent alone.
    fn stop(&mut self, error: ExportError, items: &[Item]) {
        self.stopped = true;
        self.left.extend_from_slice(items);
        self.say(error.to_string());
        if let ExportError::Retryable { retry_after, .. } = error {
            self.retry_after = retry_after;
        }
    }

    /// Whether no further body is to be sent. At least one is judged before time is up, so that there is progress.
    fn is_over(&mut self) -> bool {
        if !self.stopped && self.judged && Instant::now() > self.until {
            self.stopped = true;
            self.say("half of retry.timeout_ms has passed; the rest goes in another attempt".to_owned());
        }
        self.stopped
    }

    fn say(&mut self, message: String) {
        if self.message.is_empty() {
            self.message = message;
        }
    }

    fn close(self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let Self { refused, left, message, retry_after, .. } = self;
        let mut rejected = Vec::with_capacity(refused.len());
        for Refused { reason, message, items } in refused {
            let payloads = chosen(payloads, &items)?;
            rejected.push(Rejected { reason, items: items.len() as u64, message, payloads });
        }
        if left.is_empty() {
            return Ok(Exported { rejected, remainder: None });
        }
        let payloads = chosen(payloads, &left)?;
        Ok(Exported { rejected, remainder: Some(Remainder { payloads, message, retry_after }) })
    }
}

/// The records that `items` name, which are in order.
fn chosen(payloads: &[Payload], items: &[Item]) -> Result<Vec<Payload>, ExportError> {
    let mut chosen = Vec::new();
    for of_request in items.chunk_by(|a, b| a.request == b.request) {
        let payload = of_request.first().and_then(|item| payloads.get(item.request));
        if let Some(payload) = payload {
            chosen.extend(thinned(&*forms::otlp(payload)?, of_request).map(Payload::from));
        }
    }
    Ok(chosen)
}

/// The records of `request` that `items` name, which are in order.
fn thinned(request: &Request, items: &[Item]) -> Option<Request> {
    let mut items = items.iter().peekable();
    keep(request, |record| items.next_if(|item| item.record == record).map(|item| item.number))
}
