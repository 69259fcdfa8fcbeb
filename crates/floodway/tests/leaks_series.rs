//! Whether a peer can get past the running program in Prometheus series: in every text that remote-write can hold, in what is
//! written by both versions of remote-write and as OTLP. Some series are dropped on the way: their texts must not leave with the
//! table of symbols either.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use model::Writer;
use support::http;
use support::leaks::Leaks;
use support::peers::{Peer, one_of_each};
use support::program::Floodway;

const ROUNDS: usize = 3;

/// A remote-write receiver that keeps the bodies, inflated.
struct Prometheus {
    port: u16,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Prometheus {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { port, bodies }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }
}

/// Answers one request after the other until the client is gone.
fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Vec<u8>>>) {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let head_end = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let length = head_end.and_then(|end| {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let value = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
            value.trim().parse::<usize>().ok()
        });
        match (head_end, length) {
            (Some(end), Some(length)) if read.len() >= end + length => {
                let body = snap::raw::Decoder::new().decompress_vec(&read[end..end + length]).unwrap();
                kept.lock().unwrap().push(body);
                read.drain(..end + length);
                let answer = "HTTP/1.1 204 No Content\r\nx-prometheus-remote-write-samples-written: 1000\r\n\
                              x-prometheus-remote-write-histograms-written: 0\r\n\
                              x-prometheus-remote-write-exemplars-written: 1000\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            }
            _ => match stream.read(&mut chunk) {
                Ok(n) if n > 0 => read.extend_from_slice(&chunk[..n]),
                _ => return,
            },
        }
    }
}

/// A remote-write 2.0 request with `text` as the value of a label, of an exemplar's label, as help and unit, and within a name, and
/// a series of its own that a rule drops.
fn request(text: &str, time_ms: i64) -> Vec<u8> {
    let name = format!("label_{}", text.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let dropped = format!("dropped {text}");
    let symbols = ["", "__name__", "up", "peer", text, &name, "x", "gone", &dropped];
    let mut writer = Writer::new();
    symbols.iter().for_each(|symbol| writer.string(4, symbol));
    let mut series = |refs: &[u8]| {
        writer.message(5, |w| {
            w.bytes(1, refs);
            w.message(2, |w| {
                w.double(1, 1.0);
                w.int(2, time_ms);
            });
            w.message(4, |w| {
                w.bytes(1, &[3, 4]);
                w.double(2, 0.5);
                w.int(3, time_ms);
            });
            w.message(5, |w| {
                w.uint(1, 2);
                w.uint(3, 4);
                w.uint(4, 4);
            });
        });
    };
    // Sorted by name: __name__, label_..., peer; and __name__, gone.
    series(&[1, 2, 5, 6, 3, 4]);
    series(&[1, 2, 7, 8]);
    writer.finish().to_vec()
}

fn nothing_gets_through(version: &str) {
    let prometheus = Prometheus::start();
    let program = Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  remote_write: {{endpoint: '127.0.0.1:@http@'}}
processors:
  redact: {{key_file: '@dir@/redact.key'}}
  relabel: {{series: [{{source_labels: [gone], regex: .+, action: drop}}]}}
exporters:
  prometheus_remote_write:
    endpoint: 'http://127.0.0.1:{}/api/v1/write'
    protocol_version: {version}
  file: {{directory: '@dir@/json'}}
pipelines:
  metrics:
    receivers: [remote_write]
    processors: [relabel, redact]
    exporters: [prometheus_remote_write, file]
",
        prometheus.port
    ));
    let peers = one_of_each();
    let mut sent = 0;
    for round in 0..ROUNDS {
        for spelling in peers.iter().flat_map(Peer::spellings) {
            let text =
                if round == 0 { spelling.text.clone() } else { format!("at {} {round}", spelling.text) };
            let time_ms = 1_780_000_000_000 + i64::try_from(sent).unwrap();
            let body = snap::raw::Encoder::new().compress_vec(&request(&text, time_ms)).unwrap();
            let headers = [
                "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "Content-Encoding: snappy",
            ];
            let answer = http::post(program.port("http"), "/api/v1/write", &headers, &body);
            assert_eq!(answer.status, 204, "{}", answer.text());
            sent += 1;
        }
    }
    // One of the two series of each request, by two exporters.
    program.await_delivered(2 * sent);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    let bodies = prometheus.bodies();
    let mut pseudonyms = 0;
    for body in &bodies {
        leaks.assert_none("a remote-write request", body);
        let text = String::from_utf8_lossy(body);
        pseudonyms += text.matches("peer_").count();
        assert!(
            !text.contains("gone") && !text.contains("dropped"),
            "a series that was dropped left its texts"
        );
    }
    assert!(pseudonyms >= sent, "{pseudonyms} pseudonyms in {} requests", bodies.len());
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
    leaks.assert_none("the program's log", stopped.log().as_bytes());
}

#[test]
fn no_peer_gets_through_as_remote_write_2() {
    nothing_gets_through("v2");
}

#[test]
fn no_peer_gets_through_as_remote_write_1() {
    nothing_gets_through("v1");
}
