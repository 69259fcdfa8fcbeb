//! What stands for tokio's `Notify` and crossbeam's `ArrayQueue` under loom, which cannot look into either.
//!
//! Both promise at most what the real one does, so that a model which passes here does not pass by a stronger stand-in:
//! - A `notify_one` is ordered before whoever it wakes, and before nobody else.
//! - `ArrayQueue` may look empty to a thread that is not ordered after the push.
//!
//! The lock of a `Notify` is the standard library's, which orders nothing in loom's eyes. Loom switches threads at its own
//! operations alone: none of them, and no `Waker`, may be touched under that lock.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Notify {
    /// How many `notify_waiters` there were.
    calls: AtomicUsize,
    /// How many `notify_one` there were.
    ones: AtomicUsize,
    waiting: std::sync::Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Left by a `notify_one` when nobody waited.
    permit: bool,
    next_id: u64,
    wakers: Vec<(u64, Waker)>,
    /// Those of them that a `notify_one` chose.
    chosen: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    calls: usize,
    id: Option<u64>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, calls: self.calls.load(Ordering::SeqCst), id: None }
    }

    pub(crate) fn notify_waiters(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let woken = std::mem::take(&mut self.lock().wakers);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn notify_one(&self) {
        self.ones.fetch_add(1, Ordering::Release);
        let chosen = self.lock().choose();
        if let Some(waker) = chosen {
            waker.wake();
        }
    }
}

impl Waiting {
    /// The next to be woken; else a permit is left.
    fn choose(&mut self) -> Option<Waker> {
        if self.wakers.is_empty() {
            self.permit = true;
            return None;
        }
        let (id, waker) = self.wakers.remove(0);
        self.chosen.push(id);
        Some(waker)
    }

    /// Takes a waiter out: its waker, and whether a `notify_one` chose it.
    fn forget(&mut self, id: u64) -> (Option<Waker>, bool) {
        let waker = self.wakers.iter().position(|(other, _)| *other == id);
        let chosen = self.chosen.iter().position(|other| *other == id);
        (waker.map(|at| self.wakers.remove(at).1), chosen.map(|at| self.chosen.remove(at)).is_some())
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (notify, waker) = (self.notify, context.waker().clone());
        // Reads what was written last, as tokio does under its lock.
        let calls = notify.calls.fetch_add(0, Ordering::SeqCst);
        let mut waiting = notify.lock();
        let (_old, chosen) = self.id.take().map_or((None, false), |id| waiting.forget(id));
        if calls == self.calls && !chosen && !std::mem::take(&mut waiting.permit) {
            let id = waiting.next_id;
            waiting.next_id += 1;
            waiting.wakers.push((id, waker));
            drop(waiting);
            self.id = Some(id);
            return Poll::Pending;
        }
        drop(waiting);
        notify.ones.fetch_add(0, Ordering::Acquire);
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    /// A wake-up that was meant for this one goes to another.
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut waiting = self.notify.lock();
        let (_old, chosen) = waiting.forget(id);
        let next = if chosen { waiting.choose() } else { None };
        drop(waiting);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    capacity: usize,
    /// Read without the lock, so that a pop may miss a push that it is not ordered after.
    len: AtomicUsize,
    items: Mutex<VecDeque<T>>,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, len: AtomicUsize::new(0), items: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        self.len.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.pop_front()?;
        self.len.fetch_sub(1, Ordering::Release);
        Some(item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }
}
