//! What kinds of identity exist here, and plain counters for each.
//!
//! A [`Class`] says what a finding is. Its tag goes into the HMAC (so equal bytes of different kinds get different
//! pseudonyms) and its label is the first word of the replacement.
//!
//! Invariant: [`Class::index`] runs from 0 to `Class::ALL.len() - 1` in the order of [`Class::ALL`].
//!
//! Not here: metrics. The counters are numbers that the caller adds up and publishes.

/// Kind of identity. Several spellings may belong to one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A libp2p peer id, in any text form.
    PeerId,
    /// The value of `/ip4/` or `/ip6/` in a multiaddr.
    MultiaddrIp,
    /// The value of `/dns/`, `/dns4/`, `/dns6/`, `/dnsaddr/` or `/sni/` in a multiaddr.
    MultiaddrDns,
    /// The value of `/onion/` or `/onion3/` in a multiaddr.
    MultiaddrOnion,
    /// The value of `/garlic32/` or `/garlic64/` in a multiaddr.
    MultiaddrGarlic,
    /// The path of `/unix/` in a multiaddr.
    MultiaddrUnix,
}

impl Class {
    /// Every class, in the order of [`Class::index`].
    pub const ALL: [Class; 6] = [
        Class::PeerId,
        Class::MultiaddrIp,
        Class::MultiaddrDns,
        Class::MultiaddrOnion,
        Class::MultiaddrGarlic,
        Class::MultiaddrUnix,
    ];

    /// Position of this class in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name for metrics labels and messages: lowercase, stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Class::PeerId => "peer_id",
            Class::MultiaddrIp => "multiaddr_ip",
            Class::MultiaddrDns => "multiaddr_dns",
            Class::MultiaddrOnion => "multiaddr_onion",
            Class::MultiaddrGarlic => "multiaddr_garlic",
            Class::MultiaddrUnix => "multiaddr_unix",
        }
    }

    /// Tag that goes into the HMAC. Two classes may share a tag where equal bytes mean the same identity.
    /// Changing a tag changes every pseudonym of the class.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Class::PeerId => "libp2p",
            Class::MultiaddrIp => "ip",
            Class::MultiaddrDns => "dns",
            Class::MultiaddrOnion => "onion",
            Class::MultiaddrGarlic => "garlic",
            Class::MultiaddrUnix => "unix",
        }
    }

    /// First word of the replacement: `peer` or `addr`. Always four letters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Class::PeerId => "peer",
            _ => "addr",
        }
    }
}

/// Counters of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Places that looked like an id to the scan and were examined.
    pub candidates: u64,
    /// Findings that decode to a whole id.
    pub confirmed: u64,
    /// Findings that are only a part of an id (cut off or garbled), redacted all the same.
    pub partial: u64,
    /// Candidates that turned out to be something else and stay as they are.
    pub rejected: u64,
}

/// Counters of every class. Add them up over texts with [`Counts::add`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([ClassCounts; Class::ALL.len()]);

impl Counts {
    /// The counters of `class`.
    #[must_use]
    pub fn get(&self, class: Class) -> &ClassCounts {
        &self.0[class.index()]
    }

    /// Each class with its counters.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &ClassCounts)> {
        Class::ALL.into_iter().zip(&self.0)
    }

    /// Adds `other` to this one.
    pub fn add(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.candidates += theirs.candidates;
            mine.confirmed += theirs.confirmed;
            mine.partial += theirs.partial;
            mine.rejected += theirs.rejected;
        }
    }

    /// Number of findings, whole and partial, over all classes.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.0.iter().map(|class| class.confirmed + class.partial).sum()
    }

    pub(crate) fn of(&mut self, class: Class) -> &mut ClassCounts {
        &mut self.0[class.index()]
    }
}
