//! Fewer and larger reads from clients that send small frames.
//!
//! h2 reads into a buffer of about one frame. A client that is bound to frames of 16 KiB (every Go program)
//! then costs a system call a frame. When small reads keep coming back full, this reads up to [`AHEAD`] at once and serves
//! h2 from memory; a copy within the cache is cheaper than a system call. Reads into large buffers, as for
//! clients that send large frames, go straight to the socket.
//!
//! Invariants: bytes arrive in order; at most [`AHEAD`] are held; a connection that never fills a read
//! allocates nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes read ahead.
const AHEAD: usize = 64 * 1024;
/// A buffer of at least this many bytes is read into directly.
const LARGE: usize = 32 * 1024;
/// Full small reads in a row after which the client is taken for one that sends small frames. Around each large
/// frame there are two or three.
const STREAK: u8 = 5;

#[derive(Debug)]
pub(super) struct ReadAhead<T> {
    io: T,
    /// Empty, or of [`AHEAD`] bytes, of which `start..end` wait.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Full small reads in a row; stays at [`STREAK`] until a large read is asked for.
    streak: u8,
}

impl<T: AsyncRead + Unpin> ReadAhead<T> {
    pub(super) const fn new(io: T) -> Self {
        Self { io, buffer: Vec::new(), start: 0, end: 0, streak: 0 }
    }

    fn serve(&mut self, out: &mut ReadBuf<'_>) {
        let n = out.remaining().min(self.end - self.start);
        out.put_slice(&self.buffer[self.start..self.start + n]);
        self.start += n;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start < this.end {
            this.serve(out);
            return Poll::Ready(Ok(()));
        }
        let large = out.remaining() >= LARGE;
        if large || this.streak < STREAK {
            let result = ready!(Pin::new(&mut this.io).poll_read(cx, out));
            let full = out.remaining() == 0;
            this.streak = if full && !large { this.streak + 1 } else { 0 };
            return Poll::Ready(result);
        }
        if this.buffer.is_empty() {
            this.buffer.resize(AHEAD, 0);
        }
        let mut ahead = ReadBuf::new(&mut this.buffer);
        ready!(Pin::new(&mut this.io).poll_read(cx, &mut ahead))?;
        (this.start, this.end) = (0, ahead.filled().len());
        this.serve(out);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn order_is_kept(
            len in 0_usize..500_000,
            reads in prop::collection::vec(1_usize..50_000, 1..10),
            pipe in 1_usize..200_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let sent: Vec<u8> = (0..len).map(|i| (i / 251) as u8).collect();
            let received = runtime.block_on(async {
                let (near, mut far) = tokio::io::duplex(pipe);
                let data = sent.clone();
                tokio::spawn(async move { far.write_all(&data).await });
                let mut io = ReadAhead::new(near);
                let mut all = Vec::new();
                let mut space = vec![0; 50_000];
                for size in reads.iter().cycle() {
                    match io.read(&mut space[..*size]).await.unwrap() {
                        0 => break,
                        n => all.extend_from_slice(&space[..n]),
                    }
                }
                all
            });
            prop_assert!(sent == received, "{} and {} bytes", sent.len(), received.len());
        }
    }
}
