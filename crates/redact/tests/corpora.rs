//! What must be caught, and what must stay: hand-made texts.

mod common;

use common::{mask, redact, redactor};
use redact::{Action, fuzzing};

const ED: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
const SECP: &str = "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY";
const QM: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
const CID: &str = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
const K51: &str = "k51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe";

#[test]
fn what_is_no_id_stays() {
    let untouched = [
        "",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "commit 9b2c1e0a7f6d5c4b3a29181706f5e4d3c2b1a098",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "repo/app@sha256:01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
        "sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC",
        "8c4f1c1e-1f2b-4c7e-9b1a-2f6d8e0a4b3c",
        // Content ids of every kind, and the one that js-peer-id took for a peer (libp2p/js-peer-id#187).
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        "bafkreifoybygix7fh3r3g5rqle3wcnhqldgdg4shzf4k3ulyw3gn7mabt4",
        "bafykbzacecesdmus2x37xyvtxdwlpx3vu5cjecxed473f66fezh6tdoccqhqq",
        "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0/IzW7yWR7QkrmBL7jTKEn5u",
        "Qm",
        "Qmail version 1.03",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5 is one short",
        "xQmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5Nx",
        "12D3KooW is how they start",
        "12D3KooW123",
        "1790000000801122012345678",
        "peer.ID",
        "<peer.ID>",
        "peer.ID field is empty",
        "the X-AXIS and the bafza",
        // Ordinary paths.
        "github.com/libp2p/go-libp2p/p2p/protocol/identify/id.go:42",
        "/root/go/pkg/mod/golang.org/x/sys/unix/syscall.go",
        "/usr/lib/unix/sockets",
        "\\/usr\\/lib\\/unix\\/sockets",
        "GET /dns/query?name=x",
        "k8s.io/dns/cmd/kube-dns/main.go",
        "/p2p/transport/quicreuse",
        "/p2p-circuit/p2p-circuit",
        "/libp2p/dcutr /ipfs/id/1.0.0 /ipfs/ping/1.0.0 /ipfs/kad/1.0.0 /meshsub/1.1.0",
        "/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/readme",
        // They name nobody.
        "/ip4/127.0.0.1/tcp/4001 /ip4/0.0.0.0/udp/0/quic-v1 /ip6/::1/tcp/1 /ip6/::/tcp/0 /dns4/localhost/tcp/5001",
        "/ip4/{addr}/tcp/{port} /ip4/ /ip6/ /dns4/ /dns4/tcp /p2p/ /ip4 /ip6/tcp",
        // Our own names.
        "peer_a7_k3faq2mzx7wd5tbc /p2p/peer_a7_k3faq2mzx7wd5tbc /ip4/addr_a7_k3faq2mzx7wd5tbc/tcp/1 /dns4/addr_b017/tcp/1",
        "/dnsaddr/addr_a7_k3faq2mzx7wd5tbc/p2p/[peer] /unix/[addr] <peer.ID peer_a7_k3faq2mzx7wd5tbc> /p2p/peer_b017",
    ];
    for text in untouched {
        assert_eq!(mask(text), text);
    }
}

#[test]
fn ids_are_caught_wherever_they_stand() {
    for id in [ED, SECP, QM, CID, K51] {
        let around = [
            "{}",
            " {}",
            "{} ",
            "peer={}",
            "peer={},",
            "{};",
            "({})",
            "\"{}\"",
            "'{}'",
            "<{}>",
            "[{}]",
            "_{}_",
            "peer_id_{}",
            "{}\n",
            "a\\n{}",
            "\\t{}\\n",
            "https://h/p2p/{}?x=1",
            "https://{}@h/",
            "q=%22{}%22",
            "%2Fp2p%2F{}%2Fp2p-circuit",
            "\\/p2p\\/{}",
            "\\u002fp2p\\u002f{}",
            "{}.example.com",
            "{}:4001",
            "é{}é",
            "\u{1b}[32m{}\u{1b}[0m",
            "peers:{}|{}",
            "{} {}",
            "{},{}",
            "…{}…",
            "go %q: \"{}\"",
            "{}/{}",
            "https%3A%2F%2Fh%2F{}",
        ];
        for pattern in around {
            let expected = pattern.replace("{}", "[peer]");
            assert_eq!(mask(&pattern.replace("{}", id)), expected);
        }
    }
}

