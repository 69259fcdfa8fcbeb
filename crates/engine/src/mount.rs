//! What the workers of a queue send with, and how it is replaced while they work.
//!
//! ```text
//! worker: Mount::current -> Fitting { exporter, settings, ... } -> one attempt, or one wait -> Mount::current ...
//! reload: Mount::replace -> waits end at once; attempts with the old exporter have HANDOVER to end -> the old one shuts down
//! ```
//!
//! Invariants:
//! - An attempt is made with one exporter and its own settings, whole.
//! - The old exporter shuts down after its last attempt, and never while one is under way.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

use crate::breaker::Breaker;
use crate::component::Exporter;
use crate::dead_letters::DeadLetters;
use crate::delivery::DeliverySettings;
use crate::metrics::ComponentMetrics;
use crate::panics::guard_future;
use crate::shutdown::{Shutdown, ShutdownTrigger};

/// What an attempt that is being made gets when its exporter is replaced.
const HANDOVER: Duration = Duration::from_secs(5);

/// What an exporter gets to flush and close.
pub(crate) const EXPORTER_SHUTDOWN: Duration = Duration::from_secs(5);

/// An exporter and its settings, before anybody uses them.
pub(crate) struct Parts {
    pub(crate) exporter: Arc<dyn Exporter>,
    pub(crate) letters: Option<Arc<DeadLetters>>,
    pub(crate) settings: DeliverySettings,
}

/// The same as workers use them until they are replaced. Another destination has a circuit breaker of its own.
pub(crate) struct Fitting {
    pub(crate) exporter: Arc<dyn Exporter>,
    pub(crate) letters: Option<Arc<DeadLetters>>,
    pub(crate) settings: DeliverySettings,
    pub(crate) breaker: Arc<Breaker>,
    replaced: ShutdownTrigger,
    /// Heard when the last worker has let go of it: a trigger that is dropped counts as a request.
    unused: ShutdownTrigger,
}

/// Where the workers of one queue find what they send with.
pub(crate) struct Mount {
    current: ArcSwap<Fitting>,
}

impl Fitting {
    /// `metrics` show the breaker as closed from now on.
    pub(crate) fn new(parts: Parts, metrics: &ComponentMetrics) -> Self {
        let Parts { exporter, letters, settings } = parts;
        let breaker = Arc::new(Breaker::new(&settings.retry, metrics));
        let ((replaced, _), (unused, _)) = (Shutdown::new(), Shutdown::new());
        Self { exporter, letters, settings, breaker, replaced, unused }
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.signal().is_requested()
    }

    /// Resolves when something else has taken its place.
    pub(crate) async fn replaced(&self) {
        self.replaced.signal().requested().await;
    }

    /// Resolves when an attempt that was begun with it must end.
    pub(crate) async fn cut_off(&self) {
        self.replaced().await;
        sleep(HANDOVER).await;
    }
}

impl Mount {
    pub(crate) fn new(fitting: Fitting) -> Self {
        Self { current: ArcSwap::from_pointee(fitting) }
    }

    /// What to send with now.
    pub(crate) fn current(&self) -> Arc<Fitting> {
        self.current.load_full()
    }

    /// Puts another in its place. The future shuts the old exporter down when its last attempt is over.
    pub(crate) fn replace(&self, fitting: Fitting) -> impl Future<Output = ()> + Send + 'static {
        let old = self.current.swap(Arc::new(fitting));
        old.replaced.request();
        let (exporter, unused) = (Arc::clone(&old.exporter), old.unused.signal());
        async move {
            unused.requested().await;
            let _ = timeout(EXPORTER_SHUTDOWN, guard_future(|| exporter.shutdown())).await;
        }
    }
}
