//! Known ids, known pseudonyms: the libp2p specification's keys in all spellings, and HMACs from another program.

mod common;

use common::{KINDS, keeping_qm, mask, redact, redactor, spellings};
use redact::{Action, Class, Counts, Key, Keyring, Options, OptionsError, Redactor};

/// The same peer in each row; pairs from the peer-ids specification and computed from its key table.
const ALIASES: &[&[&str]] = &[
    &[
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
        "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6",
        "BAFZAAJAIAEJCAHWR5D5OFRFBIS4L5D6UWR57HU5TJODRYPFM6YAQ6DSC2R2PZYT6",
        "k51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe",
        "ACQIARIgHtHo+uLEoUS4vo/UtHvz07NLhxw8rPYBDw5C1HT84n4=",
        "AXIAJAgBEiAe0ej64sShRLi+j9S0e/PTs0uHHDys9gEPDkLUdPzifg==",
        "CAESIB7R6PrixKFEuL6P1LR789OzS4ccPKz2AQ8OQtR0/OJ+",
        "0024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
    ],
    &[
        "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY",
        "bafzaajiiaijcca3xo7uzjzcsyilaj6i54cj44qk7kqzpoao5rti2pjx6udtdbp6kte",
        "kzwfwjn5ji4put13uvtwtc7azzwk42cq2o8ctfnxa6q8n90e72o3pjqbrp3lpcp",
    ],
    &[
        "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk",
        "bafzbeidigywdclqvl5hxfefwp5onbffcfife7pza57mmfb4tiqmtkdjw64",
        "k2k4r8m0iploq6r25jp915xawtnx0qdr0je62jws2kki6votbj5191x3",
    ],
    &[
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
    ],
];

#[test]
fn spellings_of_one_peer_have_one_pseudonym() {
    let redactor = redactor(Action::Pseudonym);
    for row in ALIASES {
        let names: Vec<String> = row.iter().map(|id| redact(&redactor, id)).collect();
        assert!(names[0].starts_with("peer_") && names[0].len() == 24, "{names:?}");
        for (id, name) in row.iter().zip(&names) {
            assert_eq!(name, &names[0], "{id}");
        }
    }
}

#[test]
fn every_spelling_that_an_independent_encoder_writes_is_confirmed() {
    let redactor = redactor(Action::Pseudonym);
    for kind in KINDS {
        for key in [[0; 32], [0xff; 32], *b"an ordinary public key, 32 bytes"] {
            let mut names = spellings(kind, &key).into_iter().map(|id| {
                let mut counts = Counts::default();
                let name = redactor.redact_line(id.as_bytes(), &mut counts).into_owned();
                assert_eq!(counts.get(Class::PeerId).confirmed, 1, "{id}");
                (id, name)
            });
            let (_, first) = names.next().unwrap();
            names.for_each(|(id, name)| assert_eq!(name, first, "{id}"));
        }
    }
}

/// Computed with Python's hmac and with `openssl dgst -sha256 -mac HMAC`, key 00 01 … 1f, message
/// "floodway1" 00 "libp2p" 00 multihash.
#[test]
fn pseudonyms_can_be_computed_elsewhere() {
    let key = Key::new((0..32).collect()).unwrap();
    assert_eq!(key.kid(), "hp");
    assert_eq!(key.fingerprint(), "8346b8caa4fd54d7");
    let named = redactor(Action::Pseudonym);
    for (id, name) in [
        (ALIASES[0][0], "peer_hp_oflnlu6s4ev5ujoy"),
        (ALIASES[1][0], "peer_hp_4m2ektc6bylcqif6"),
        (ALIASES[2][0], "peer_hp_ofk6sizjvjbgkhxv"),
        ("/ip4/203.0.113.7/tcp/1", "/ip4/addr_hp_o55mpx7m3kwqvmkg/tcp/1"),
        ("/ip6/::ffff:203.0.113.7/tcp/1", "/ip6/addr_hp_o55mpx7m3kwqvmkg/tcp/1"),
        ("/dns4/Node.Example.COM/tcp/1", "/dns4/addr_hp_hbczzauwefxgwogp/tcp/1"),
    ] {
        assert_eq!(redact(&named, id), name);
    }
    let same = redact(&redactor(Action::PseudonymSameLength), ALIASES[0][3]);
    assert_eq!(same, "peer_hp_oflnlu6s4ev5ujoyniiy2sstb5hu6fg4ovorlodzky23ikjgmh4ual");
    assert_eq!(redact(&redactor(Action::Bucket(64)), ALIASES[0][0]), "peer_b026");
    assert_eq!(redact(&redactor(Action::Bucket(5000)), ALIASES[0][0]).len(), "peer_b0000".len());
}

