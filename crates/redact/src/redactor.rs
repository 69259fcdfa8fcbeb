//! One object that finds identities in a text and says what to put there.
//!
//! It is immutable and shared by all threads; scratch space lives on the stack. It never changes the text itself: the
//! caller gets ranges and replacements, and writes them as edits, in place, or not at all (a shadow mode).
//!
//! Invariant: applying the replacements and redacting again changes nothing more; `fuzzing` names the contrived
//! exceptions. [`Action::Drop`] is another: where nothing is left between two texts, they may spell something new.
//!
//! Not here: which fields to visit, modes, metrics.

use std::borrow::Cow;
use std::ops::Range;

use crate::class::{Class, Counts};
use crate::detect::{Canonical, Detectors, Finding, QmBare, Rules, whole_binary};
use crate::key::Keyring;
use crate::pseudonym::{Action, MAX_REPLACEMENT, PSEUDONYM_BYTES, Pseudonymizer};

/// How to redact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What to do with peer ids.
    pub peers: Action,
    /// What to do with the addresses in multiaddrs.
    pub addresses: Action,
    /// What to do with a bare `Qm…`.
    pub qm_bare: QmBare,
}

impl Options {
    /// The same action for every class.
    #[must_use]
    pub fn all(action: Action) -> Self {
        Self { peers: action, addresses: action, qm_bare: QmBare::default() }
    }

    fn action(&self, class: Class) -> Action {
        match class {
            Class::PeerId => self.peers,
            _ => self.addresses,
        }
    }
}

/// Why a redactor cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A keyed action without a key. Nothing is let through instead.
    #[error(
        "the action {0:?} needs a key and none is given: name a key file, or choose `mask` or `drop`, which need none"
    )]
    NoKey(Action),
    /// A number of buckets that makes no sense.
    #[error("the number of buckets must be from 1 to 1000000, not {0}")]
    Buckets(u32),
}

/// What to put in the place of an identity.
#[derive(Debug, PartialEq, Eq)]
pub struct Replacement<'a> {
    /// Where, within the text.
    pub range: Range<usize>,
    /// What stands there.
    pub class: Class,
    /// Only a part of an id stands there.
    pub partial: bool,
    /// What to write. Lives only as long as the call.
    pub bytes: &'a [u8],
}

/// Finds identities and replaces them.
#[derive(Debug)]
pub struct Redactor {
    detectors: Detectors,
    /// One for each key, the active one first; empty when no action needs one.
    pseudonymizers: Vec<Pseudonymizer>,
    options: Options,
}

impl Redactor {
    /// A redactor with these options. Keys may be left out where no action needs one.
    ///
    /// # Errors
    /// [`OptionsError::NoKey`], [`OptionsError::Buckets`].
    pub fn new(options: Options, keys: Option<&Keyring>) -> Result<Self, OptionsError> {
        for action in [options.peers, options.addresses] {
            match action {
                Action::Bucket(count) if !action.is_valid() => return Err(OptionsError::Buckets(count)),
                _ if action.needs_key() && keys.is_none() => return Err(OptionsError::NoKey(action)),
                _ => {}
            }
        }
        let pseudonymizers =
            keys.map(|keys| keys.iter().map(Pseudonymizer::new).collect()).unwrap_or_default();
        Ok(Self { detectors: Detectors::new(), pseudonymizers, options })
    }

    /// Appends the sorted positions in `bytes` at which an id may stand: any bytes, such as the wire form of a whole
    /// request. None: there is nothing to redact in it.
    ///
    /// # Panics
    /// If `bytes` is 4 GiB long or longer.
    pub fn anchors(&self, bytes: &[u8], out: &mut Vec<u32>) {
        self.detectors.scanner().anchors(bytes, out);
    }

    /// The same for those that start within `range`; see [`crate::Scanner::anchors_within`].
    ///
    /// # Panics
    /// If `bytes` is 4 GiB long or longer.
    pub fn anchors_within(&self, bytes: &[u8], range: Range<usize>, out: &mut Vec<u32>) {
        self.detectors.scanner().anchors_within(bytes, range, out);
    }

