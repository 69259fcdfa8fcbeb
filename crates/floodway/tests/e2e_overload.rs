//! Ten times more than the destination takes, on every way in at once: memory stays bounded, each sender is told to wait in its
//! own protocol's words, and what was accepted arrives, once.
//!
//! The senders send as fast as they can and do not wait when they are told to, but for telemetrygen and Promtail, which are real
//! clients and must lose nothing.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on ends")]

mod support;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backends::{Options, Server};
use model::Writer;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use support::grpc::Client;
use support::program::{Floodway, WAYS_IN, free_port};
use support::{await_that, http, requests, telemetrygen};

const MIB: u64 = 1 << 20;
/// `limits.memory`.
const BUDGET: u64 = 24 * MIB;
/// How long everybody sends.
const PRESSURE: Duration = Duration::from_secs(12);
/// What the destination takes a second while everybody sends.
const SLOW: u64 = MIB;
/// Text of a record.
const RECORD: usize = 16 << 10;
/// Records of a request, and series of a remote-write request.
const RECORDS: usize = 4;
const SERIES: usize = 100;
/// What telemetrygen and Promtail send.
const POLITE: usize = 40;
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
const RESOURCE_EXHAUSTED: i32 = 8;

/// How often each id arrived: the first word of a log's body, or the attribute `request` of a data point.
type Arrived = Mutex<BTreeMap<String, usize>>;

/// An OTLP/HTTP destination that takes so many bytes a second.
struct Sink {
    port: u16,
    is_slow: Arc<AtomicBool>,
    bytes: Arc<AtomicUsize>,
    arrived: Arc<Arrived>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Self {
            port,
            is_slow: Arc::new(AtomicBool::new(true)),
            bytes: Arc::default(),
            arrived: Arc::default(),
        };
        let (is_slow, bytes, arrived) = (sink.is_slow.clone(), sink.bytes.clone(), sink.arrived.clone());
        // Whoever holds this is being served: one after the other, so that the rate is that of all connections together.
        let turn = Arc::new(Mutex::new(()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (is_slow, bytes, arrived) = (is_slow.clone(), bytes.clone(), arrived.clone());
                let (mut stream, turn) = (stream.unwrap(), turn.clone());
                std::thread::spawn(move || {
                    while let Some((path, body)) = read_request(&mut stream) {
                        {
                            let _turn = turn.lock().unwrap();
                            if is_slow.load(Ordering::SeqCst) {
                                let seconds = body.len() as f64 / SLOW as f64;
                                std::thread::sleep(Duration::from_secs_f64(seconds));
                            }
                        }
                        bytes.fetch_add(body.len(), Ordering::SeqCst);
                        note(&path, &body, &arrived);
                        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        sink
    }

    fn arrived(&self) -> BTreeMap<String, usize> {
        self.arrived.lock().unwrap().clone()
    }

    /// Ids of one sender that arrived.
    fn ids_of(&self, sender: &str) -> BTreeSet<String> {
        let of_sender = |id: &String| id.split('.').next() == Some(sender);
        self.arrived().into_keys().filter(of_sender).collect()
    }
}

/// Path and body of the next request; `None` when the client is gone.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            let length: usize = length.trim().parse().unwrap();
            while read.len() < end + length {
                match stream.read(&mut chunk) {
                    Ok(n) if n > 0 => read.extend_from_slice(&chunk[..n]),
                    _ => return None,
                }
            }
            assert_eq!(read.len(), end + length, "requests are not pipelined");
            let path = head.split(' ').nth(1).unwrap().to_owned();
            return Some((path, read.split_off(end)));
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => read.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

/// Counts what is in a request.
fn note(path: &str, body: &[u8], arrived: &Arrived) {
    let mut ids = Vec::new();
    if path == "/v1/logs" {
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records) {
            let Some(Value::StringValue(text)) = record.body.and_then(|body| body.value) else { continue };
            ids.push(text.split(' ').next().unwrap().to_owned());
        }
    } else {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Gauge(gauge)) = metric.data else { panic!("not a gauge") };
            for attribute in gauge.data_points.into_iter().flat_map(|point| point.attributes) {
                if let ("request", Some(Value::StringValue(id))) =
                    (attribute.key.as_str(), attribute.value.and_then(|value| value.value))
                {
                    ids.push(id);
                }
            }
        }
    }
    let mut arrived = arrived.lock().unwrap();
    ids.into_iter().for_each(|id| *arrived.entry(id).or_default() += 1);
}

/// What one sender saw.
#[derive(Debug, Default)]
struct Seen {
    offered: u64,
    accepted: BTreeSet<String>,
    refused: usize,
}

impl Seen {
    fn note(&mut self, id: String, bytes: usize, is_accepted: bool) {
        self.offered += bytes as u64;
        if is_accepted {
            self.accepted.insert(id);
        } else {
            self.refused += 1;
        }
    }
}

fn filler() -> String {
    "x".repeat(RECORD)
}

fn logs(id: &str) -> Vec<u8> {
    let body = format!("{id} {}", filler());
    requests::many_logs(&vec![body; RECORDS])
}

/// Sends requests that `send` makes and judges until the time is over. An id is `sender.number`.
fn press(sender: &str, until: Instant, send: impl Fn(&str) -> (usize, bool)) -> Seen {
    let mut seen = Seen::default();
    for n in 0.. {
        if Instant::now() >= until {
            break;
        }
        let id = format!("{sender}.{n}");
        let (bytes, is_accepted) = send(&id);
        seen.note(id, bytes, is_accepted);
    }
    seen
}

fn press_grpc(port: u16, until: Instant) -> Seen {
    let client = Client::connect(port);
    press("grpc", until, |id| {
        let body = logs(id);
        let outcome = client.export("logs", &body);
        if outcome.code != 0 {
            assert_eq!(outcome.code, RESOURCE_EXHAUSTED, "{outcome:?}");
            assert!(outcome.has_retry_info, "no hint when to come again: {outcome:?}");
        }
        (body.len(), outcome.code == 0)
    })
}

/// Whether it was taken; if not, it was refused with `status` and a hint.
fn judge(answer: &http::Answer, status: u16) -> bool {
    if (200..300).contains(&answer.status) {
        return true;
    }
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u32>().unwrap() > 0));
    false
}

