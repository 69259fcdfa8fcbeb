//! One connection: read, frame and decode, hand over, and wait where the pipelines say so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codec::json_lines::{Counters, JsonLines, JsonLinesLimits, SCOPE};
use codec::logs::{BatchLimits, LogsBuilder};
use engine::{Inlet, Permit, ReceiverContext, Refusal};
use metrics::Counter;
use model::Request;
use net::Stream;
use tokio::io::AsyncReadExt as _;

/// What is read at once: the events of one read make one batch, so a flood makes large ones.
const READ_BYTES: usize = 64 << 10;
/// The first pause when the pipelines are full; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What all connections of a receiver share.
#[derive(Clone)]
pub(super) struct Settings {
    inlet: Inlet,
    limits: JsonLinesLimits,
    line_timeout: Duration,
    parse_failures: Counter,
    timestamp_failures: Counter,
    cut_lines: Counter,
    invalid_utf8: Counter,
    lost: engine::ComponentMetrics,
}

impl Settings {
    pub(super) fn new(context: &ReceiverContext, limits: JsonLinesLimits, line_timeout: Duration) -> Self {
        let failure = |kind| {
            context
                .metrics
                .counter("floodway_line_problems_total", &[("problem", kind)])
        };
        Self {
            inlet: context.inlet.clone(),
            limits,
            line_timeout,
            parse_failures: failure("json"),
            timestamp_failures: failure("timestamp"),
            cut_lines: failure("cut"),
            invalid_utf8: failure("invalid_utf8"),
            lost: context.metrics.clone(),
        }
    }
}

/// The state of one connection.
pub(super) struct Session {
    settings: Settings,
    lines: JsonLines,
    batch: LogsBuilder,
    counted: Counters,
}

impl Session {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            lines: JsonLines::new(settings.limits),
            batch: LogsBuilder::new(SCOPE, BatchLimits::default()),
            counted: Counters::default(),
            settings,
        }
    }

    pub(super) async fn run(mut self, mut stream: Stream, mut shutdown: net::server::Shutdown) {
        let mut buffer = vec![0; READ_BYTES];
        while let Some(n) = self.read(&mut stream, &mut buffer, &mut shutdown).await {
            if self.take(&buffer[..n]).await.is_err() {
                return;
            }
        }
        self.lines.finish(unix_nanos(), &mut self.batch);
        // Refused for good is counted; there is nobody left to tell.
        let _ = self.hand_over().await;
    }

    /// Bytes read, or `None` when the sender is done, is gone, has stalled within a line, or we are told to stop.
    async fn read(
        &self,
        stream: &mut Stream,
        buffer: &mut [u8],
        shutdown: &mut net::server::Shutdown,
    ) -> Option<usize> {
        let within_line = self.lines.held_bytes() > 0;
        let limit = if within_line {
            self.settings.line_timeout
        } else {
            Duration::MAX
        };
        tokio::select! {
            read = tokio::time::timeout(limit, stream.read(buffer)) => match read {
                Ok(Ok(n)) if n > 0 => Some(n),
                _ => None,
            },
            () = shutdown.requested() => None,
        }
    }

    /// Decodes a chunk and hands over its events.
    async fn take(&mut self, mut chunk: &[u8]) -> Result<(), Refusal> {
        while !chunk.is_empty() {
            let taken = self.lines.push(chunk, unix_nanos(), &mut self.batch);
            chunk = chunk.get(taken..).unwrap_or_default();
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Hands the batch to the pipelines, waiting as long as they say so.
    async fn hand_over(&mut self) -> Result<(), Refusal> {
        self.count();
        let Some(request) = self.batch.finish() else {
            return Ok(());
        };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.send(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(refusal) if refusal.reason == "shutting_down" => {
                    self.settings.lost.dropped("shutdown", request.items() as u64);
                    return Err(refusal);
                }
                Err(refusal) if refusal.retryable => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(refusal) => {
                    tracing::warn!(
                        reason = refusal.reason,
                        message = refusal.message,
                        "events refused for good"
                    );
                    return Ok(());
                }
            }
        }
    }

    async fn send(&self, request: Request) -> Result<(), Refusal> {
        let mut permit: Permit = self.settings.inlet.permit();
        permit.grow(request.bytes().len())?;
        self.settings.inlet.send(request, permit).await
    }

    fn count(&mut self) {
        let now = self.lines.counters();
        let settings = &self.settings;
        settings
            .parse_failures
            .increment(now.parse_failures - self.counted.parse_failures);
        settings
            .timestamp_failures
            .increment(now.timestamp_failures - self.counted.timestamp_failures);
        settings
            .cut_lines
            .increment(now.cut_lines - self.counted.cut_lines);
        settings
            .invalid_utf8
            .increment(now.invalid_utf8 - self.counted.invalid_utf8);
        self.counted = now;
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
