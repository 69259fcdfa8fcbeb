//! What stands for tokio's `Notify` and crossbeam's `ArrayQueue` under loom, which cannot look into either.
//!
//! Both promise at most what the real one does, so that a model which passes here does not pass by a stronger stand-in:
//! - `notified()` only notes how many `notify_waiters` there were; nothing is ordered by it.
//! - `ArrayQueue` may look empty to a thread that is not ordered after the push.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Notify {
    /// How many `notify_waiters` there were.
    calls: AtomicUsize,
    waiting: Mutex<Waiting>,
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
        Self { calls: AtomicUsize::new(0), waiting: Mutex::new(Waiting::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, calls: self.calls.load(Ordering::SeqCst), id: None }
    }

    pub(crate) fn notify_waiters(&self) {
        let mut waiting = self.lock();
        self.calls.fetch_add(1, Ordering::SeqCst);
        waiting.wakers.drain(..).for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn notify_one(&self) {
        choose(&mut self.lock());
    }
}

fn choose(waiting: &mut Waiting) {
    if waiting.wakers.is_empty() {
        waiting.permit = true;
        return;
    }
    let (id, waker) = waiting.wakers.remove(0);
    waiting.chosen.push(id);
    waker.wake();
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        let mut waiting = notify.lock();
        if let Some(id) = self.id.take() {
            waiting.wakers.retain(|(other, _)| *other != id);
            if waiting.chosen.contains(&id) {
                waiting.chosen.retain(|other| *other != id);
                return Poll::Ready(());
            }
        }
        if notify.calls.load(Ordering::SeqCst) != self.calls || std::mem::take(&mut waiting.permit) {
            return Poll::Ready(());
        }
        let id = waiting.next_id;
        waiting.next_id += 1;
        waiting.wakers.push((id, context.waker().clone()));
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    /// A wake-up that was meant for this one goes to another.
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut waiting = self.notify.lock();
        waiting.wakers.retain(|(other, _)| *other != id);
        if waiting.chosen.contains(&id) {
            waiting.chosen.retain(|other| *other != id);
            choose(&mut waiting);
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
