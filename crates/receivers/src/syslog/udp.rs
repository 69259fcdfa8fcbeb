//! Datagrams: taken in batches, decoded, and put in the queues without waiting for anything.
//!
//! ```text
//! readable -> batches until there is nothing or the records make a full request -> enter, or drop and count -> readable
//! ```
//! Nobody can be asked to wait, so a slow task here would only move the loss into the kernel. Every loss is counted: in the
//! kernel (`kernel`), and here by the reason for which there was no room (`queue_full`, `budget_full`, ...).
//!
//! Invariant: what is not in a queue is bounded by the socket's buffers and one request.

use std::io::ErrorKind;
use std::time::Duration;

use codec::logs::{BatchLimits, LogsBuilder};
use codec::syslog::{Counters, SCOPE, SyslogDecoder, Zone};
use engine::{ComponentMetrics, Inlet, ReceiverContext, Refusal, Shutdown};
use metrics::Counter;
use model::Request;
use net::udp::UdpReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::messages::Problems;
use crate::stream_session::unix_nanos;

const DROPPED: &str = "floodway_udp_dropped_datagrams_total";
/// How often the kernel is asked what it dropped.
const KERNEL_INTERVAL: Duration = Duration::from_secs(5);
/// At shutdown, how long what has arrived is still read, and the silence that ends this sooner.
const LAST_READS: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(50);
/// After an error of the socket, which would come again at once.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The datagrams of one socket.
pub(super) struct Datagrams {
    inlet: Inlet,
    metrics: ComponentMetrics,
    problems: Problems,
    /// Datagrams that the kernel dropped.
    kernel_drops: Counter,
    socket: UdpReceiver,
    decoder: SyslogDecoder,
    counted: Counters,
    batch: LogsBuilder,
}

impl Datagrams {
    pub(super) fn new(
        context: &ReceiverContext,
        socket: UdpReceiver,
        max_message_bytes: usize,
        zone: Zone,
    ) -> Self {
        let dropped = |reason| context.metrics.counter(DROPPED, &[("reason", reason)]);
        // They show from the start.
        ["queue_full", "budget_full"].into_iter().for_each(|reason| dropped(reason).increment(0));
        Self {
            inlet: context.inlet.clone(),
            metrics: context.metrics.clone(),
            problems: Problems::new(&context.metrics),
            kernel_drops: dropped("kernel"),
            socket,
            decoder: SyslogDecoder::new(max_message_bytes, zone),
            counted: Counters::default(),
            batch: LogsBuilder::new(SCOPE, BatchLimits::default()),
        }
    }

    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = interval(KERNEL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.take().await,
                    Err(_) => break,
                },
                _ = ticks.tick() => self.count_kernel_drops(),
                () = shutdown.requested() => break,
            }
        }
        let end = Instant::now() + LAST_READS;
        // Asked for once more: that something has arrived is known only after a look.
        while Instant::now() < end && matches!(timeout(QUIET, self.socket.readable()).await, Ok(Ok(()))) {
            self.take().await;
        }
        self.count_kernel_drops();
    }

    /// Takes what there is, up to one full request, and hands it over.
    async fn take(&mut self) {
        let now = unix_nanos();
        let mut more = true;
        while more && !self.batch.is_full() {
            let (decoder, batch) = (&mut self.decoder, &mut self.batch);
            match self.socket.try_recv(|datagram| decoder.datagram(datagram, now, batch)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => more = false,
                Err(error) => {
                    tracing::warn!(component = self.metrics.id(), %error, "cannot receive datagrams");
                    sleep(ERROR_PAUSE).await;
                    more = false;
                }
            }
        }
        self.problems.count(self.decoder.counters(), self.counted);
        self.counted = self.decoder.counters();
        if let Some(request) = self.batch.finish() {
            let datagrams = request.items() as u64;
            if let Err(refusal) = self.enter(request) {
                let (reason, message) = (refusal.reason, refusal.message);
                self.metrics.counter(DROPPED, &[("reason", reason)]).increment(datagrams);
                tracing::debug!(
                    component = self.metrics.id(),
                    reason,
                    datagrams,
                    "datagrams dropped: {message}"
                );
            }
        }
    }

    /// The answer, where `ack` is `delivered`, is not waited for: there is nobody to pass it on to.
    fn enter(&self, request: Request) -> Result<(), Refusal> {
        let mut permit = self.inlet.permit();
        if let Err(full) = permit.grow(request.bytes().len()) {
            let refusal = Refusal::from(full);
            self.metrics.refused(refusal.reason, request.items() as u64);
            return Err(refusal);
        }
        self.inlet.enter(request, permit).map(drop)
    }

    fn count_kernel_drops(&self) {
        if let Some(drops) = self.socket.new_kernel_drops() {
            self.kernel_drops.increment(drops);
        }
    }
}
