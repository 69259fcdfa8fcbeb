//! Which version of the protocol a destination speaks.
//!
//! ```text
//! auto:  not known --2.0 answered with Written headers--> 2.0
//!                  --415, a 2xx without those headers, or 1.0 taken where 2.0 was refused--> 1.0
//! ```
//! A destination that knows only 1.0 and does not look at the content type reads a 2.0 request as an empty one and says yes. So
//! a yes without the headers counts for nothing, as the specification has it.
//!
//! That it speaks 1.0 is believed for an hour: a proxy's bad day or an older server that was upgraded must not cost the better
//! protocol for good. The next request is 2.0 again, and is sent as 1.0 if that is not taken.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// How long a destination is believed to speak 1.0 alone.
const BELIEVED: Duration = Duration::from_secs(3600);

/// What is known so far.
#[derive(Debug)]
pub(super) struct Negotiated {
    automatic: bool,
    known: AtomicU8,
    made: Instant,
    /// When 1.0 was found, in ms since `made`.
    found_v1: AtomicU64,
}

impl Negotiated {
    pub(super) fn new(configured: ProtocolVersion) -> Self {
        let known = match configured {
            ProtocolVersion::Auto => UNKNOWN,
            ProtocolVersion::V1 => V1,
            ProtocolVersion::V2 => V2,
        };
        Self {
            automatic: configured == ProtocolVersion::Auto,
            known: AtomicU8::new(known),
            made: Instant::now(),
            found_v1: AtomicU64::new(0),
        }
    }

    /// The version to send.
    pub(super) fn version(&self) -> Version {
        self.version_at(Instant::now())
    }

    fn version_at(&self, now: Instant) -> Version {
        if self.known.load(Ordering::Relaxed) != V1 {
            return Version::V2;
        }
        let found = Duration::from_millis(self.found_v1.load(Ordering::Relaxed));
        if self.automatic && now.saturating_duration_since(self.made) >= found + BELIEVED {
            self.known.store(UNKNOWN, Ordering::Relaxed);
            return Version::V2;
        }
        Version::V1
    }

    /// Whether 1.0 may be tried where 2.0 is refused: 2.0 was never taken.
    pub(super) fn is_open(&self) -> bool {
        self.automatic && self.known.load(Ordering::Relaxed) != V2
    }

    /// Whether a destination that is seen not to speak 2.0 gets 1.0.
    pub(super) fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// It took a request of this version. That of 1.0 says nothing where 2.0 was taken: it may have been under way before.
    pub(super) fn taken(&self, version: Version) {
        let known = self.known.load(Ordering::Relaxed);
        match version {
            Version::V2 if self.automatic && known != V2 => self.known.store(V2, Ordering::Relaxed),
            Version::V1 if known == UNKNOWN => self.lacks_v2(),
            _ => {}
        }
    }

    /// It does not speak 2.0.
    pub(super) fn lacks_v2(&self) {
        self.lacks_v2_at(Instant::now());
    }

    fn lacks_v2_at(&self, now: Instant) {
        if self.automatic && self.known.load(Ordering::Relaxed) != V1 {
            let since = now.saturating_duration_since(self.made).as_millis();
            self.found_v1.store(u64::try_from(since).unwrap_or(u64::MAX / 2), Ordering::Relaxed);
            self.known.store(V1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_destination_speaks_1_is_asked_again_after_an_hour() {
        let auto = Negotiated::new(ProtocolVersion::Auto);
        let start = Instant::now();
        assert_eq!(auto.version_at(start), Version::V2);
        auto.lacks_v2_at(start);
        let half = start + BELIEVED / 2;
        // It goes on taking 1.0, which says nothing new.
        auto.taken(Version::V1);
        auto.lacks_v2_at(half);
        assert!(auto.version_at(half) == Version::V1 && auto.is_open());
        let hour = start + BELIEVED;
        assert!(auto.version_at(hour) == Version::V2 && auto.is_open());
        auto.lacks_v2_at(hour);
        assert_eq!(auto.version_at(hour + BELIEVED - Duration::from_secs(1)), Version::V1);
        assert_eq!(auto.version_at(hour + BELIEVED), Version::V2);
        auto.taken(Version::V2);
        // Under way since before.
        auto.taken(Version::V1);
        assert!(auto.version_at(hour + BELIEVED) == Version::V2 && !auto.is_open());
        auto.lacks_v2_at(hour + BELIEVED);
        assert_eq!(auto.version_at(hour + BELIEVED), Version::V1);
        let fixed = Negotiated::new(ProtocolVersion::V1);
        assert_eq!(fixed.version_at(start + 9 * BELIEVED), Version::V1);
    }
}
