//! Several buffers sent as one body, without joining them.
//!
//! The pieces go to the socket by one vectored write. A gRPC prefix rides in front of the first piece, so that
//! it needs neither a frame nor a write of its own.

use crate::grpc::PREFIX_LEN;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A prefix of up to five bytes and then the pieces, in order.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    prefix: [u8; PREFIX_LEN],
    prefix_at: usize,
    pieces: Vec<Bytes>,
    /// The first piece that is not used up. Invariant: it is not empty, or there is none.
    at: usize,
    /// Bytes left in the pieces.
    left: usize,
}

impl Chunks {
    /// The pieces alone.
    #[must_use]
    pub fn new(pieces: Vec<Bytes>) -> Self {
        Self::build([0; PREFIX_LEN], PREFIX_LEN, pieces)
    }

    /// A gRPC message.
    #[must_use]
    pub(crate) fn prefixed(prefix: [u8; PREFIX_LEN], pieces: Vec<Bytes>) -> Self {
        Self::build(prefix, 0, pieces)
    }

    fn build(prefix: [u8; PREFIX_LEN], prefix_at: usize, pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(Bytes::len).sum();
        let mut chunks = Self { prefix, prefix_at, pieces, at: 0, left };
        chunks.skip_empty();
        chunks
    }

    fn skip_empty(&mut self) {
        while self.pieces.get(self.at).is_some_and(Bytes::is_empty) {
            // Let go of the buffer as soon as it is sent.
            self.pieces[self.at] = Bytes::new();
            self.at += 1;
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(data: Bytes) -> Self {
        Self::new(vec![data])
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        PREFIX_LEN - self.prefix_at + self.left
    }

    fn chunk(&self) -> &[u8] {
        if self.prefix_at < PREFIX_LEN {
            return &self.prefix[self.prefix_at..];
        }
        self.pieces.get(self.at).map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let prefix = &self.prefix[self.prefix_at..];
        let pieces = self.pieces[self.at..].iter().map(|piece| &piece[..]);
        let mut n = 0;
        for (slice, part) in
            slices.iter_mut().zip(std::iter::once(prefix).chain(pieces).filter(|part| !part.is_empty()))
        {
            *slice = IoSlice::new(part);
            n += 1;
        }
        n
    }

    fn advance(&mut self, count: usize) {
        let in_prefix = count.min(PREFIX_LEN - self.prefix_at);
        self.prefix_at += in_prefix;
        let mut count = count - in_prefix;
        // `Buf` asks for a panic past the end; slicing below gives one.
        self.left -= count;
        while count > 0 {
            let n = count.min(self.pieces[self.at].len());
            self.pieces[self.at].advance(n);
            count -= n;
            self.skip_empty();
        }
    }
}

/// [`Chunks`] as an HTTP body of one frame.
#[derive(Debug, Default)]
pub(crate) struct ChunksBody(Option<Chunks>);

impl ChunksBody {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self(chunks.has_remaining().then_some(chunks))
    }
}

impl Body for ChunksBody {
    type Data = Chunks;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunks>, Infallible>>> {
        Poll::Ready(self.0.take().map(|chunks| Ok(Frame::data(chunks))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |chunks| chunks.remaining() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_as_the_concatenation(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            with_prefix in any::<bool>(),
            steps in prop::collection::vec(1_usize..30, 0..20),
        ) {
            let prefix = [9, 8, 7, 6, 5];
            let mut expected = if with_prefix { prefix.to_vec() } else { Vec::new() };
            expected.extend(pieces.concat());
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            let mut chunks = if with_prefix { Chunks::prefixed(prefix, pieces) } else { Chunks::new(pieces) };
            let mut rest = &expected[..];
            for step in steps {
                let mut slices = [IoSlice::new(&[]); 16];
                let n = chunks.chunks_vectored(&mut slices);
                let joined: Vec<u8> = slices[..n].iter().flat_map(|s| s.to_vec()).collect();
                prop_assert_eq!(&joined[..], rest);
                prop_assert_eq!(chunks.remaining(), rest.len());
                prop_assert_eq!(chunks.chunk().is_empty(), rest.is_empty());
                prop_assert!(rest.starts_with(chunks.chunk()));
                let step = step.min(rest.len());
                chunks.advance(step);
                rest = &rest[step..];
            }
            prop_assert_eq!(&chunks.copy_to_bytes(rest.len())[..], rest);
        }
    }
}