fn press_http(port: u16, until: Instant) -> Seen {
    press("http", until, |id| {
        let body = logs(id);
        (body.len(), judge(&http::post_protobuf(port, "logs", &body), 429))
    })
}

fn press_loki(port: u16, until: Instant) -> Seen {
    press("loki", until, |id| {
        let line = format!("{id} {}", filler());
        let mut writer = Writer::new();
        writer.message(1, |stream| {
            stream.string(1, "{job=\"overload\"}");
            for n in 0..RECORDS {
                stream.message(2, |entry| {
                    entry.message(1, |time| time.uint(1, 1_780_000_000 + n as u64));
                    entry.string(2, &line);
                });
            }
        });
        let body = writer.finish();
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let headers = ["Content-Type: application/x-protobuf"];
        (body.len(), judge(&http::post(port, "/loki/api/v1/push", &headers, &packed), 429))
    })
}

/// Remote-write 1.0. 503, since Prometheus throws away what is answered with 429.
fn press_remote_write(port: u16, until: Instant) -> Seen {
    press("prometheus", until, |id| {
        let mut writer = Writer::new();
        let padding = "p".repeat(600);
        for n in 0..SERIES {
            writer.message(1, |series| {
                let number = n.to_string();
                for (name, value) in
                    [("__name__", "load"), ("n", &number), ("padding", &padding), ("request", id)]
                {
                    series.message(1, |label| {
                        label.string(1, name);
                        label.string(2, value);
                    });
                }
                series.message(2, |sample| {
                    sample.double(1, 1.0);
                    sample.int(2, 1_780_000_000_000);
                });
            });
        }
        let body = writer.finish();
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let headers = [
            "Content-Type: application/x-protobuf",
            "Content-Encoding: snappy",
            "X-Prometheus-Remote-Write-Version: 0.1.0",
        ];
        (body.len(), judge(&http::post(port, "/api/v1/write", &headers, &packed), 503))
    })
}

