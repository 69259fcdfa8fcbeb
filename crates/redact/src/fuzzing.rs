//! What must hold for any input. Fuzz targets and tests call this.
//!
//! Not here: the harness; it lives in `fuzz/` at the root of the workspace.

use std::sync::LazyLock;

use crate::{Action, Counts, Key, Keyring, Options, QmBare, Redactor};

/// Redacts `data` in every way.
///
/// # Panics
/// If findings are out of order, overlap or reach beyond the text; if known anchors give another result than a fresh
/// scan; if the raw mode calls a text clean that is not; or if redacting the result again changes it.
pub fn redact_any(data: &[u8]) {
    for redactor in REDACTORS.iter() {
        let mut counts = Counts::default();
        let mut replacements = Vec::new();
        redactor.redact_text(data, &mut counts, &mut |r| {
            replacements.push((r.range, r.class, r.partial, r.bytes.to_vec()));
        });
        let mut end = 0;
        for (range, ..) in &replacements {
            assert!(range.start >= end && range.end > range.start && range.end <= data.len(), "{range:?}");
            end = range.end;
        }
        assert_eq!(counts.findings(), replacements.len() as u64);
        check_anchors(redactor, data, &replacements);

        check_again(redactor, data);
        assert!(replacements.is_empty() || !redactor.is_clean_raw(data), "the raw mode is no stricter");
    }
}

/// Redacting the result changes nothing. Two kinds of contrived text may take another round, in which more is redacted,
/// never less: our own pseudonyms glued to halves of ids before they came here, and base64, whose alphabet has slashes,
/// running across the names of a multiaddr.
fn check_again(redactor: &Redactor, data: &[u8]) {
    const CONTRIVED: [&[u8]; 7] =
        [b"peer_", b"addr_", b"AXIAJ", b"AXISI", b"ACQIARIg", b"ACUIAhIh", b"CAESI"];
    let mut counts = Counts::default();
    let mut again = |text: &[u8]| redactor.redact_line(text, &mut counts).into_owned();
    let mut once = again(data);
    if CONTRIVED.iter().any(|part| memchr::memmem::find(data, part).is_some()) {
        once = again(&once);
        once = again(&once);
    }
    let twice = again(&once);
    let (before, after) = (once.escape_ascii(), twice.escape_ascii());
    assert!(once == twice, "redacting again changes\n{before}\ninto\n{after}");
}

type Seen = (std::ops::Range<usize>, crate::Class, bool, Vec<u8>);

/// The text as part of a larger buffer, with the anchors of that buffer.
fn check_anchors(redactor: &Redactor, data: &[u8], expected: &[Seen]) {
    const BEFORE: &[u8] = b"/ip4/12D3KooWQm/p2";
    let buffer = [BEFORE, data, b"QmKooW/ip4/"].concat();
    let mut anchors = Vec::new();
    redactor.anchors(&buffer, &mut anchors);
    assert!(anchors.is_sorted_by(|a, b| a < b));
    let mut seen = Vec::new();
    let base = BEFORE.len() as u32;
    redactor.redact_text_at(data, base, &anchors, &mut Counts::default(), &mut |r| {
        seen.push((r.range, r.class, r.partial, r.bytes.to_vec()));
    });
    assert_eq!(seen, expected, "known anchors and a fresh scan disagree");
}

static REDACTORS: LazyLock<Vec<Redactor>> = LazyLock::new(|| {
    let actions = [Action::Pseudonym, Action::PseudonymSameLength, Action::Bucket(64), Action::Mask];
    let key = Key::new((0..32).collect());
    let keys = key.ok().map(Keyring::new);
    actions
        .into_iter()
        .zip([QmBare::Redact, QmBare::Keep, QmBare::Redact, QmBare::Redact])
        .filter_map(|(action, qm_bare)| {
            Redactor::new(Options { qm_bare, ..Options::all(action) }, keys.as_ref()).ok()
        })
        .collect()
});
