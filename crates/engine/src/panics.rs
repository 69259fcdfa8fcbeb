//! Keeps a component's panic from taking more than the request that caused it.
//!
//! A panic is a bug; but one request that triggers it must not end a worker that many others wait for. What it said is
//! written by the panic hook; here it is only turned into a value.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use crate::component::BoxFuture;

/// The component panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs `work`. Components are immutable snapshots, so a half-done call leaves nothing broken behind.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// Makes a future and runs it to its end.
pub(crate) async fn guard_future<'a, T>(make: impl FnOnce() -> BoxFuture<'a, T>) -> Result<T, Panicked> {
    let mut future = guard(make)?;
    poll_fn(|context| match guard(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}
