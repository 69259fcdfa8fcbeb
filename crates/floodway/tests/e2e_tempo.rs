//! Real Tempo behind the program: what telemetrygen sends is found by its pseudonym and not by its peer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::time::Duration;

use backends::{Options, Server, tempo};
use support::leaks::Leaks;
use support::peers::{Kind, Peer};
use support::program::{Floodway, WAYS_IN, redact_lines};
use support::telemetrygen;

const TRACES: usize = 5;
const FOUND_WITHIN: Duration = Duration::from_secs(40);

/// Sends traces that name one peer in three spellings, and looks for them in Tempo.
fn find_by_pseudonym(exporter: impl Fn(&Server) -> String) {
    let server = Server::start("tempo", &Options::default()).unwrap();
    let exporter = exporter(&server);
    let name = exporter.split(':').next().unwrap().to_owned();
    let pipeline = format!("traces: {{receivers: [otlp], processors: [redact], exporters: [{name}]}}");
    let program =
        Floodway::start(&format!("{WAYS_IN}\nexporters:\n  {exporter}\npipelines:\n  {pipeline}\n"));
    let peer = Peer::fresh(Kind::Ed25519);
    let ids = [peer.base58(), peer.base36(), format!("/ip4/198.51.100.23/tcp/4001/p2p/{}", peer.base58())];
    let names = redact_lines(&ids);
    assert_eq!(names[0], names[1], "two spellings, two pseudonyms");
    assert!(names[2].ends_with(&names[0]) && !names[2].contains("198.51"), "{}", names[2]);
    let attributes = [
        ("peer.id", ids[0].as_str()),
        ("node.peer", &ids[0]),
        ("peer.cid", &ids[1]),
        ("node.cid", &ids[1]),
        ("peer.addr", &ids[2]),
    ];
    telemetrygen("traces", program.port("grpc"), TRACES, &attributes, &["--service", "e2e"]);
    program.await_delivered(2 * TRACES);

    let name = &names[0];
    for query in [
        format!("{{ .peer.id = \"{name}\" && .peer.cid = \"{name}\" && .peer.addr = \"{}\" }}", names[2]),
        format!("{{ resource.node.peer = \"{name}\" && resource.node.cid = \"{name}\" }}"),
    ] {
        let found = tempo::await_traces(&server, &query, TRACES, FOUND_WITHIN).unwrap();
        assert_eq!(found.len(), TRACES, "{query}");
        assert!(found.iter().all(|trace| trace.root_service_name == "e2e"));
    }
    assert!(tempo::search(&server, &format!("{{ .peer.id = \"{}\" }}", ids[0])).unwrap().is_empty());

    let mut leaks = Leaks::of([&peer]);
    leaks.add_text("198.51.100.23", "the address");
    let all = tempo::search(&server, "{}").unwrap();
    assert_eq!(all.len(), TRACES);
    for found in all {
        let trace = tempo::trace(&server, &found.trace_id).unwrap();
        assert!(trace.contains(name.as_str()));
        leaks.assert_none(&format!("the trace {}", found.trace_id), trace.as_bytes());
    }
    assert_eq!(program.accepted(), 2.0 * TRACES as f64);
    program.stop().cleanly();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn tempo_telemetrygen_spans_are_found_by_pseudonym_over_grpc() {
    find_by_pseudonym(|server| {
        format!("otlp: {{endpoint: 'http://127.0.0.1:{}'}}", server.port("otlp_grpc").unwrap())
    });
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn tempo_telemetrygen_spans_are_found_by_pseudonym_over_http_with_gzip() {
    find_by_pseudonym(|server| {
        let port = server.port("otlp_http").unwrap();
        format!("otlp: {{protocol: http, compression: gzip, endpoint: 'http://127.0.0.1:{port}'}}")
    });
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn tempo_telemetrygen_spans_are_found_by_pseudonym_through_the_tempo_exporter() {
    find_by_pseudonym(|server| {
        let port = server.port("otlp_grpc").unwrap();
        format!("tempo: {{endpoint: 'http://127.0.0.1:{port}', tenant: mesh}}")
    });
}
