//! Entry points for fuzz targets and for tests that replay their corpora. Each takes any bytes and panics only
//! when an invariant is broken.

use crate::body::Unlimited;
use crate::encoding::{Encoding, inflate};
use crate::grpc::Status;
use crate::grpc::frame::Assembler;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

/// The assembler of gRPC messages: the first byte says how the rest is cut. Cutting must not matter.
pub fn grpc_frame(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let Some((cut, wire)) = data.split_first() else {
        return;
    };
    let step = usize::from(*cut).max(1);
    let assemble = |step: usize| {
        let mut assembler = Assembler::new(LIMIT);
        for piece in wire.chunks(step) {
            assembler.push(Bytes::copy_from_slice(piece), &mut Unlimited)?;
        }
        assembler.finish()
    };
    let whole = assemble(wire.len().max(1));
    assert_eq!(assemble(step), whole, "the message depends on how it was cut");
    if let Ok(message) = whole {
        assert_eq!(&wire[5..], &message.data[..], "the message is not what was sent");
    }
}

/// The readers of `grpc-timeout`, `grpc-message` and `grpc-status-details-bin`.
pub fn grpc_headers(data: &[u8]) {
    let _ = crate::grpc::timeout(data);
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        headers.insert(name, value.clone());
    }
    let Some(status) = Status::read(&headers) else {
        return;
    };
    // What was read is written and read again without change.
    let mut again = HeaderMap::new();
    status.write(&mut again);
    assert_eq!(Status::read(&again), Some(status), "a status changes when it is passed on");
}

/// The decompressors, whose output must stay under the limit.
pub fn inflated(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let data = Bytes::copy_from_slice(data);
    for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Snappy] {
        if let Ok(out) = inflate(encoding, &data, LIMIT, &mut Unlimited) {
            assert!(out.len() <= LIMIT, "{encoding:?} passed the limit");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn a_long_message_that_is_no_utf_8_is_cut_once() {
        super::grpc_headers(&[0xff; 2000]);
    }

    proptest! {
        #[test]
        fn the_targets_hold_on_noise(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::grpc_frame(&data);
            super::grpc_headers(&data);
            super::inflated(&data);
        }
    }
}
