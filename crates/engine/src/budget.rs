//! The memory budget: one limit in bytes for everything that requests hold in this process.
//!
//! A receiver takes a [`Permit`] and grows it *before* it reads or inflates bytes; the permit then travels with the request
//! and gives its bytes back when the last branch of the graph is done with it. Over the limit the receiver refuses with a
//! hint, so overload is the sender's to absorb and never an OOM.
//!
//! Invariant: the sum of all permits is at most the limit, save for what processors add to a request that was already let in
//! (see `Permit::resize`). One atomic counter, no lock. What allocators and sockets use besides is not counted.

use std::sync::Arc;

use metrics::Gauge;

use crate::metrics::names;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The limit of the process. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    gauge: Gauge,
}

/// The budget has no room for the bytes asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory budget full: {wanted} bytes wanted, {used} of {limit} in use; send again later, smaller, or raise the budget"
)]
pub struct BudgetFull {
    /// Bytes that the permit would have held in all.
    pub wanted: usize,
    /// Bytes in use by all permits.
    pub used: usize,
    /// The budget.
    pub limit: usize,
}

impl BudgetFull {
    /// False when the request alone is larger than the whole budget, so that sending it again cannot help.
    pub fn retryable(&self) -> bool {
        self.wanted <= self.limit
    }
}

impl Budget {
    /// A budget of `limit` bytes. Sets the gauges `floodway_budget_limit_bytes` and `floodway_budget_bytes`.
    pub fn new(limit: usize) -> Self {
        metrics::gauge!(names::BUDGET_LIMIT_BYTES).set(limit as f64);
        let gauge = metrics::gauge!(names::BUDGET_BYTES);
        gauge.set(0.0);
        Self { shared: Arc::new(Shared { limit, used: AtomicUsize::new(0), gauge }) }
    }

    /// An empty permit; it costs nothing until it grows.
    pub fn permit(&self) -> Permit {
        Permit { budget: self.clone(), bytes: 0 }
    }

    /// Bytes that permits hold now.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    fn take(&self, bytes: usize) -> Result<(), usize> {
        let limit = self.shared.limit;
        self.shared
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= limit)
            })
            .map(|_| self.shared.gauge.increment(bytes as f64))
    }

    fn take_anyway(&self, bytes: usize) {
        self.shared.used.fetch_add(bytes, Ordering::AcqRel);
        self.shared.gauge.increment(bytes as f64);
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.shared.used.fetch_sub(bytes, Ordering::AcqRel);
            self.shared.gauge.decrement(bytes as f64);
        }
    }
}

/// Bytes taken from the budget. Dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    bytes: usize,
}

impl Permit {
    /// Takes `bytes` more. On an error the permit keeps what it had.
    ///
    /// # Errors
    /// [`BudgetFull`] when the process would go over its budget.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BudgetFull> {
        self.budget.take(bytes).map_err(|used| BudgetFull {
            wanted: self.bytes.saturating_add(bytes),
            used,
            limit: self.budget.limit(),
        })?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back `bytes`, or all it has when that is less.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }

    /// Bytes that this permit holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it hold exactly `bytes`, over the limit if need be: the bytes exist already, since a processor wrote them, and a
    /// limit that looks away from them would be less true than one overstepped by what a pseudonym is longer than a peer id.
    pub(crate) fn resize(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.take_anyway(bytes - self.bytes);
        } else {
            self.budget.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// A permit as it travels on one branch of the graph: alone, or shared with the other branches.
#[derive(Debug)]
pub(crate) enum PermitShare {
    /// The only branch; saves the allocation of an `Arc` in the commonest graph.
    Sole { _permit: Permit },
    /// The last of these gives the bytes back.
    Shared { _permit: Arc<Permit> },
}

impl PermitShare {
    pub(crate) fn sole(permit: Permit) -> Self {
        Self::Sole { _permit: permit }
    }

    pub(crate) fn shared(permit: &Arc<Permit>) -> Self {
        Self::Shared { _permit: Arc::clone(permit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_grows_to_the_limit_and_not_beyond() {
        let budget = Budget::new(100);
        let mut one = budget.permit();
        let mut two = budget.permit();
        one.grow(60).unwrap();
        let full = two.grow(41).unwrap_err();
        assert_eq!(full, BudgetFull { wanted: 41, used: 60, limit: 100 });
        assert!(full.retryable());
        assert_eq!(two.bytes(), 0);
        two.grow(40).unwrap();
        drop(one);
        assert_eq!(budget.used(), 40);
        two.shrink(1000);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_request_larger_than_the_budget_is_not_worth_another_try() {
        let mut permit = Budget::new(100).permit();
        permit.grow(90).unwrap();
        assert!(!permit.grow(11).unwrap_err().retryable());
        assert!(!permit.grow(usize::MAX).unwrap_err().retryable());
        assert_eq!(permit.bytes(), 90);
    }

    #[test]
    fn many_threads_never_pass_the_limit_and_end_at_zero() {
        let budget = Budget::new(1000);
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let budget = budget.clone();
                scope.spawn(move || {
                    for round in 0..2000_usize {
                        let mut permit = budget.permit();
                        let _ = permit.grow((thread * 37 + round * 13) % 400);
                        assert!(budget.used() <= 1000);
                        permit.shrink(round % 50);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_shared_permit_is_given_back_by_the_last_branch() {
        let budget = Budget::new(100);
        let mut permit = budget.permit();
        permit.grow(10).unwrap();
        permit.resize(120);
        let shared = Arc::new(permit);
        let (one, two) = (PermitShare::shared(&shared), PermitShare::shared(&shared));
        drop((shared, one));
        assert_eq!(budget.used(), 120);
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
