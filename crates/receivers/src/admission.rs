//! Where the engine meets the sockets: its memory budget as `net` asks for it, and its counters as connections come and go.

use std::sync::Arc;
use std::time::Duration;

use engine::{BuildError, ComponentMetrics, Permit};
use metrics::Gauge;
use net::body::Limits;
use net::{Admission, Bound, Full, Listen};

/// When a sender that met a full budget should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A permit of the engine's budget, as bodies are read under it.
pub(crate) struct Budgeted(pub(crate) Permit);

impl Admission for Budgeted {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        self.0.grow(bytes).map_err(|full| match full.retryable() {
            true => Full::Now { retry_after: RETRY_AFTER },
            false => Full::ForGood,
        })
    }

    fn shrink(&mut self, bytes: usize) {
        self.0.shrink(bytes);
    }
}

/// Counts the connections of a receiver.
pub(crate) struct Connections {
    open: Gauge,
    metrics: ComponentMetrics,
}

impl Connections {
    pub(crate) fn new(metrics: &ComponentMetrics, transport: &'static str) -> Arc<Self> {
        let open = metrics.gauge("floodway_open_connections", &[("transport", transport)]);
        Arc::new(Self { open, metrics: metrics.clone() })
    }
}

impl net::server::Hooks for Connections {
    fn opened(&self) {
        self.open.increment(1.0);
    }

    fn closed(&self) {
        self.open.decrement(1.0);
    }

    fn refused(&self, reason: net::server::Refusal) {
        let labels = [("reason", reason.as_str())];
        self.metrics.counter("floodway_refused_connections_total", &labels).increment(1);
    }
}

/// What a body may take, from settings in bytes (on the wire and inflated alike) and milliseconds.
pub(crate) fn limits(max_request_bytes: usize, idle_timeout_ms: u64, request_timeout_ms: u64) -> Limits {
    Limits {
        max_wire_bytes: max_request_bytes,
        max_inflated_bytes: max_request_bytes,
        idle_timeout: Duration::from_millis(idle_timeout_ms),
        total_timeout: Duration::from_millis(request_timeout_ms),
    }
}

/// Refuses a limit of 0, which would let nothing through.
pub(crate) fn positive(name: &str, value: u64) -> Result<(), BuildError> {
    if value > 0 {
        return Ok(());
    }
    Err(BuildError::new(format!("{name} is 0, so nothing would be received; leave it out for the default")))
}

/// Binds, with the error as the engine reports it.
pub(crate) async fn bind(listen: Listen) -> Result<Bound, BuildError> {
    listen.bind().await.map_err(|error| BuildError::new(error.to_string()))
}

/// Refuses an address that cannot be one, before anything is bound.
pub(crate) fn checked(listen: &Listen) -> Result<(), BuildError> {
    listen.check().map_err(|error| BuildError::new(error.to_string()))
}
