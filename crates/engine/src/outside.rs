//! What comes from outside the program: chance, and the time of day. A simulation puts its own in their place, and a disk, so that
//! a run can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// Any number. Without a source of chance the greatest: the longest wait, where it decides on one.
pub(crate) fn chance() -> u64 {
    #[cfg(test)]
    if let Some(number) = simulated::chance() {
        return number;
    }
    getrandom::u64().unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, as the system's clock says.
pub(crate) fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(now) = simulated::now_ms() {
        return now;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;
    use std::sync::Weak;
    use std::time::Duration;

    use buffer::simulated::{Disk, Rng};
    use buffer::{Driver, Options};
    use tokio::task::AbortHandle;
    use tokio::time::{Instant, sleep};

    use crate::queue::spool::Spool;

    /// What stands in the place of the outside, on one thread.
    pub(crate) struct Outside {
        pub(crate) chance: Rng,
        pub(crate) started: Instant,
        /// For the disk buffer that is opened next.
        pub(crate) disk: Disk,
        pub(crate) options: Options,
        /// Drives it.
        pub(crate) driver: Option<AbortHandle>,
        /// What stands on it.
        pub(crate) spool: Weak<Spool>,
        /// How long the disk takes at most. Milliseconds.
        pub(crate) slow_ms: u64,
    }

    thread_local! {
        static OUTSIDE: RefCell<Option<Outside>> = const { RefCell::new(None) };
    }

    /// Works on the outside, if it is simulated on this thread.
    pub(crate) fn with<T>(work: impl FnOnce(&mut Outside) -> T) -> Option<T> {
        OUTSIDE.with_borrow_mut(|outside| outside.as_mut().map(work))
    }

    /// From now on, on this thread; `None` gives the real one back.
    #[cfg(not(floodway_loom))]
    pub(crate) fn set(outside: Option<Outside>) {
        OUTSIDE.set(outside);
    }

    pub(super) fn chance() -> Option<u64> {
        with(|outside| outside.chance.next())
    }

    pub(super) fn now_ms() -> Option<u64> {
        with(|outside| 1_000_000 + outside.started.elapsed().as_millis() as u64)
    }

    /// Instead of the buffer's thread.
    pub(crate) fn drive(mut driver: Driver<Disk>) {
        let task = tokio::spawn(async move {
            loop {
                let pause = with(|outside| 1 + outside.chance.below(outside.slow_ms)).unwrap_or(1);
                sleep(Duration::from_millis(pause)).await;
                if !driver.turn() {
                    break;
                }
            }
        });
        with(|outside| outside.driver = Some(task.abort_handle()));
    }
}
