//! Random ids in random spellings at random places in random text.

mod common;

use common::{KINDS, Kind, base58, redact, redactor, spellings};
use proptest::prelude::*;
use redact::{Action, fuzzing};

#[derive(Debug, Clone)]
struct Planted {
    kind: Kind,
    key: [u8; 32],
    spelling: usize,
    before: String,
    after: String,
}

impl Planted {
    fn text(&self) -> String {
        let all = spellings(self.kind, &self.key);
        all[self.spelling % all.len()].clone()
    }
}

/// Between an id and its surroundings. None ends with a character that could belong to an id.
const SEPARATORS: [&str; 14] =
    [" ", "_", ",", "/", "\"", "\\n", "%2F", ":", "\u{1b}[0m", ">", ":[", "\\/", "é", "\t"];

fn planted() -> impl Strategy<Value = Planted> {
    let separator = || prop::sample::select(&SEPARATORS[..]).prop_map(str::to_owned);
    (
        prop::sample::select(&KINDS[..]),
        any::<[u8; 32]>(),
        any::<usize>(),
        separator(),
        separator(),
        "[a-e ]{0,12}",
        "[a-e ]{0,12}",
    )
        .prop_map(|(kind, key, spelling, before, after, left, right)| Planted {
            kind,
            key,
            spelling,
            before: left + &before,
            after: after + &right,
        })
}

proptest! {
    #[test]
    fn ids_go_and_everything_else_stays(parts in prop::collection::vec(planted(), 0..5)) {
        for action in [Action::Pseudonym, Action::PseudonymSameLength] {
            let redactor = redactor(action);
            let text: String = parts.iter().map(|p| p.before.clone() + &p.text() + &p.after).collect();
            let expected: String = parts
                .iter()
                .map(|p| {
                    // Each spelling by itself, where nothing surrounds it; all start like the base58 form's.
                    let name = redact(&redactor, &p.text());
                    assert_eq!(name[..24], redact(&redactor, &base58(p.kind, &p.key))[..24]);
                    p.before.clone() + &name + &p.after
                })
                .collect();
            let redacted = redact(&redactor, &text);
            prop_assert_eq!(&redacted, &expected);
            for p in &parts {
                let id = p.text();
                let variable = &id.as_bytes()[id.len() - 40..id.trim_end_matches('=').len()];
                for window in variable.windows(10) {
                    prop_assert!(!redacted.as_bytes().windows(10).any(|w| w == window));
                }
            }
        }
    }

    #[test]
    fn cut_off_ids_leave_nothing_of_the_key(p in planted(), keep in 24usize..50) {
        // A cut-off `Qm…` looks like anything; its CID does not.
        let id = if p.kind == Kind::Sha256 { spellings(p.kind, &p.key).swap_remove(1) } else { base58(p.kind, &p.key) };
        let redacted = redact(&redactor(Action::Mask), &format!("{}{}", p.before, &id[..keep]));
        prop_assert_eq!(redacted, format!("{}[peer]", p.before));
    }

    #[test]
    fn invariants_hold_for_text(text in "([ -~]|é){0,200}") {
        fuzzing::redact_any(text.as_bytes());
    }

    #[test]
    fn invariants_hold_for_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::redact_any(&data);
    }

    #[test]
    fn invariants_hold_for_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12), key in any::<[u8; 32]>()) {
        let mut text = Vec::new();
        for piece in pieces {
            match piece.strip_prefix('#') {
                Some(kind) => text.extend(base58(KINDS[kind.len() % 3], &key).into_bytes()),
                None => text.extend(piece.as_bytes()),
            }
        }
        fuzzing::redact_any(&text);
    }
}

/// `#` stands for an id.
const PIECES: &[&str] = &[
    "#",
    "##",
    "###",
    "12D3KooW",
    "16Uiu2HA",
    "Qm",
    "bafzaajaiaejc",
    "bafzbei",
    "k51qzi5uqu5d",
    "k2k4r8",
    "zdvgq",
    "08011220",
    "0024",
    "01721220",
    "AXIAJAgBEi",
    "AXISI",
    "ACQIARIg",
    "CAESI",
    "peer.ID ",
    "12*",
    "abcdef",
    ">",
    "/",
    "\\",
    "u002f",
    "%2F",
    "%25",
    "2F",
    "ip4",
    "/ip4/",
    "/ip6/",
    "/dns4/",
    "/dns/",
    "/p2p/",
    "/onion3/",
    "/garlic64/",
    "/unix/",
    "/sni/",
    "203.0.113.7",
    "::",
    "2001:db8::1",
    "example.com",
    "tcp",
    " ",
    "_",
    "=",
    "n",
    "m",
    "f",
    "k",
    "z",
    "b",
    "peer_",
    "addr_",
    "a7_",
    "b017",
    "[",
    "]",
    "abcdefghijkmnopq",
    "ABCDEFGH",
    "234567",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
