//! The signal that ends things.
//!
//! The engine stops in this order (see [`crate::running::Running::stop`]): receivers are asked to stop and finish what they
//! have; the queues drain; at the deadline what is left is dropped, counted and nacked; exporters shut down.
//!
//! Invariant: a trigger that is dropped counts as a request, so that nothing runs on with nobody left to stop it.

use std::sync::Arc;

use crate::sync::Notify;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Tells when to stop. Clones hear the same trigger.
#[derive(Clone, Debug)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

/// The other end of [`Shutdown`]. Dropping it requests the shutdown too.
#[derive(Debug)]
pub struct ShutdownTrigger {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    changed: Notify,
}

impl Shutdown {
    /// A signal and its trigger.
    pub fn new() -> (ShutdownTrigger, Self) {
        let shared = Arc::new(Shared::default());
        (ShutdownTrigger { shared: Arc::clone(&shared) }, Self { shared })
    }

    /// True from the moment that the shutdown was requested.
    pub fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::Acquire)
    }

    /// Resolves when the shutdown is requested; at once when it was.
    pub async fn requested(&self) {
        // Made before the look: `notify_waiters` wakes every `Notified` that exists, polled or not.
        let changed = self.shared.changed.notified();
        if !self.is_requested() {
            changed.await;
        }
    }
}

impl ShutdownTrigger {
    /// Requests the shutdown. A second request changes nothing.
    pub fn request(&self) {
        self.shared.requested.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// A signal that hears this trigger.
    pub fn signal(&self) -> Shutdown {
        Shutdown { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for ShutdownTrigger {
    fn drop(&mut self) {
        self.request();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_the_request() {
        let (trigger, shutdown) = Shutdown::new();
        assert!(!shutdown.is_requested());
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let shutdown = shutdown.clone();
                tokio::spawn(async move { shutdown.requested().await })
            })
            .collect();
        tokio::task::yield_now().await;
        trigger.request();
        for waiter in waiters {
            waiter.await.unwrap();
        }
        trigger.signal().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_is_a_request() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.requested().await;
    }
}
