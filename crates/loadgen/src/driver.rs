//! The client side: sends prepared requests and counts the answers. How they are sent is the matter of `client`.
//!
//! Each connection carries a fixed number of requests at once (closed loop), or requests become due at a fixed rate (open
//! loop, still bounded by the same number). With a rate, latency counts from the moment a request was due, so a stalled server
//! is not flattered by requests that were never sent.
//!
//! The prepared bytes go to the socket as they are: no encoding, no copy in user space. A refused request is not sent again. A
//! broken connection is opened anew for the next request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::latency::Latencies;
use crate::payload::{Payload, PayloadSet};

/// Distinct error texts that are kept; further ones are counted as `other`.
const MAX_ERROR_KINDS: usize = 32;
/// Pause of a sender after an error, so that a refusing server is not flooded in a tight loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Where to and how wide.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// `host:port` of the server.
    pub target: String,
    /// TCP connections.
    pub connections: usize,
    /// Requests under way at once on each connection.
    pub in_flight: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl DriverConfig {
    /// Four connections of four requests each.
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), connections: 4, in_flight: 4, timeout: Duration::from_secs(20) }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// After this time; requests under way are still waited for.
    After(Duration),
    /// After at least this many records, sent whatever the answers.
    Records(u64),
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DriveReport {
    /// Requests answered with success.
    pub accepted_requests: u64,
    /// Records in them, without those that a partial success rejected.
    pub accepted_records: u64,
    /// Records rejected by partial successes.
    pub rejected_records: u64,
    /// Requests refused, failed or without an answer in time.
    pub failed_requests: u64,
    /// How often each reason was given.
    pub errors: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Median latency of accepted requests.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
}

impl DriveReport {
    /// Accepted records a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.accepted_records as f64 / self.seconds } else { 0.0 }
    }
}

/// A client that may make several runs over the same connections.
#[derive(Debug)]
pub struct Driver {
    config: DriverConfig,
    payloads: Arc<PayloadSet>,
    clients: Vec<Client>,
}

impl Driver {
    /// Opens the connections.
    pub async fn connect(config: DriverConfig, payloads: Arc<PayloadSet>) -> Result<Self> {
        if config.connections == 0 || config.in_flight == 0 {
            return Err(Error::Setting(
                "at least one connection and one request in flight are needed".into(),
            ));
        }
        let mut clients = Vec::with_capacity(config.connections);
        for _ in 0..config.connections {
            clients.extend(Client::connect(&config.target, config.in_flight, &payloads).await?);
        }
        Ok(Self { config, payloads, clients })
    }

    /// Makes one run: at this many records a second, or as fast as the answers come.
    pub async fn run(&self, records_per_second: Option<f64>, stop: Stop) -> DriveReport {
        let per_request = self.payloads.spec.records_per_request as f64;
        let run = Arc::new(Run {
            payloads: Arc::clone(&self.payloads),
            timeout: self.config.timeout,
            start: Instant::now(),
            interval: records_per_second.map(|rate| Duration::from_secs_f64(per_request / rate.max(1e-3))),
            stop,
            ticket: AtomicU64::new(0),
            tally: Tally::default(),
        });
        let mut senders = JoinSet::new();
        for client in &self.clients {
            senders.spawn(send_until_stopped(client.clone(), Arc::clone(&run)));
        }
        while senders.join_next().await.is_some() {}
        run.tally.report(run.start.elapsed())
    }
}

/// What the senders of one run share.
struct Run {
    payloads: Arc<PayloadSet>,
    timeout: Duration,
    start: Instant,
    /// Between two requests of the whole run, if they are paced.
    interval: Option<Duration>,
    stop: Stop,
    ticket: AtomicU64,
    tally: Tally,
}

impl Run {
    /// The next request to send and when it is due; `None` at the end of the run.
    fn next(&self) -> Option<(&Payload, Instant)> {
        let ticket = self.ticket.fetch_add(1, Relaxed);
        let due = match self.interval {
            Some(interval) => self.start + interval.mul_f64(ticket as f64),
            None => Instant::now(),
        };
        let over = match self.stop {
            Stop::After(time) => due >= self.start + time,
            Stop::Records(records) => ticket * self.payloads.spec.records_per_request as u64 >= records,
        };
        let requests = &self.payloads.requests;
        (!over).then(|| (&requests[ticket as usize % requests.len()], due))
    }
}

async fn send_until_stopped(client: Client, run: Arc<Run>) {
    while let Some((payload, due)) = run.next() {
        if run.interval.is_some() {
            sleep_until(due).await;
        }
        let answer = timeout(run.timeout, client.send(payload)).await;
        match answer.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(rejected) => run.tally.accepted(payload.records, rejected, due.elapsed()),
            Err(reason) => {
                run.tally.failed(reason);
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    records: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    latencies: Latencies,
}

impl Tally {
    fn accepted(&self, records: u64, rejected: u64, latency: Duration) {
        self.requests.fetch_add(1, Relaxed);
        self.records.fetch_add(records.saturating_sub(rejected), Relaxed);
        self.rejected.fetch_add(rejected, Relaxed);
        self.latencies.record(latency);
    }

    fn failed(&self, reason: String) {
        self.failed.fetch_add(1, Relaxed);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = errors.contains_key(&reason) || errors.len() < MAX_ERROR_KINDS;
        *errors.entry(if known { reason } else { "other".into() }).or_default() += 1;
    }

    fn report(&self, elapsed: Duration) -> DriveReport {
        DriveReport {
            accepted_requests: self.requests.load(Relaxed),
            accepted_records: self.records.load(Relaxed),
            rejected_records: self.rejected.load(Relaxed),
            failed_requests: self.failed.load(Relaxed),
            errors: self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            seconds: elapsed.as_secs_f64(),
            p50_ms: self.latencies.quantile_ms(0.5),
            p99_ms: self.latencies.quantile_ms(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn kinds_of_errors_are_bounded() {
        let tally = Tally::default();
        for i in 0..1_000 {
            tally.failed(format!("error {i}"));
        }
        let report = tally.report(Duration::from_secs(1));
        assert_eq!(report.errors.len(), MAX_ERROR_KINDS + 1);
        assert_eq!(report.errors["other"], 1_000 - MAX_ERROR_KINDS as u64);
        assert_eq!(report.failed_requests, 1_000);
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        let payloads = Arc::new(
            PayloadSet::new(crate::payload::PayloadSpec {
                distinct: 1,
                records_per_request: 1,
                ..Default::default()
            })
            .unwrap(),
        );
        let error = Driver::connect(DriverConfig::new("127.0.0.1:1"), payloads).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
