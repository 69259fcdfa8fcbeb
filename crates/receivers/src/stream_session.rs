//! One connection of a protocol without answers: read, decode, hand over, and wait where the pipelines say so. What the bytes
//! mean is a [`Decode`]'s matter.
//!
//! TCP has no answers, so a connection is read only as fast as its records are taken: while queues or the memory budget are full
//! it is left unread, and the sender's kernel makes the sender wait.
//!
//! Invariant: an unfinished message and a batch that waits are held with a permit of the memory budget, or the connection is
//! not read. What one read and the records of it take, before they are counted, is bounded by [`READ_BYTES`] and the limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codec::logs::{BatchLimits, LogsBuilder};
use engine::{ComponentMetrics, Inlet, Permit, ReceiverContext, Refusal};
use model::Request;
use net::Stream;
use net::server::Shutdown;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a server waits for its sessions at shutdown; longer than their own patience, [`LAST_TRIES`].
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at once: the records of one read make one batch, so a flood makes large ones.
const READ_BYTES: usize = 64 << 10;
/// The first pause when the budget is full; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long, at shutdown, a batch in hand is offered again; less than the time after which the connection is cut.
const LAST_TRIES: Duration = Duration::from_secs(8);
/// At shutdown, how long what is on its way is still read, and the silence that ends this sooner.
const LAST_READS: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(50);
/// The reason of refusals while the program ends, as the engine gives it.
const STOPPING: &str = "shutting_down";

/// The state of a protocol on one connection.
pub(crate) trait Decode: Send + 'static {
    /// Adds the records of `chunk` to `batch` until it is full; returns how many bytes were taken.
    fn push(&mut self, chunk: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize;
    /// Adds what the connection sent last, if it ended within a message.
    fn finish(&mut self, now_unix_nano: u64, batch: &mut LogsBuilder);
    /// Bytes of a message whose end has not come yet.
    fn held_bytes(&self) -> usize;
    /// Whether a message has begun whose end has not come yet.
    fn is_inside(&self) -> bool;
    /// Messages that ended.
    fn ended(&self) -> u64;
    /// Counts what was wrong since the last call.
    fn count_problems(&mut self);
}

/// What all connections of a receiver share.
#[derive(Clone)]
pub(crate) struct Settings {
    inlet: Inlet,
    metrics: ComponentMetrics,
    scope: &'static str,
    /// How long a message may stay unfinished.
    message_timeout: Duration,
    /// How long a connection may be silent between two messages; for ever if `None`.
    idle_timeout: Option<Duration>,
}

impl Settings {
    pub(crate) fn new(context: &ReceiverContext, scope: &'static str, message_timeout: Duration) -> Self {
        let (inlet, metrics) = (context.inlet.clone(), context.metrics.clone());
        Self { inlet, metrics, scope, message_timeout, idle_timeout: None }
    }

    pub(crate) fn idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self { idle_timeout, ..self }
    }
}

/// One connection.
pub(crate) struct Session<D> {
    settings: Settings,
    shutdown: Shutdown,
    decoder: D,
    batch: LogsBuilder,
    /// Room for the unfinished message, or for a batch that waits.
    held: Permit,
    /// When the unfinished message must have ended, or the next begun.
    deadline: Option<Instant>,
    /// Whether `deadline` is that of a message.
    inside: bool,
    /// Whether the sender has sent anything.
    begun: bool,
    /// Since when we know that we are to stop.
    stopping: Option<Instant>,
}

/// The connection is to be closed: there is nobody left to take its records.
struct Stopped;

