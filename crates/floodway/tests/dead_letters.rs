//! What a destination refuses is in the folder of dead letters as it left redaction: no peer can be found in its bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use prost::Message as _;
use support::leaks::Leaks;
use support::peers::{Peer, Spelling, one_of_each};
use support::program::{Floodway, WAYS_IN};
use support::{await_that, http, requests};

/// A destination that refuses everything, quoting what it got.
fn refusing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || refuse(stream));
        }
    });
    port
}

fn refuse(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let mut piece = [0; 65536];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let end = head + 4 + length.unwrap_or(0);
        if bytes.len() < end {
            continue;
        }
        let quoted: String =
            String::from_utf8_lossy(&bytes[head + 4..end]).chars().filter(|c| c.is_ascii_graphic()).collect();
        let answer = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{quoted}", quoted.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        bytes.drain(..end);
    }
}

#[test]
fn no_peer_is_in_the_dead_letters() {
    let port = refusing();
    let program = Floodway::start(&format!(
        "{WAYS_IN}
exporters:
  otlp:
    endpoint: http://127.0.0.1:{port}
    protocol: http
    dead_letters: {{directory: '@dir@/letters'}}
pipelines:
  main: {{receivers: [otlp, logstash], processors: [redact], exporters: [otlp]}}
"
    ));
    let peers = one_of_each();
    let spellings: Vec<Spelling> = peers.iter().flat_map(Peer::spellings).collect();
    let mut texts = spellings.iter().map(|spelling| format!("dial {} failed", spelling.text)).cycle();
    let mut text = || texts.next().unwrap();
    let ingest = program.port("http");
    for _ in 0..spellings.len() {
        let sent = [
            ("traces", requests::traces(&mut text).encode_to_vec()),
            ("logs", requests::logs(&mut text).encode_to_vec()),
            ("metrics", requests::metrics(&mut text).encode_to_vec()),
        ];
        for (signal, body) in sent {
            assert_eq!(http::post_protobuf(ingest, signal, &body).status, 200);
        }
    }
    let items = spellings.len() * (1 + requests::LOG_RECORDS + requests::DATA_POINTS);
    let health = || -> serde_json::Value {
        serde_json::from_slice(&http::get(program.port("admin"), "/health").body).unwrap()
    };
    let stored = || health()["components"]["exporters.otlp"]["dead_letters"]["items"].as_u64().unwrap();
    await_that("the last letter", Duration::from_secs(60), || stored() == items as u64);
    let metrics = http::get(program.port("admin"), "/metrics").text();
    assert!(metrics.contains("floodway_dead_letters_items_total{"), "{metrics}");
    assert!(metrics.contains("floodway_dead_letters_stored_bytes{"), "{metrics}");
    let stopped = program.stop().cleanly();
    let folder = stopped.dir().join("letters");
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&folder);
    leaks.assert_none("the program's log", stopped.log().as_bytes());
    let bytes: Vec<u8> = std::fs::read_dir(&folder)
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let dialled = bytes.windows(5).filter(|window| window == b"dial ").count();
    assert!(dialled >= spellings.len(), "the records are not in the letters: {dialled}");
}
