//! One connection: read, frame and decode, hand over, and wait where the pipelines say so.
//!
//! Invariant: an unfinished line and a batch that waits are held with a permit of the memory budget, or the connection is
//! not read. What one read and the events of it take, before they are counted, is bounded by [`READ_BYTES`] and the limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codec::json_lines::{Counters, JsonLines, JsonLinesLimits, SCOPE};
use codec::logs::{BatchLimits, LogsBuilder};
use engine::{ComponentMetrics, Inlet, Permit, ReceiverContext, Refusal};
use metrics::Counter;
use model::Request;
use net::Stream;
use net::server::Shutdown;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout_at};

/// What is read at once: the events of one read make one batch, so a flood makes large ones.
const READ_BYTES: usize = 64 << 10;
/// The first pause when the pipelines are full; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long, at shutdown, a batch in hand is offered again; less than the time after which the connection is cut.
const LAST_TRIES: Duration = Duration::from_secs(8);
/// At shutdown, how long what is on its way is still read, and the silence that ends this sooner.
const LAST_READS: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(50);

/// What all connections of a receiver share.
#[derive(Clone)]
pub(super) struct Settings {
    inlet: Inlet,
    metrics: ComponentMetrics,
    limits: JsonLinesLimits,
    line_timeout: Duration,
    parse_failures: Counter,
    timestamp_failures: Counter,
    cut_lines: Counter,
    invalid_utf8: Counter,
}

impl Settings {
    pub(super) fn new(context: &ReceiverContext, limits: JsonLinesLimits, line_timeout: Duration) -> Self {
        let failure = |kind| context.metrics.counter("floodway_line_problems_total", &[("problem", kind)]);
        Self {
            inlet: context.inlet.clone(),
            metrics: context.metrics.clone(),
            limits,
            line_timeout,
            parse_failures: failure("json"),
            timestamp_failures: failure("timestamp"),
            cut_lines: failure("cut"),
            invalid_utf8: failure("invalid_utf8"),
        }
    }
}

/// The state of one connection.
pub(super) struct Session {
    settings: Settings,
    shutdown: Shutdown,
    lines: JsonLines,
    batch: LogsBuilder,
    counted: Counters,
    /// Room for the unfinished line, or for a batch that waits.
    held: Permit,
    /// When the unfinished line must have ended.
    line_deadline: Option<Instant>,
    /// Since when we know that we are to stop.
    stopping: Option<Instant>,
}

/// The connection is to be closed: there is nobody left to take its events.
struct Stopped;

impl Session {
    pub(super) fn new(settings: Settings, shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            lines: JsonLines::new(settings.limits),
            batch: LogsBuilder::new(SCOPE, BatchLimits::default()),
            counted: Counters::default(),
            held: settings.inlet.permit(),
            line_deadline: None,
            stopping: None,
            settings,
        }
    }

    pub(super) async fn run(mut self, mut stream: Stream) {
        let mut buffer = vec![0; READ_BYTES];
        while let Some(n) = self.read(&mut stream, &mut buffer).await {
            if self.take(&buffer[..n]).await.is_err() {
                return;
            }
        }
        self.lines.finish(unix_nanos(), &mut self.batch);
        // What is refused for good is counted; there is nobody left to tell.
        let _ = self.hand_over().await;
    }

    /// Bytes read, or `None` when the sender is done, is gone, has stalled within a line, or we were told to stop and what it
    /// had sent until then is read.
    async fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> Option<usize> {
        if self.stopping.is_none() {
            let deadline = self.line_deadline;
            let read = async {
                match deadline {
                    Some(deadline) => timeout_at(deadline, stream.read(buffer)).await.ok(),
                    None => Some(stream.read(buffer).await),
                }
            };
            tokio::select! {
                read = read => return read?.ok().filter(|n| *n > 0),
                () = self.shutdown.requested() => {}
            }
        }
        let stopping = *self.stopping.get_or_insert_with(Instant::now);
        let (now, end) = (Instant::now(), stopping + LAST_READS);
        if now >= end {
            return None;
        }
        let read = timeout_at(end.min(now + QUIET), stream.read(buffer)).await;
        read.ok()?.ok().filter(|n| *n > 0)
    }

    /// Decodes a chunk and hands over its events.
    async fn take(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = self.lines.push(rest, unix_nanos(), &mut self.batch);
            rest = rest.get(taken..).unwrap_or_default();
            self.hand_over().await?;
        }
        if self.lines.held_bytes() == 0 {
            self.line_deadline = None;
        } else if self.line_deadline.is_none() || chunk.contains(&b'\n') {
            self.line_deadline = Some(Instant::now() + self.settings.line_timeout);
        }
        self.hold_line().await;
        Ok(())
    }

    /// Takes room for the unfinished line, and waits for it where the budget is full. The line's own time ends that: without it
    /// connections that all hold a part of a line would wait for each other.
    async fn hold_line(&mut self) {
        let wanted = self.lines.held_bytes();
        self.held.shrink(self.held.bytes().saturating_sub(wanted));
        let mut pause = FIRST_PAUSE;
        while self.held.grow(wanted - self.held.bytes()).is_err() {
            let late = self.line_deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || !self.pause(&mut pause).await {
                return;
            }
        }
    }

    /// Hands the batch to the pipelines, waiting as long as they say so.
    async fn hand_over(&mut self) -> Result<(), Stopped> {
        self.count();
        let Some(request) = self.batch.finish() else {
            return Ok(());
        };
        let mut pause = FIRST_PAUSE;
        loop {
            // Given back first: connections that hold some room and want more would wait for each other.
            self.held.shrink(self.held.bytes());
            match self.send(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(refusal) if refusal.reason == "shutting_down" => return Err(Stopped),
                Err(refusal) if refusal.retryable => {}
                Err(refusal) => {
                    let (reason, message) = (refusal.reason, refusal.message);
                    tracing::warn!(reason, "events refused for good: {message}");
                    return Ok(());
                }
            }
            // Without room the batch is kept all the same: it is read already.
            let _ = self.held.grow(request.bytes().len());
            if !self.pause(&mut pause).await {
                let items = request.items() as u64;
                self.settings.metrics.refused("shutting_down", items);
                return Err(Stopped);
            }
        }
    }

    async fn send(&self, request: Request) -> Result<(), Refusal> {
        let mut permit = self.settings.inlet.permit();
        if let Err(full) = permit.grow(request.bytes().len()) {
            let refusal = Refusal::from(full);
            self.settings.metrics.refused(refusal.reason, request.items() as u64);
            return Err(refusal);
        }
        self.settings.inlet.send(request, permit).await
    }

    /// Waits before another try; false when it is too late for one.
    async fn pause(&mut self, pause: &mut Duration) -> bool {
        tokio::select! {
            () = sleep(*pause) => {}
            () = self.shutdown.requested(), if self.stopping.is_none() => {
                self.stopping = Some(Instant::now());
            }
        }
        *pause = (*pause * 2).min(MAX_PAUSE);
        self.stopping.is_none_or(|since| since.elapsed() < LAST_TRIES)
    }

    fn count(&mut self) {
        let (now, before) = (self.lines.counters(), self.counted);
        let settings = &self.settings;
        settings.parse_failures.increment(now.parse_failures - before.parse_failures);
        settings.timestamp_failures.increment(now.timestamp_failures - before.timestamp_failures);
        settings.cut_lines.increment(now.cut_lines - before.cut_lines);
        settings.invalid_utf8.increment(now.invalid_utf8 - before.invalid_utf8);
        self.counted = now;
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
