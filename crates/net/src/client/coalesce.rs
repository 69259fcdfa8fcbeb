//! Gathers the small writes of an HTTP/2 connection into few large ones.
//!
//! h2 hands every DATA frame to the socket by a write of its own, and flushes after each. Servers that take
//! frames of 16 KiB only (every Go server, and tonic's default) then cost 28 system calls, 28 segments and as
//! many wake-ups for a request of 450 KB. Here frames up to [`DIRECT`] are copied into a buffer, which the
//! connection's task writes out when h2 has no more to say; larger ones go out by one vectored write together
//! with what waits, and are not copied.
//!
//! Invariants: bytes leave in the order in which they were written; the buffer never passes [`BUFFER`]; after
//! `poll_shutdown` is ready nothing is held back. `poll_flush` deliberately does nothing: whoever drives the
//! connection must call [`Flusher::poll`] after every poll of it.

use crate::stream::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait.
const BUFFER: usize = 128 * 1024;
/// A write of at least this many bytes is not copied.
const DIRECT: usize = 32 * 1024;
/// Pieces of one vectored write.
const MAX_SLICES: usize = 16;

/// A stream whose writes are gathered.
#[derive(Debug)]
pub(crate) struct Coalesce<T = Stream>(Arc<Mutex<State<T>>>);

/// Writes out what a [`Coalesce`] gathered.
#[derive(Debug)]
pub(crate) struct Flusher<T = Stream>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    io: T,
    buffer: Vec<u8>,
    /// How much of the buffer has been written.
    written: usize,
}

/// Splits `io` into the stream for h2 and the flusher for its task.
pub(crate) fn coalesce<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> (Coalesce<T>, Flusher<T>) {
    let state = Arc::new(Mutex::new(State { io, buffer: Vec::with_capacity(BUFFER), written: 0 }));
    (Coalesce(Arc::clone(&state)), Flusher(state))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Flusher<T> {
    /// Writes out what waits. Errors are left for the connection to meet at its next write or read.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        match ready!(state.drain(cx)) {
            Ok(()) => {
                if let Poll::Ready(Err(error)) = Pin::new(&mut state.io).poll_flush(cx) {
                    tracing::trace!(%error, "flush");
                }
            }
            Err(error) => tracing::trace!(%error, "flush"),
        }
        Poll::Ready(())
    }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // One task holds both halves: the lock is never waited for.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: AsyncRead + AsyncWrite + Unpin> State<T> {
    fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    fn advance(&mut self, n: usize) {
        self.written += n;
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|b| b.len()).sum();
        if total >= DIRECT {
            return self.write_through(cx, bufs);
        }
        if self.buffer.len() + total > BUFFER {
            ready!(self.drain(cx))?;
        }
        for buf in bufs {
            self.buffer.extend_from_slice(buf);
        }
        Poll::Ready(Ok(total))
    }

    /// What waits and what is new, in one system call.
    fn write_through(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let waiting = self.waiting();
            let all = std::iter::once(&self.buffer[self.written..]).chain(bufs.iter().map(|b| &b[..]));
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(all.filter(|part| !part.is_empty())) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..used]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n.min(waiting));
            if n > waiting {
                return Poll::Ready(Ok(n - waiting));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesce<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesce<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        ready!(state.drain(cx))?;
        Pin::new(&mut state.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn order_is_kept(
            writes in prop::collection::vec((0_usize..60_000, 1_usize..4, any::<bool>()), 1..20),
            pipe in 1_usize..100_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (sent, received) = runtime.block_on(async {
                let (near, mut far) = tokio::io::duplex(pipe);
                let (mut io, flusher) = coalesce(near);
                let reader = tokio::spawn(async move {
                    let mut all = Vec::new();
                    far.read_to_end(&mut all).await.unwrap();
                    all
                });
                let mut sent = Vec::new();
                for (i, (len, parts, flush)) in writes.into_iter().enumerate() {
                    let data: Vec<u8> = (0..len).map(|j| (i * 7 + j) as u8).collect();
                    sent.extend_from_slice(&data);
                    let mut rest = &data[..];
                    while !rest.is_empty() {
                        let step = rest.len().div_ceil(parts);
                        let slices: Vec<_> = rest.chunks(step).map(IoSlice::new).collect();
                        let n = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &slices)).await.unwrap();
                        assert!(n > 0);
                        rest = &rest[n..];
                    }
                    if flush {
                        poll_fn(|cx| flusher.poll(cx)).await;
                    }
                }
                poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
                (sent, reader.await.unwrap())
            });
            prop_assert!(sent == received, "{} and {} bytes", sent.len(), received.len());
        }
    }
}