#[test]
fn actions() {
    let text = format!("dial /ip4/203.0.113.7/tcp/4001/p2p/{} failed", ALIASES[0][0]);
    assert_eq!(mask(&text), "dial /ip4/[addr]/tcp/4001/p2p/[peer] failed");
    assert_eq!(redact(&redactor(Action::Drop), &text), "dial /ip4//tcp/4001/p2p/ failed");
    let same = redactor(Action::PseudonymSameLength);
    assert_eq!(redact(&same, ALIASES[0][0]).len(), ALIASES[0][0].len());
    let mixed = Options { addresses: Action::Mask, ..Options::default() };
    let mixed = Redactor::new(mixed, Some(&common::keyring())).unwrap();
    assert_eq!(redact(&mixed, &text), "dial /ip4/[addr]/tcp/4001/p2p/peer_hp_oflnlu6s4ev5ujoy failed");
}

#[test]
fn keyed_actions_need_a_key() {
    for action in [Action::Pseudonym, Action::PseudonymSameLength, Action::Bucket(8)] {
        assert_eq!(Redactor::new(Options::all(action), None).unwrap_err(), OptionsError::NoKey(action));
    }
    let keys = common::keyring();
    for count in [0, 1_000_001] {
        let error = Redactor::new(Options::all(Action::Bucket(count)), Some(&keys)).unwrap_err();
        assert_eq!(error, OptionsError::Buckets(count));
    }
    assert!(Redactor::new(Options::all(Action::Mask), None).is_ok());
}

#[test]
fn a_known_peer_can_be_looked_up_under_every_key() {
    let old = Key::new((32..64).collect()).unwrap().with_kid("zz").unwrap();
    let keys = Keyring::new(Key::new((0..32).collect()).unwrap()).with_retired(old).unwrap();
    let redactor = Redactor::new(Options::default(), Some(&keys)).unwrap();
    let names = redactor.lookup(ALIASES[0][1].as_bytes());
    assert_eq!(names[0], "peer_hp_oflnlu6s4ev5ujoy");
    assert!(names.len() == 2 && names[1].starts_with("peer_zz_"), "{names:?}");
}

#[test]
fn bare_qm_can_be_kept() {
    let id = ALIASES[3][0];
    let keep = keeping_qm();
    for kept in [id.to_owned(), format!("pin {id}"), format!("ipfs://{id}/a.png"), format!("/api/{id}")] {
        assert_eq!(redact(&keep, &kept), kept);
        assert!(!mask(&kept).contains(id));
    }
    for sep in ["/", "\\/", "%2F", "\\u002f"] {
        for name in ["p2p", "ipfs", "ipns"] {
            let text = format!("{sep}{name}{sep}{id}");
            assert_eq!(redact(&keep, &text), format!("{sep}{name}{sep}[peer]"));
        }
    }
    assert_eq!(redact(&keep, &format!("<peer.ID {id}>")), "<peer.ID [peer]>");
}

#[test]
fn binary_values() {
    let redactor = redactor(Action::Pseudonym);
    let run = |value: &[u8]| {
        let mut seen = Vec::new();
        redactor.redact_binary(value, &mut Counts::default(), &mut |r| {
            seen.push((r.range, String::from_utf8(r.bytes.to_vec()).unwrap()));
        });
        seen
    };
    let key = *b"an ordinary public key, 32 bytes";
    for kind in KINDS {
        let raw = common::multihash(kind, &key);
        let name = redact(&redactor, &common::base58(kind, &key));
        let cid = [&[0x01, 0x72][..], &raw].concat();
        let multiaddr = [&[4, 203, 0, 113, 7, 6, 15, 161, 0xa5, 3, raw.len() as u8][..], &raw].concat();
        for value in [&raw, &cid, &multiaddr] {
            assert_eq!(run(value), [(0..value.len(), name.clone())], "{kind:?} {value:02x?}");
            assert!(!redactor.is_clean_raw(value));
        }
    }
    let text = format!("x {}", ALIASES[0][0]);
    assert_eq!(run(text.as_bytes())[0].0, 2..54);
    assert!(run(&[7; 38]).is_empty() && redactor.is_clean_raw(&[7; 38]));
}

#[test]
fn unknown_bytes_need_no_edges() {
    let redactor = redactor(Action::Mask);
    for row in ALIASES {
        for id in *row {
            let glued = [b"\x0a\x2eJ", id.as_bytes(), b"abc1"].concat();
            assert!(!redactor.is_clean_raw(&glued), "{id}");
            assert!(redactor.is_clean_raw(&id.as_bytes()[1..id.len() / 4]));
        }
    }
    assert!(redactor.is_clean_raw(b""));
}
