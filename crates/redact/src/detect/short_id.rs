//! The short form that go-libp2p prints for a peer id: `<peer.ID 12*abcdef>`.
//!
//! First two and last six characters (older versions: six characters, no star). Six characters of base58 are 35 bits,
//! which tells any two peers of a network apart, so the short form names its peer. It cannot be joined with the long
//! form: the finding is partial.
//!
//! Not here: short forms of other systems, which have no label to be known by.

use super::{Family, Site, Verdict, peer_id};
use crate::base::Base;
use crate::text;

pub(super) const FAMILY: Family = Family { anchors: &[ANCHOR], needles: &[], confirm };

const LABEL: &[u8] = b"peer.ID";
/// The end of the label: its start is a word that peer-to-peer telemetry is full of.
const ANCHOR: &[u8] = b"r.ID";
/// Characters after the star, and of the whole older form.
const TAIL: usize = 6;
const SPACES: [&[u8]; 5] = [b" ", b"+", b"%20", b"\\u0020", b"\xc2\xa0"];
const STARS: [&[u8]; 4] = [b"*", b"%2A", b"%2a", b"\\u002a"];
const CLOSERS: [&[u8]; 6] = [b">", b"\\u003e", b"\\u003E", b"%3E", b"%3e", b"&gt;"];

fn confirm<'t>(site: &Site<'t>) -> Verdict<'t> {
    let text = site.text;
    let label_end = site.at + ANCHOR.len();
    if !text.get(..label_end).is_some_and(|head| head.ends_with(LABEL)) {
        return Verdict::Pass;
    }
    let Some(start) = after_any(text, label_end, &SPACES) else {
        return Verdict::Pass;
    };
    let head = text::run_of(text, start, 64, Base::B58);
    let end = match after_any(text, head, &STARS) {
        // Letters may be glued on behind, so this asks for no end.
        Some(tail) => {
            let whole = text::run_of(text, tail, TAIL, Base::B58) == tail + TAIL;
            ((1..=8).contains(&(head - start)) && whole).then_some(tail + TAIL)
        }
        // A whole id has anchors of its own; this is about what is too short to have any.
        None => {
            let short = (TAIL..=TAIL + 4).contains(&(head - start));
            (short && after_any(text, head, &CLOSERS).is_some()).then_some(head)
        }
    };
    match end {
        Some(end) => Verdict::Found(peer_id::partial(text, start..end, site.at)),
        None => Verdict::Pass,
    }
}

/// Whether `head` ends with the label and a space.
pub(super) fn ends_with_label(head: &[u8]) -> bool {
    SPACES.iter().any(|space| head.strip_suffix(*space).is_some_and(|label| label.ends_with(LABEL)))
}

fn after_any(text: &[u8], at: usize, options: &[&[u8]]) -> Option<usize> {
    options.iter().find(|option| text[at..].starts_with(option)).map(|option| at + option.len())
}
