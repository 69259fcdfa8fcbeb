//! Ids of documents: what makes a retry harmless.
//!
//! ```text
//! digest = SHA-256( len resource, resource, len scope, scope, record )        lengths as 8 bytes, little endian
//! id     = first 128 bits of digest                        the first such record of its request
//!          first 128 bits of SHA-256( digest, n )          the n-th further one, counted from 1
//! ```
//! as 22 characters of URL-safe base64, the form that Elasticsearch stores most tightly.
//!
//! An id depends on nothing but the record, its resource, its scope, and how many equal ones stand before it *in its
//! request*: not on other requests that are sent in the same body, nor on the time, the process or a key. So it is the same
//! after a restart, in another merge, or when a sender sends the request again. Two equal records of one request stay two
//! documents; a request that comes in twice, to the nanosecond and the byte, is one.
//!
//! Where a request is thinned out for a retry, a record that had equals before it would change its number. It gets its number
//! written into it, in a field that OTLP does not have ([`keep`]). Halves that were made without it are requests of their own:
//! equal records in both are then taken for one.
//!
//! Why SHA-256: a document whose id is taken counts as delivered. With a hash for which collisions can be made, one sender
//! could make another's record disappear.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::wire::{Field, Fields, Wire};
use model::{Request, Splice, Writer, walk};
use sha2::{Digest as _, Sha256};

/// A field of `LogRecord` that OTLP does not have: how many equal records stood before this one.
const NUMBER_FIELD: u32 = 0x1_e5d0;

/// The ids of one request's records.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Resource and scope, hashed.
    around: Sha256,
    seen: HashMap<[u8; 16], u32, BuildHasherDefault<Truncated>>,
}

impl Ids {
    /// Goes on to another request.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Goes on to the records of another scope.
    pub(super) fn enter(&mut self, resource: &[u8], scope: &[u8]) {
        self.around = Sha256::new();
        for part in [resource, scope] {
            self.around.update((part.len() as u64).to_le_bytes());
            self.around.update(part);
        }
    }

    /// The number of a record among its equals, and its id.
    pub(super) fn next(&mut self, buf: &[u8], record: &Field) -> (u32, [u8; 22]) {
        let marked = mark(buf, record);
        let end = marked.map_or(record.end, |field| field.start);
        let mut hasher = self.around.clone();
        hasher.update(buf.get(record.body..end).unwrap_or_default());
        let digest = hasher.finalize();
        let Some(first) = digest.first_chunk::<16>() else {
            return (0, [b'A'; 22]);
        };
        let number = match marked {
            Some(field) => field.bits as u32,
            None => {
                let equals = self.seen.entry(*first).or_default();
                *equals += 1;
                *equals - 1
            }
        };
        if number == 0 {
            return (0, text(first));
        }
        let further = Sha256::new().chain_update(digest).chain_update(number.to_le_bytes()).finalize();
        (number, text(&further))
    }
}

fn text(digest: &[u8]) -> [u8; 22] {
    let mut id = [b'A'; 22];
    // 16 bytes make 22 characters, so this cannot fail.
    let _ = URL_SAFE_NO_PAD.encode_slice(digest.get(..16).unwrap_or_default(), &mut id);
    id
}

/// What is cryptographically hashed already need not be hashed again.
#[derive(Debug, Default)]
struct Truncated(u64);

impl Hasher for Truncated {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Arrays hash their length first; the 16 bytes come last.
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// The field that [`keep`] wrote, which is the last one. What a sender put elsewhere is part of the record: it must not be able
/// to take another record's id.
fn mark(buf: &[u8], record: &Field) -> Option<Field> {
    let last = Fields::new(buf, record.body_range()).last()?;
    let ours = last.number == NUMBER_FIELD && last.wire == Wire::Varint && last.bits > 0;
    (ours && last.end == record.end).then_some(last)
}

/// The records of `request` to which `chosen` gives a number (by their position, asked once each, in order), each with its
/// number among its equals as [`Bulk`](super::Bulk) told it. `None` when none is left.
pub fn keep(request: &Request, chosen: impl FnMut(usize) -> Option<u32>) -> Option<Request> {
    let mut splice = Splice::new();
    let mut marker = Marker { buf: request.bytes(), chosen, position: 0 };
    let outcome = walk::walk(request, &mut marker, &mut splice);
    (outcome.kept > 0).then(|| request.clone().spliced(&splice, outcome.kept))
}

struct Marker<'a, F> {
    buf: &'a [u8],
    chosen: F,
    position: usize,
}

impl<F: FnMut(usize) -> Option<u32>> walk::Visitor for Marker<'_, F> {
    fn record(&mut self, _: walk::RecordKind, record: &Field, splice: &mut Splice) -> walk::Verdict {
        self.position += 1;
        let Some(number) = (self.chosen)(self.position - 1) else {
            return walk::Verdict::Drop;
        };
        if number > 0 && mark(self.buf, record).is_none() {
            let mut writer = Writer::new();
            writer.uint(NUMBER_FIELD, u64::from(number));
            splice.insert(record.end, writer.as_slice());
        }
        walk::Verdict::Keep
    }
}
