//! Which version of the protocol a destination speaks.
//!
//! ```text
//! auto:  not known --2.0 answered with Written headers--> 2.0
//!                  --415, a 2xx without those headers, or 1.0 taken where 2.0 was refused--> 1.0
//! ```
//! A destination that knows only 1.0 and does not look at the content type reads a 2.0 request as an empty one and says yes. So
//! a yes without the headers counts for nothing, as the specification has it.

use std::sync::atomic::{AtomicU8, Ordering};

use super::config::ProtocolVersion;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    pub(super) fn number(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

const UNKNOWN: u8 = 0;
const V1: u8 = 1;
const V2: u8 = 2;

/// What is known so far.
#[derive(Debug)]
pub(super) struct Negotiated {
    automatic: bool,
    known: AtomicU8,
}

impl Negotiated {
    pub(super) fn new(configured: ProtocolVersion) -> Self {
        let known = match configured {
            ProtocolVersion::Auto => UNKNOWN,
            ProtocolVersion::V1 => V1,
            ProtocolVersion::V2 => V2,
        };
        Self { automatic: configured == ProtocolVersion::Auto, known: AtomicU8::new(known) }
    }

    /// The version to send.
    pub(super) fn version(&self) -> Version {
        if self.known.load(Ordering::Relaxed) == V1 { Version::V1 } else { Version::V2 }
    }

    /// Whether 1.0 may be tried where 2.0 is refused: 2.0 was never taken.
    pub(super) fn is_open(&self) -> bool {
        self.automatic && self.known.load(Ordering::Relaxed) != V2
    }

    /// Whether a destination that is seen not to speak 2.0 gets 1.0.
    pub(super) fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// Remembers what a destination speaks.
    pub(super) fn found(&self, version: Version) {
        if self.automatic {
            self.known.store(if version == Version::V1 { V1 } else { V2 }, Ordering::Relaxed);
        }
    }
}
