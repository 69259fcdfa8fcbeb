//! Snappy blocks, as Loki and Prometheus want them around protobuf messages: no frames, no checksum.
//!
//! Specification: <https://github.com/google/snappy/blob/main/format_description.txt>. Blocks that come in are inflated where bodies
//! are read, under the memory budget: `net`'s `Encoding::Snappy`.

/// Compresses messages, one after the other with the same memory.
pub struct Snappy {
    encoder: snap::raw::Encoder,
}

impl Default for Snappy {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new() }
    }
}

impl Snappy {
    /// The message as a block.
    ///
    /// # Errors
    /// When it is longer than 4 GiB.
    pub fn compress(&mut self, message: &[u8]) -> Result<Vec<u8>, TooLarge> {
        self.encoder.compress_vec(message).map_err(|_| TooLarge)
    }
}

impl std::fmt::Debug for Snappy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snappy")
    }
}

/// A message is longer than a snappy block may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is longer than 4 GiB, which a snappy block cannot hold; send less at once")]
pub struct TooLarge;