    /// Hands the replacements for `text` to `out`, in order, not overlapping. `text` may be any bytes.
    pub fn redact_text(&self, text: &[u8], counts: &mut Counts, out: &mut impl FnMut(Replacement<'_>)) {
        self.detectors.find(text, self.rules(), counts, &mut |finding| self.replace(&finding, out));
    }

    /// As [`Redactor::redact_text`], for a text that is part of a scanned buffer: `base` is the position of the text
    /// in that buffer, `anchors` the positions that [`Redactor::anchors`] gave for the buffer, all of them or those
    /// that lie within the text. Nothing is searched again.
    pub fn redact_text_at(
        &self,
        text: &[u8],
        base: u32,
        anchors: &[u32],
        counts: &mut Counts,
        out: &mut impl FnMut(Replacement<'_>),
    ) {
        let first = anchors.partition_point(|&at| at < base);
        let within = anchors[first..].iter().map(|&at| (at - base) as usize);
        self.detectors
            .find_at(text, self.rules(), within, counts, &mut |finding| self.replace(&finding, out));
    }

    /// As [`Redactor::redact_text`], for a value of bytes, in which an id may also stand in its binary form: then the
    /// whole value is replaced.
    pub fn redact_binary(&self, value: &[u8], counts: &mut Counts, out: &mut impl FnMut(Replacement<'_>)) {
        let Some(canonical) = whole_binary(value).or_else(|| binary_inside(value)) else {
            return self.redact_text(value, counts, out);
        };
        let class = Class::PeerId;
        counts.of(class).candidates += 1;
        counts.of(class).confirmed += 1;
        self.write(0..value.len(), class, false, &canonical, out);
    }

    /// Whether no id can be confirmed anywhere in `bytes`, text or binary, and wherever it starts and ends. For bytes
    /// of unknown structure, such as an unknown protobuf field.
    #[must_use]
    pub fn is_clean_raw(&self, bytes: &[u8]) -> bool {
        if whole_binary(bytes).is_some() || binary_inside(bytes).is_some() {
            return false;
        }
        let mut clean = true;
        let rules = Rules { qm_bare: QmBare::Redact, raw: true };
        self.detectors.find(bytes, rules, &mut Counts::default(), &mut |_| clean = false);
        clean
    }

    /// The line with everything replaced; borrowed where there is nothing to replace.
    #[must_use]
    pub fn redact_line<'t>(&self, line: &'t [u8], counts: &mut Counts) -> Cow<'t, [u8]> {
        let mut redacted: Option<Vec<u8>> = None;
        let mut copied = 0;
        self.redact_text(line, counts, &mut |replacement| {
            let redacted = redacted.get_or_insert_with(|| Vec::with_capacity(line.len()));
            redacted.extend_from_slice(&line[copied..replacement.range.start]);
            redacted.extend_from_slice(replacement.bytes);
            copied = replacement.range.end;
        });
        match redacted {
            Some(mut redacted) => {
                redacted.extend_from_slice(&line[copied..]);
                Cow::Owned(redacted)
            }
            None => Cow::Borrowed(line),
        }
    }

    /// The pseudonyms of an id under each key, the active one first: how to look for a known peer in redacted data.
    /// Empty if `id` is not one whole id, or there is no key.
    #[must_use]
    pub fn lookup(&self, id: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        self.detectors.find(id, self.rules(), &mut Counts::default(), &mut |finding| {
            for pseudonymizer in &self.pseudonymizers {
                let mut name = [0u8; PSEUDONYM_BYTES];
                pseudonymizer.write(finding.class, &finding.canonical, &mut name);
                names.push(String::from_utf8_lossy(&name).into_owned());
            }
        });
        names
    }

    fn rules(&self) -> Rules {
        Rules { qm_bare: self.options.qm_bare, raw: false }
    }

    fn replace(&self, finding: &Finding<'_>, out: &mut impl FnMut(Replacement<'_>)) {
        let Finding { range, class, partial, canonical, .. } = finding;
        self.write(range.clone(), *class, *partial, canonical, out);
    }

    fn write(
        &self,
        range: Range<usize>,
        class: Class,
        partial: bool,
        canonical: &Canonical<'_>,
        out: &mut impl FnMut(Replacement<'_>),
    ) {
        let mut scratch = [0u8; MAX_REPLACEMENT];
        let action = self.options.action(class);
        let bytes: &[u8] = match (action, self.pseudonymizers.first()) {
            (Action::Drop, _) => b"",
            (Action::Pseudonym, Some(pseudonymizer)) => {
                pseudonymizer.write(class, canonical, &mut scratch[..PSEUDONYM_BYTES]);
                &scratch[..PSEUDONYM_BYTES]
            }
            (Action::PseudonymSameLength, Some(pseudonymizer)) => {
                let length = range.len();
                let fits = (PSEUDONYM_BYTES..=MAX_REPLACEMENT).contains(&length);
                let place = &mut scratch[..if fits { length } else { PSEUDONYM_BYTES }];
                pseudonymizer.write(class, canonical, place);
                place
            }
            (Action::Bucket(count), Some(pseudonymizer)) => {
                let bucket = pseudonymizer.bucket(class, canonical, count);
                bucket_name(class, bucket, count, &mut scratch)
            }
            // `new` refuses keyed actions without a key; should one come here, the text goes all the same.
            (_, None) | (Action::Mask, _) => match class.label() {
                "peer" => b"[peer]",
                _ => b"[addr]",
            },
        };
        out(Replacement { range, class, partial, bytes });
    }
}

/// `peer_b017`: as many digits as the highest bucket has, at least three.
fn bucket_name(class: Class, bucket: u32, count: u32, out: &mut [u8; MAX_REPLACEMENT]) -> &[u8] {
    let digits = (count - 1).checked_ilog10().map_or(1, |log| log as usize + 1).max(3);
    out[..4].copy_from_slice(class.label().as_bytes());
    out[4..6].copy_from_slice(b"_b");
    let mut left = bucket;
    for place in out[6..6 + digits].iter_mut().rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
    }
    &out[..6 + digits]
}

/// A peer id in binary within something larger, such as a binary multiaddr or a protobuf message. Ids that are bare
/// SHA-256 multihashes have no header that could be searched for, except where a multiaddr gives their length.
fn binary_inside(value: &[u8]) -> Option<Canonical<'static>> {
    let forms: [(&[u8], usize, usize); 3] = [
        (&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], 0, 38),
        (&[0x00, 0x25, 0x08, 0x02, 0x12, 0x21], 0, 39),
        // Code 421 (p2p) and length 34.
        (&[0xa5, 0x03, 0x22, 0x12, 0x20], 3, 34),
    ];
    forms.iter().find_map(|&(header, skip, length)| {
        memchr::memmem::find_iter(value, header)
            .find_map(|at| whole_binary(value.get(at + skip..at + skip + length)?))
    })
}