/// A sender whose protocol has no answers: it is not read while there is no room. Everything that it got rid of must arrive, so
/// the last line is written to its end, however long that takes. Waits of a quarter of a second count as refusals.
fn press_tcp(sender: &str, port: u16, until: Instant, line: impl Fn(&str) -> String) -> Seen {
    let mut stream = http::connect(port);
    stream.set_write_timeout(Some(Duration::from_millis(250))).unwrap();
    let mut seen = Seen::default();
    for n in 0.. {
        if Instant::now() >= until {
            break;
        }
        let id = format!("{sender}.{n}");
        let bytes = line(&format!("{id} {}", filler())).into_bytes();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    seen.refused += 1;
                }
                Err(error) => panic!("{sender}: {error}"),
            }
        }
        seen.offered += bytes.len() as u64;
        seen.accepted.insert(id);
    }
    seen
}

fn press_udp(port: u16, until: Instant) -> Seen {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    press("udp", until, |id| {
        // Four megabytes a second: more than its share of what the destination takes, less than the kernel must drop.
        std::thread::sleep(Duration::from_millis(4));
        let message = format!("<13>1 - host app - - - {id} {}", filler());
        socket.send_to(message.as_bytes(), (Ipv4Addr::LOCALHOST, port)).unwrap();
        (message.len(), true)
    })
}

/// The program with every way in, on a small budget.
fn program(sink: &Sink) -> (Floodway, u16, u16) {
    let more = Cell::new((0, 0));
    let program = Floodway::start_with(|_| {
        let (loki, remote_write) = (free_port(), free_port());
        more.set((loki, remote_write));
        let ways_in = WAYS_IN.replace(
            "processors:",
            &format!(
                "  syslog: {{udp: {{endpoint: '127.0.0.1:@syslog@'}}, tcp: {{endpoint: '127.0.0.1:@syslog@'}}}}
  loki_push: {{endpoint: '127.0.0.1:{loki}'}}
  remote_write: {{endpoint: '127.0.0.1:{remote_write}'}}
limits: {{memory: {BUDGET}}}
processors:"
            ),
        );
        let config = format!(
            "{ways_in}
exporters:
  otlp: {{protocol: http, endpoint: 'http://127.0.0.1:{}', queue: {{max_wait_ms: 0}}}}
pipelines:
  main:
    receivers: [otlp, logstash, syslog, loki_push, remote_write]
    processors: [redact]
    exporters: [otlp]
",
            sink.port
        );
        (config, Vec::new())
    });
    let (loki, remote_write) = more.get();
    (program, loki, remote_write)
}

/// Promtail reading `dir`.
fn promtail(dir: &std::path::Path, port: u16) -> Server {
    Server::start("promtail", &Options::with_config(format!(
        "
server: {{http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: 0}}
positions: {{filename: '{dir}/positions.yaml'}}
clients: [{{url: 'http://127.0.0.1:{port}/loki/api/v1/push', batchwait: 100ms}}]
scrape_configs:
  - job_name: files
    static_configs: [{{targets: [localhost], labels: {{job: promtail, __path__: '{dir}/*.log'}}}}]
",
        dir = dir.display(),
    )))
    .unwrap()
}

/// Everybody at once. What each sender saw, by its name; each is there `n` times.
fn press_all(program: &Floodway, loki: u16, remote_write: u16) -> BTreeMap<&'static str, Seen> {
    let until = Instant::now() + PRESSURE;
    let syslog = |text: &str| format!("<13>1 - host app - - - {text}\n");
    std::thread::scope(|scope| {
        let port = |name| program.port(name);
        let senders = [
            ("grpc", scope.spawn(move || press_grpc(port("grpc"), until))),
            ("http", scope.spawn(move || press_http(port("http"), until))),
            ("loki", scope.spawn(move || press_loki(loki, until))),
            ("prometheus", scope.spawn(move || press_remote_write(remote_write, until))),
            (
                "logstash",
                scope.spawn(move || {
                    press_tcp("logstash", port("logstash"), until, |text| {
                        format!("{{\"message\":\"{text}\"}}\n")
                    })
                }),
            ),
            ("tcp", scope.spawn(move || press_tcp("tcp", port("syslog"), until, syslog))),
            ("udp", scope.spawn(move || press_udp(port("syslog"), until))),
        ];
        senders.into_iter().map(|(name, sender)| (name, sender.join().unwrap())).collect()
    })
}

