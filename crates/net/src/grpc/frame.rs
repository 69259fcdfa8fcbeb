//! Puts one length-prefixed message together from the pieces that it arrives in. Sans-io.
//!
//! ```text
//! Prefix (0..5 bytes) --length known: limit checked, memory admitted--> Message (0..length) --> Done
//! ```
//! Invariants: nothing is allocated for a message before its length was admitted; never more than its length is
//! buffered; a message that lies in one piece is sliced, not copied, unless it is tiny.

use crate::body::{Admission, Full};
use bytes::{Buf, Bytes, BytesMut};

/// Length of the prefix of a message, bytes.
pub(crate) const PREFIX_LEN: usize = 5;

/// Why the bytes are no single gRPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]

pub(crate) enum FrameError {
    /// The first byte is neither 0 nor 1.
    #[error("bad gRPC frame: compression flag is {0}, expected 0 or 1")]
    Flag(u8),
    /// The message is over the limit.
    #[error(
        "message of {len} bytes over the limit of {limit} bytes: send smaller batches or raise the limit"
    )]
    TooLarge {
        /// Length in the prefix, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// Bytes follow the message.
    #[error("more than one message in a unary call")]
    MoreThanOne,
    /// The body held no byte.
    #[error("no message in a unary call")]
    None,
    /// The body ended within the prefix or the message.
    #[error("bad gRPC frame: the body ended {missing} bytes short")]
    Truncated {
        /// How much is missing, bytes.
        missing: usize,
    },
    /// The budget has no room for the message.
    #[error(transparent)]
    Full(#[from] Full),
}

/// A message as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Encoded as `grpc-encoding` says.
    pub(crate) compressed: bool,
    /// Without the prefix.
    pub(crate) data: Bytes,
}

/// The prefix of a message.
pub(crate) fn prefix(compressed: bool, len: u32) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

/// Takes the pieces of one message.
#[derive(Debug)]
pub(crate) struct Assembler {
    limit: usize,
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    need: usize,
    whole: Option<Bytes>,
    buffer: BytesMut,
}

impl Assembler {
    /// For a message of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX_LEN], prefix_len: 0, need: 0, whole: None, buffer: BytesMut::new() }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`FrameError`]; the assembler is of no use after it.
    pub(crate) fn push(&mut self, mut piece: Bytes, admit: &mut impl Admission) -> Result<(), FrameError> {
        if self.prefix_len < PREFIX_LEN {
            let n = piece.len().min(PREFIX_LEN - self.prefix_len);
            self.prefix[self.prefix_len..self.prefix_len + n].copy_from_slice(&piece[..n]);
            self.prefix_len += n;
            piece.advance(n);
            if self.prefix_len < PREFIX_LEN {
                return Ok(());
            }
            self.begin(admit)?;
        }
        if piece.is_empty() {
            return Ok(());
        }
        if piece.len() > self.need - self.len() {
            return Err(FrameError::MoreThanOne);
        }
        if piece.len() == self.need {
            self.whole = Some(crate::body::own_if_small(piece));
            return Ok(());
        }
        if self.buffer.is_empty() {
            self.buffer.reserve(self.need);
        }
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }

    /// The prefix is complete: checks it and asks for the memory.
    fn begin(&mut self, admit: &mut impl Admission) -> Result<(), FrameError> {
        let [flag, a, b, c, d] = self.prefix;
        if flag > 1 {
            return Err(FrameError::Flag(flag));
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.limit {
            return Err(FrameError::TooLarge { len, limit: self.limit });
        }
        admit.grow(len)?;
        self.need = len;
        Ok(())
    }

    /// Bytes of the message so far.
    fn len(&self) -> usize {
        self.whole.as_ref().map_or(self.buffer.len(), Bytes::len)
    }

    /// The body ended: the message, if it is complete.
    ///
    /// # Errors
    /// [`FrameError::None`] or [`FrameError::Truncated`].
    pub(crate) fn finish(self) -> Result<Message, FrameError> {
        if self.prefix_len == 0 {
            return Err(FrameError::None);
        }
        if self.prefix_len < PREFIX_LEN {
            return Err(FrameError::Truncated { missing: PREFIX_LEN - self.prefix_len });
        }
        let missing = self.need - self.len();
        if missing > 0 {
            return Err(FrameError::Truncated { missing });
        }
        let data = self.whole.unwrap_or_else(|| self.buffer.freeze());
        Ok(Message { compressed: self.prefix[0] == 1, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Unlimited;
    use proptest::prelude::*;

    fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
        let mut wire = prefix(compressed, message.len() as u32).to_vec();
        wire.extend_from_slice(message);
        wire
    }

    fn assemble(wire: &[u8], cuts: &[usize], limit: usize) -> Result<Message, FrameError> {
        let mut assembler = Assembler::new(limit);
        let mut rest = wire;
        for cut in cuts {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            assembler.push(Bytes::copy_from_slice(piece), &mut Unlimited)?;
            rest = tail;
        }
        assembler.push(Bytes::copy_from_slice(rest), &mut Unlimited)?;
        assembler.finish()
    }

    #[test]
    fn one_piece_is_not_copied() {
        let wire = Bytes::from(framed(false, &[7; 20_000]));
        let mut assembler = Assembler::new(20_000);
        assembler.push(wire.clone(), &mut Unlimited).unwrap();
        let message = assembler.finish().unwrap();
        assert_eq!(message.data.as_ptr(), wire[PREFIX_LEN..].as_ptr());
    }

    #[test]
    fn refusals() {
        assert_eq!(assemble(&[], &[], 10), Err(FrameError::None));
        assert_eq!(assemble(&[0, 0, 0], &[], 10), Err(FrameError::Truncated { missing: 2 }));
        assert_eq!(assemble(&[2, 0, 0, 0, 0], &[], 10), Err(FrameError::Flag(2)));
        let over = FrameError::TooLarge { len: 1 << 31, limit: 10 };
        assert_eq!(assemble(&[0, 0x80, 0, 0, 0], &[], 10), Err(over));
        let empty_and_more = [0, 0, 0, 0, 0, 0];
        assert_eq!(assemble(&empty_and_more, &[], 10), Err(FrameError::MoreThanOne));
        assert_eq!(assemble(&framed(false, b""), &[], 10).unwrap().data, Bytes::new());
    }

    struct Nothing;
    impl Admission for Nothing {
        fn grow(&mut self, _bytes: usize) -> Result<(), Full> {
            Err(Full::default())
        }
    }

    #[test]
    fn the_budget_is_asked_at_the_prefix() {
        let mut assembler = Assembler::new(1 << 20);
        let prefix = Bytes::from_static(&[0, 0, 1, 0, 0]);
        assert!(matches!(assembler.push(prefix, &mut Nothing), Err(FrameError::Full(_))));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_message(
            message in prop::collection::vec(any::<u8>(), 0..6000),
            cuts in prop::collection::vec(0_usize..3000, 0..8),
            compressed in any::<bool>(),
            tail in 0_usize..3,
        ) {
            let mut wire = framed(compressed, &message);
            let got = assemble(&wire, &cuts, 6000);
            prop_assert_eq!(got, Ok(Message { compressed, data: message.clone().into() }));
            wire.extend(std::iter::repeat_n(0, tail));
            prop_assert_eq!(assemble(&wire, &cuts, 6000).is_ok(), tail == 0);
            wire.truncate(wire.len() - tail - 1);
            prop_assert!(assemble(&wire, &cuts, 6000).is_err());
        }
    }
}