impl<D: Decode> Session<D> {
    pub(crate) fn new(settings: Settings, decoder: D, shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            decoder,
            batch: LogsBuilder::new(settings.scope, BatchLimits::default()),
            held: settings.inlet.permit(),
            deadline: settings.idle_timeout.map(|timeout| Instant::now() + timeout),
            inside: false,
            begun: false,
            stopping: None,
            settings,
        }
    }

    pub(crate) async fn run(mut self, mut stream: Stream) {
        let mut buffer = vec![0; READ_BYTES];
        while let Some(n) = self.read(&mut stream, &mut buffer).await {
            self.begun = true;
            if self.take(&buffer[..n]).await.is_err() {
                return;
            }
        }
        self.decoder.finish(unix_nanos(), &mut self.batch);
        // What is refused for good is counted; there is nobody left to tell.
        let _ = self.hand_over().await;
    }

    /// Bytes read, or `None` when the sender is done, is gone, has stalled, or we were told to stop and what it had sent until
    /// then is read.
    async fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> Option<usize> {
        if self.stopping.is_none() {
            let deadline = self.deadline;
            let read = async {
                match deadline {
                    Some(deadline) => timeout_at(deadline, stream.read(buffer)).await.ok(),
                    None => Some(stream.read(buffer).await),
                }
            };
            let (shutdown, begun) = (&mut self.shutdown, self.begun);
            // Who has only just connected is about to send.
            let told = async { if begun { shutdown.requested().await } else { shutdown.last_call().await } };
            tokio::select! {
                read = read => return read?.ok().filter(|n| *n > 0),
                () = told => {}
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

    /// Decodes a chunk and hands over its records.
    async fn take(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        let ended = self.decoder.ended();
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = self.decoder.push(rest, unix_nanos(), &mut self.batch);
            rest = rest.get(taken..).unwrap_or_default();
            self.hand_over().await?;
        }
        self.set_deadline(self.decoder.ended() != ended);
        self.hold_unfinished().await;
        Ok(())
    }

    fn set_deadline(&mut self, another: bool) {
        let was_inside = std::mem::replace(&mut self.inside, self.decoder.is_inside());
        if !self.inside {
            self.deadline = self.settings.idle_timeout.map(|timeout| Instant::now() + timeout);
        } else if !was_inside || another {
            self.deadline = Some(Instant::now() + self.settings.message_timeout);
        }
    }

    /// Takes room for the unfinished message, and waits for it where the budget is full. The message's own time ends that:
    /// without it connections that all hold a part of a message would wait for each other.
    async fn hold_unfinished(&mut self) {
        let wanted = self.decoder.held_bytes();
        self.held.shrink(self.held.bytes().saturating_sub(wanted));
        let mut pause = FIRST_PAUSE;
        while self.held.grow(wanted - self.held.bytes()).is_err() {
            let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || !self.pause(&mut pause).await {
                return;
            }
        }
    }

    /// Hands the batch to the pipelines, waiting as long as they say so.
    async fn hand_over(&mut self) -> Result<(), Stopped> {
        self.decoder.count_problems();
        let Some(request) = self.batch.finish() else {
            return Ok(());
        };
        // Given back first: connections that hold some room and want more would wait for each other.
        self.held.shrink(self.held.bytes());
        let items = request.items() as u64;
        let taken = match self.room_for(&request).await {
            Ok(permit) => self.push(request, permit).await,
            Err(refusal) => {
                self.settings.metrics.refused(refusal.reason, items);
                Err(refusal)
            }
        };
        match taken {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.reason == STOPPING => Err(Stopped),
            Err(Refusal { reason, message, .. }) => {
                tracing::warn!(reason, "records refused for good: {message}");
                Ok(())
            }
        }
    }

    /// Room in the memory budget, for which there is no queue to wait in. The batch is kept meanwhile: it is read already.
    async fn room_for(&mut self, request: &Request) -> Result<Permit, Refusal> {
        let mut permit = self.settings.inlet.permit();
        let mut pause = FIRST_PAUSE;
        while let Err(full) = permit.grow(request.bytes().len()) {
            if !full.retryable() {
                return Err(full.into());
            }
            if !self.pause(&mut pause).await {
                return Err(stopping());
            }
        }
        Ok(permit)
    }

    /// Waits until the queues have room and, as `ack` says, the destinations have answered; at shutdown for a while only.
    async fn push(&mut self, request: Request, permit: Permit) -> Result<(), Refusal> {
        let (items, inlet) = (request.items() as u64, self.settings.inlet.clone());
        let mut push = std::pin::pin!(inlet.push(request, permit));
        loop {
            let end = self.stopping.map(|since| since + LAST_TRIES);
            tokio::select! {
                outcome = &mut push => return outcome,
                () = self.shutdown.requested(), if end.is_none() => self.stopping = Some(Instant::now()),
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                    self.settings.metrics.refused(STOPPING, items);
                    return Err(stopping());
                }
            }
        }
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
}

fn stopping() -> Refusal {
    Refusal {
        retryable: true,
        retry_after: None,
        reason: STOPPING,
        message: "Floodway is stopping".to_owned(),
    }
}

/// The time by the system's clock.
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
