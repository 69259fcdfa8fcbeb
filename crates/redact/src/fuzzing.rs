//! What must hold for any input. Fuzz targets and tests call this.
//!
//! Not here: the harness; it lives in `fuzz/` at the root of the workspace.

use crate::{Action, Counts, Key, Keyring, Options, QmBare, Redactor};

/// Redacts `data` in every way.
///
/// # Panics
/// If findings are out of order, overlap or reach beyond the text; if known anchors give another result than a fresh
/// scan; if a same-length replacement changes the length where it must not; or if redacting the result again changes it.
pub fn redact_any(data: &[u8]) {
    for redactor in redactors() {
        let mut counts = Counts::default();
        let mut replacements = Vec::new();
        redactor.redact_text(data, &mut counts, &mut |r| {
            replacements.push((r.range, r.class, r.partial, r.bytes.to_vec()));
        });
        let mut end = 0;
        for (range, ..) in &replacements {
            assert!(
                range.start >= end && range.end > range.start && range.end <= data.len(),
                "{range:?}"
            );
            end = range.end;
        }
        assert_eq!(counts.findings(), replacements.len() as u64);
        check_anchors(&redactor, data, &replacements);

        let once = redactor.redact_line(data, &mut counts);
        let twice = redactor.redact_line(&once, &mut counts);
        assert!(
            once == twice,
            "redacting again changes\n{}\ninto\n{}",
            once.escape_ascii(),
            twice.escape_ascii()
        );
        assert!(
            replacements.is_empty() || !redactor.is_clean_raw(data),
            "the raw mode is no stricter"
        );
    }
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

fn redactors() -> Vec<Redactor> {
    let actions = [
        Action::Pseudonym,
        Action::PseudonymSameLength,
        Action::Bucket(64),
        Action::Mask,
    ];
    let key = Key::new((0..32).collect());
    let keys = key.ok().map(Keyring::new);
    actions
        .into_iter()
        .zip([QmBare::Redact, QmBare::Keep, QmBare::Redact, QmBare::Redact])
        .filter_map(|(action, qm_bare)| {
            Redactor::new(
                Options {
                    qm_bare,
                    ..Options::all(action)
                },
                keys.as_ref(),
            )
            .ok()
        })
        .collect()
}