#[test]
fn strong_ids_are_caught_in_longer_runs() {
    for id in [ED, SECP, CID, K51] {
        assert_eq!(mask(&format!("abc{id}xyz")), "abc[peer]xyz");
    }
    assert_eq!(mask(&format!("{ED}{SECP}{CID}{K51}{QM}")), "[peer][peer][peer][peer][peer]");
    assert_eq!(mask(&format!("{QM}{ED}")), "[peer][peer]");
}

#[test]
fn cut_off_ids_are_caught() {
    for (text, expected) in [
        (&ED[..16], "[peer]"),
        (&ED[..51], "[peer]"),
        (&SECP[..30], "[peer]"),
        (&CID[..40], "[peer]"),
        (&K51[..40], "[peer]"),
        ("12D3KooW0tg3aaRMjxwedh83", "12D3KooW0tg3aaRMjxwedh83"),
        ("12D3KooWaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1", "[peer]"),
        ("to /p2p/QmYyQSo1c1Ym7o", "to /p2p/[peer]"),
        ("to /p2p/garbled1d", "to /p2p/[peer]"),
        ("/ip4/203.0.1", "/ip4/[addr]"),
        ("/ip4/203.0.113.999/tcp/1", "/ip4/[addr]/tcp/1"),
        ("/ip6/2001:db8:", "/ip6/[addr]"),
        ("12D3KooWBtg3aaRMjxwe 12D3KooWBtg3aaRMjxwedh83", "[peer] [peer]"),
    ] {
        assert_eq!(mask(text), expected);
    }
    // A whole id inside the run of a garbled one is still confirmed, and nothing of either is left.
    assert_eq!(mask(&format!("12D3KooWzzzzzzzzzz{ED}")), "[peer][peer]");
}

#[test]
fn short_forms_are_caught() {
    for (text, expected) in [
        ("<peer.ID 12*moR3pq>", "<peer.ID [peer]>"),
        (
            "connected to <peer.ID Qm*jhx5N1> and <peer.ID 16*KvLpYz>",
            "connected to <peer.ID [peer]> and <peer.ID [peer]>",
        ),
        ("\\u003cpeer.ID 12*moR3pq\\u003e", "\\u003cpeer.ID [peer]\\u003e"),
        ("%3Cpeer.ID%2012%2AmoR3pq%3E", "%3Cpeer.ID%20[peer]%3E"),
        ("<peer.ID YyQSo1>", "<peer.ID [peer]>"),
    ] {
        assert_eq!(mask(text), expected);
    }
}