/// Everything that `names` were told is accepted has arrived, once, and nothing else of theirs.
fn assert_arrived(sink: &Sink, seen: &BTreeMap<&str, Seen>, names: &[&str]) {
    let arrived = sink.arrived();
    for name in names {
        let accepted = &seen[name].accepted;
        assert_eq!(sink.ids_of(name), *accepted, "{name}");
        let each = match *name {
            "prometheus" => SERIES,
            "grpc" | "http" | "loki" => RECORDS,
            _ => 1,
        };
        for id in accepted {
            assert_eq!(arrived[id], each, "{id}");
        }
    }
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn telemetrygen_promtail_and_all_other_senders_are_told_to_wait_at_ten_times_overload() {
    let sink = Sink::start();
    let (program, loki, remote_write) = program(&sink);
    let before = program.peak_memory();
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (0..POLITE).map(|n| format!("promtail.{n} line\n")).collect();
    let seen = std::thread::scope(|scope| {
        let grpc = program.port("grpc");
        let polite = scope.spawn(move || {
            // When the others have filled it.
            std::thread::sleep(PRESSURE / 4);
            telemetrygen("logs", grpc, POLITE, &[], &["--body", "telemetrygen.0 says"]);
        });
        let file = dir.path().to_owned();
        let promtail = scope.spawn(move || {
            std::thread::sleep(PRESSURE / 4);
            std::fs::write(file.join("app.log"), lines).unwrap();
            promtail(&file, loki)
        });
        let seen = press_all(&program, loki, remote_write);
        let taken = sink.bytes.load(Ordering::SeqCst) as u64;
        let offered: u64 = seen.values().map(|seen| seen.offered).sum();
        eprintln!("{} MiB offered, {} MiB taken meanwhile", offered / MIB, taken / MIB);
        assert!(offered >= 10 * taken, "{offered} bytes offered, {taken} taken");
        sink.is_slow.store(false, Ordering::SeqCst);
        polite.join().unwrap();
        await_that("all of Promtail's lines", DRAINED_WITHIN, || sink.ids_of("promtail").len() == POLITE);
        drop(promtail.join().unwrap());
        seen
    });
    for (name, seen) in &seen {
        let Seen { offered, accepted, refused } = seen;
        eprintln!(
            "{name}: {} MiB offered, {} accepted, refused {refused} times",
            offered / MIB,
            accepted.len()
        );
        assert!(!accepted.is_empty(), "{name} was shut out");
        assert!(*refused > 0 || *name == "udp", "{name} was never told to wait");
    }
    let peak = program.peak_memory();
    eprintln!("memory: {} KiB before, {} KiB at most", before >> 10, peak >> 10);
    assert!(peak < before + 2 * BUDGET, "{} MiB at most, {} MiB before", peak / MIB, before / MIB);

    let answered = Instant::now();
    let last = requests::one_log("last.0 of all");
    assert_eq!(http::post_protobuf(program.port("http"), "logs", &last).status, 200);
    assert!(answered.elapsed() < Duration::from_secs(1), "served after {:?}", answered.elapsed());
    await_that("the empty queue", DRAINED_WITHIN, || {
        sink.ids_of("last").len() == 1 && program.metric("floodway_queue_items", &[]) == 0.0
    });
    // The kernel is asked every five seconds what it dropped.
    let udp_sent = seen["udp"].accepted.len() as f64;
    await_that("all datagrams in the books", Duration::from_secs(10), || {
        let dropped = program.metric("floodway_udp_dropped_datagrams_total", &[]);
        sink.ids_of("udp").len() as f64 + dropped == udp_sent
    });
    assert!(
        program.metric("floodway_udp_dropped_datagrams_total", &["full"]) > 0.0,
        "no datagram was dropped"
    );

    assert_arrived(&sink, &seen, &["grpc", "http", "loki", "prometheus", "logstash", "tcp"]);
    let arrived = sink.arrived();
    assert_eq!(arrived["telemetrygen.0"], POLITE);
    let (accepted, delivered) = (program.accepted(), program.delivered());
    let dropped = program.metric("floodway_dropped_items_total", &[]);
    assert_eq!(accepted, delivered + dropped, "the books");
    assert_eq!(dropped, 0.0);
    assert_eq!(delivered, arrived.values().sum::<usize>() as f64);
    assert_eq!(program.metric("floodway_budget_bytes", &[]), 0.0);
    program.stop().cleanly();
}
