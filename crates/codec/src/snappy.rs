//! Snappy blocks, as Loki and Prometheus put around their protobuf messages: no frames, no checksum.
//!
//! ```text
//! block = varint(length of the content)  *( literal | copy )
//! ```
//!
//! Specification: <https://github.com/google/snappy/blob/main/format_description.txt>. The length is the sender's claim: it is
//! held against a limit, and against what the bytes that follow could make at most, before anything is allocated.

use snap::raw::{Decoder, Encoder, decompress_len};

/// A copy element of three bytes makes at most 64, so no block grows more than this.
const MAX_RATIO: usize = 22;

/// Why a block was not inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The content would pass the limit.
    #[error(
        "the snappy block holds more than the limit of {limit} bytes: send smaller batches or raise the limit"
    )]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// Not a snappy block.
    #[error("not a snappy block; is the body compressed in snappy's block format, without frames?")]
    Corrupt,
}

/// The length of what is in `block`, if it is at most `limit` and possible at all.
pub fn inflated_len(block: &[u8], limit: usize) -> Result<usize, SnappyError> {
    let claimed = match decompress_len(block) {
        // It takes no bytes at all for an empty block; an empty block has a length, 0.
        Ok(_) if block.is_empty() => return Err(SnappyError::Corrupt),
        Ok(claimed) => claimed,
        // The only way for a length to be wrong in itself, apart from being cut.
        Err(snap::Error::TooBig { .. }) => return Err(SnappyError::TooLarge { limit }),
        Err(_) => return Err(SnappyError::Corrupt),
    };
    if claimed > limit {
        return Err(SnappyError::TooLarge { limit });
    }
    if claimed > block.len().saturating_mul(MAX_RATIO) {
        return Err(SnappyError::Corrupt);
    }
    Ok(claimed)
}

/// What is in `block`, if it is at most `limit` bytes.
pub fn inflate(block: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let mut content = vec![0; inflated_len(block, limit)?];
    let written = Decoder::new().decompress(block, &mut content).map_err(|_| SnappyError::Corrupt)?;
    content.truncate(written);
    Ok(content)
}

/// `content` as a block. `None` for more than 4 GiB, which the format has no length for.
pub fn deflate(content: &[u8]) -> Option<Vec<u8>> {
    Encoder::new().compress_vec(content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_claim_is_refused_before_it_is_believed() {
        // 4 GiB - 1 in a header of five bytes.
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(inflated_len(&huge, 1 << 20), Err(SnappyError::TooLarge { limit: 1 << 20 }));
        assert_eq!(inflated_len(&huge, usize::MAX), Err(SnappyError::Corrupt));
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(inflated_len(&over, 1 << 20).is_err());
        assert_eq!(inflated_len(&[], 10), Err(SnappyError::Corrupt));
        assert_eq!(inflate(&[], 10), Err(SnappyError::Corrupt));
    }

    #[test]
    fn the_limit_is_on_what_comes_out() {
        let block = deflate(&[7; 100_000]).unwrap();
        assert!(block.len() < 10_000);
        assert_eq!(inflate(&block, 99_999), Err(SnappyError::TooLarge { limit: 99_999 }));
        assert_eq!(inflate(&block, 100_000), Ok(vec![7; 100_000]));
        assert_eq!(inflate(&block[..block.len() - 1], 100_000), Err(SnappyError::Corrupt));
    }

    proptest! {
        #[test]
        fn the_densest_blocks_stay_below_the_ratio(byte: u8, length in 0..300_000usize) {
            let content = vec![byte; length];
            prop_assert_eq!(inflate(&deflate(&content).unwrap(), length).unwrap(), content);
        }

        #[test]
        fn any_bytes_are_inflated_or_refused(bytes: Vec<u8>) {
            if let Ok(content) = inflate(&bytes, 1000) {
                prop_assert!(content.len() <= 1000);
            }
        }
    }
}