#[test]
fn values_of_multiaddrs_are_caught() {
    for (text, expected) in [
        ("/ip4/203.0.113.7/tcp/4001", "/ip4/[addr]/tcp/4001"),
        ("/ip4/10.1.2.3/udp/4001/quic-v1/webtransport", "/ip4/[addr]/udp/4001/quic-v1/webtransport"),
        ("/ip6/2001:db8::7/tcp/4001", "/ip6/[addr]/tcp/4001"),
        ("/ip6/::ffff:203.0.113.7/tcp/4001", "/ip6/[addr]/tcp/4001"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", "/ip6zone/eth0/ip6/[addr]/tcp/1"),
        ("\\/ip4\\/203.0.113.7\\/tcp\\/4001", "\\/ip4\\/[addr]\\/tcp\\/4001"),
        ("\\\\/ip4\\\\/203.0.113.7\\\\/tcp", "\\\\/ip4\\\\/[addr]\\\\/tcp"),
        ("\\u002fip4\\u002f203.0.113.7\\u002ftcp", "\\u002fip4\\u002f[addr]\\u002ftcp"),
        ("\\u002Fip4\\u002F203.0.113.7", "\\u002Fip4\\u002F[addr]"),
        ("a=%2Fip4%2F203.0.113.7%2Ftcp%2F1", "a=%2Fip4%2F[addr]%2Ftcp%2F1"),
        ("%2fip6%2f2001%3Adb8%3A%3A7%2ftcp", "%2fip6%2f[addr]%2ftcp"),
        ("%252Fip4%252F203.0.113.7%252Ftcp", "%252Fip4%252F[addr]%252Ftcp"),
        ("/dns4/bootstrap/tcp/4001", "/dns4/[addr]/tcp/4001"),
        ("/dnsaddr/am6.bootstrap.libp2p.io/p2p/", "/dnsaddr/[addr]/p2p/"),
        ("/dns/node.example.com/tcp/1", "/dns/[addr]/tcp/1"),
        ("dial /dns/node.example.com.", "dial /dns/[addr]."),
        (
            "/ip4/203.0.113.7/tcp/4001/tls/sni/203-0-113-7.k51.libp2p.direct/ws",
            "/ip4/[addr]/tcp/4001/tls/sni/[addr]/ws",
        ),
        ("/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234", "/onion3/[addr]:1234"),
        ("/onion/timaq4ygg2iegci7:80/http", "/onion/[addr]:80/http"),
        ("/garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq/tcp/1", "/garlic32/[addr]/tcp/1"),
        ("a\\n/unix/tmp/x", "a\\n/unix/[addr]"),
        ("listen /unix/var/run/p2p.sock", "listen /unix/[addr]"),
        ("\"/unix/tmp/a.sock/p2p/x\"", "\"/unix/[addr]/p2p/x\""),
        ("[/ip4/203.0.113.7/tcp/1 /ip4/203.0.113.8/tcp/1]", "[/ip4/[addr]/tcp/1 /ip4/[addr]/tcp/1]"),
    ] {
        assert_eq!(mask(text), expected);
    }
    let whole = format!("/ip4/203.0.113.7/tcp/4001/p2p/{ED}/p2p-circuit/p2p/{QM}");
    assert_eq!(mask(&whole), "/ip4/[addr]/tcp/4001/p2p/[peer]/p2p-circuit/p2p/[peer]");
}

#[test]
fn redacting_again_changes_nothing() {
    let glue = [
        "", " ", "/", "_", "a", "4", "l", "=", "\\n", "%2F", "/p2p/", "/ip4/", "/dns4/", "/unix/", "Qm",
        "CAESIA", "m", "k",
    ];
    let parts =
        [ED, SECP, QM, CID, &ED[..20], "203.0.113.7", "ACQIARIgHtHo+uLEoUS4vo/UtHvz07NLhxw8rPYBDw5C1HT84n4="];
    for left in glue {
        for first in parts {
            for middle in glue {
                for second in parts {
                    fuzzing::redact_any(format!("{left}{first}{middle}{second}{left}").as_bytes());
                }
            }
        }
    }
}

#[test]
fn the_fuzz_corpus_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/redact_text");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        fuzzing::redact_any(&std::fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 10, "only {replayed} files in {folder}");
}

#[test]
fn worst_cases_take_linear_time() {
    let redactor = redactor(Action::Pseudonym);
    for unit in [
        "Qm",
        "/ip4/",
        "/unix/",
        " /unix/",
        "\\/unix\\/",
        "12D3KooW",
        "/p2p/1",
        "%2Fdns4%2F",
        "peer.ID ",
        "peer_a7_",
        "[1m",
        "\\",
        "%25",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        let start = std::time::Instant::now();
        let _ = redact(&redactor, &text);
        assert!(start.elapsed().as_secs() < 10, "{unit:?} took {:?}", start.elapsed());
    }
}
