//! Syslog as hosts, routers and programs send it: datagrams, both framings, TLS; and what they do wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Running, body, connect, eventually, records, send_lines, setup, tags};
use engine::QueueSettings;
use engine::testing::{Answer, Setup};
use model::AckMode;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

async fn start(setup: Setup) -> Running {
    start_with(setup, json!({"udp": {}, "tcp": {}})).await
}

/// With the sections in `settings`, on one address.
async fn start_with(setup: Setup, settings: Value) -> Running {
    Running::start("syslog", setup, |addr| {
        let mut settings = settings.clone();
        for section in ["udp", "tcp"] {
            if let Some(section) = settings.get_mut(section) {
                section["endpoint"] = json!(addr);
            }
        }
        settings
    })
    .await
}

fn text(record: &LogRecord, key: &str) -> Option<String> {
    let value = record.attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.clone();
    match value {
        Some(Any::StringValue(text)) => Some(text),
        Some(Any::IntValue(number)) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn send_datagrams(addr: SocketAddr, datagrams: impl IntoIterator<Item = Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(addr).unwrap();
    for datagram in datagrams {
        assert_eq!(socket.send(&datagram).unwrap(), datagram.len());
    }
}

fn problems(running: &Running) -> Vec<(&'static str, u64)> {
    ["pri", "header", "structured_data", "timestamp", "cut", "invalid_utf8", "framing"]
        .into_iter()
        .map(|problem| (problem, running.counter("floodway_line_problems_total", ("problem", problem))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn dropped(running: &Running, reason: &str) -> u64 {
    running.counter("floodway_udp_dropped_datagrams_total", ("reason", reason))
}

/// Both forms, a message without any, and nothing at all.
const DATAGRAMS: [&[u8]; 4] = [
    b"<165>1 2003-10-11T22:14:15.003Z host.example app 42 ID47 - from 5424",
    b"<34>Oct 11 22:14:15 mymachine su[7]: from 3164\n",
    b"",
    b"no header at all",
];

#[tokio::test]
async fn datagrams_of_every_form() {
    let running = start(setup("sl_udp")).await;
    send_datagrams(running.addr, DATAGRAMS.map(<[u8]>::to_vec));
    let got = records(&running.collected.wait_for(3).await);
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["from 5424", "from 3164", "no header at all"]);
    assert_eq!((got[0].severity_number, got[1].severity_number, got[2].severity_number), (10, 18, 0));
    assert_eq!(got[0].time_unix_nano, 1_065_910_455_003_000_000);
    let named =
        |n: usize| ["hostname", "appname", "proc_id", "msg_id", "facility"].map(|key| text(&got[n], key));
    let some = |names: [&str; 5]| names.map(|name: &str| (!name.is_empty()).then(|| name.to_owned()));
    assert_eq!(named(0), some(["host.example", "app", "42", "ID47", "20"]));
    assert_eq!(named(1), some(["mymachine", "su", "7", "", "4"]));
    assert_eq!(tags(&got[2]), ["_syslogparsefailure"]);
    assert_eq!(problems(&running), [("pri", 1)]);
    assert_eq!(running.counter("floodway_accepted_items_total", ("signal", "logs")), 3);
    running.budget_is_free().await;
}

#[tokio::test]
async fn both_framings_on_one_connection_in_many_packets() {
    let running = start(setup("sl_mixed")).await;
    let pieces: [&[u8]; 7] = [
        b"<13>Mar  1 12:00:00 h a: li",
        b"ne\n3",
        b"0 <13>Mar  1 12:00:00 h a: cou",
        b"nt\n2",
        b"8 <13>Mar  1 12:00:00 h a: x\ny\n<13>Mar  1 12:0",
        b"0:00 h a: last, without an end",
        b"",
    ];
    let back = send_lines(running.addr, &pieces).await;
    assert!(back.is_empty(), "syslog answers nothing: {back:?}");
    let got = records(&running.collected.wait_for(4).await);
    let bodies: Vec<_> = got.iter().map(body).collect();
    assert_eq!(bodies, ["line", "count", "x\ny", "last, without an end"]);
    assert!(got.iter().all(|record| text(record, "appname").unwrap() == "a"));
    assert_eq!(problems(&running), []);
    running.stop().await;
}

#[tokio::test]
async fn a_framing_that_is_set_is_kept() {
    let lines = start_with(setup("sl_newline"), json!({"tcp": {"framing": "newline"}})).await;
    send_lines(lines.addr, &[b"7 <13>one\n<13>two\n"]).await;
    let got = records(&lines.collected.wait_for(2).await);
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["7 <13>one", "two"]);
    let counted = start_with(setup("sl_octets"), json!({"tcp": {"framing": "octet_counting"}})).await;
    send_lines(counted.addr, &[b"9 <13>o\nne!<13>without a count\n7 <13>two"]).await;
    let got = records(&counted.collected.wait_for(3).await);
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["o\nne!", "without a count", "two"]);
    assert_eq!(problems(&counted), [("timestamp", 3), ("framing", 1)]);
}

#[tokio::test]
async fn messages_that_are_wrong_are_kept_and_counted() {
    let settings = json!({"udp": {}, "tcp": {}, "max_message_bytes": 480});
    let running = start_with(setup("sl_bad"), settings).await;
    let long = format!("<13>Mar  1 12:00:00 h a: {}", "long ".repeat(500));
    let counted = format!("{} {long}", long.len());
    let pieces: [&[u8]; 6] = [
        b"<13>1 - host\n",
        b"<13>1 - h a - - [x y=z] text\n",
        b"<13>Mar  1 12:00:00 h a: caf\xe9\n",
        long.as_bytes(),
        b"\n",
        counted.as_bytes(),
    ];
    send_lines(running.addr, &pieces).await;
    running.collected.wait_for(5).await;
    send_datagrams(running.addr, [long.clone().into_bytes()]);
    let got = records(&running.collected.wait_for(6).await);
    assert_eq!(got.iter().map(body).take(3).collect::<Vec<_>>(), ["1 - host", "[x y=z] text", "caf\u{fffd}"]);
    for cut in &got[3..] {
        assert_eq!(tags(cut), ["_line_cut"]);
        assert!((400..480).contains(&body(cut).len()), "{}", body(cut).len());
    }
    let expected = [("header", 1), ("structured_data", 1), ("cut", 3), ("invalid_utf8", 1)];
    assert_eq!(problems(&running), expected);
}

#[tokio::test]
async fn a_flood_over_tcp_makes_few_batches_and_loses_nothing() {
    let running = start(setup("sl_flood")).await;
    let sent: Vec<_> = (0..2000).map(|n| format!("event {n}")).collect();
    let stream: String = sent
        .iter()
        .map(|text| format!("<13>Mar  1 12:00:00 h a: {text}"))
        .enumerate()
        .map(|(n, m)| if n % 2 == 0 { format!("{} {m}", m.len()) } else { format!("{m}\n") })
        .collect();
    send_lines(running.addr, &[stream.as_bytes()]).await;
    let requests = running.collected.wait_for(2000).await;
    assert!(requests.len() <= 20, "{} batches", requests.len());
    assert_eq!(records(&requests).iter().map(body).collect::<Vec<_>>(), sent);
    running.budget_is_free().await;
}

/// What was sent is what was delivered and what was counted as lost, in the kernel and here, to the last datagram.
async fn every_datagram_is_accounted_for(setup: Setup, settings: Value, hold: bool, lost_here: &str) {
    const SENT: u64 = 20_000;
    let running = start_with(setup, settings).await;
    if hold {
        running.collected.answer(Answer::Hold);
    }
    let addr = running.addr;
    let begun = Instant::now();
    let datagram = |n| format!("<13>Mar  1 12:00:00 h a: event {n} {}", "x".repeat(200)).into_bytes();
    tokio::task::spawn_blocking(move || send_datagrams(addr, (0..SENT).map(datagram))).await.unwrap();
    let (id, collected) = (running.id.clone(), running.collected.clone());
    if !lost_here.is_empty() {
        eventually("some are dropped", || dropped(&running, lost_here) > 0).await;
    }
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited");
    let counters = engine::testing::counters();
    let drops = |reason| {
        let labels = [("component", id.as_str()), ("reason", reason)];
        counters.value("floodway_udp_dropped_datagrams_total", &labels)
    };
    let labels = [("component", id.as_str()), ("signal", "logs")];
    let accepted = counters.value("floodway_accepted_items_total", &labels);
    let lost = drops("kernel") + drops("queue_full") + drops("budget_full");
    assert_eq!(accepted + lost, SENT, "{accepted} accepted");
    assert!(accepted > 0);
    collected.answer(Answer::Deliver);
    assert_eq!(collected.items() as u64, accepted);
}

#[tokio::test]
async fn what_the_kernel_drops_is_counted() {
    let settings = json!({"udp": {"receive_buffer_bytes": 2048}});
    every_datagram_is_accounted_for(setup("sl_kernel"), settings, false, "").await;
    let labels = [("component", "sl_kernel"), ("reason", "kernel")];
    let drops = engine::testing::counters().value("floodway_udp_dropped_datagrams_total", &labels);
    assert!(!cfg!(target_os = "linux") || drops > 0, "a buffer of 2 KiB held everything");
}

#[tokio::test]
async fn datagrams_that_find_the_queue_full_are_dropped_and_counted() {
    let queue = QueueSettings { max_requests: 2, ..QueueSettings::default() };
    let setup = Setup { queue, ..setup("sl_queue") };
    every_datagram_is_accounted_for(setup, json!({"udp": {}}), true, "queue_full").await;
}

#[tokio::test]
async fn datagrams_that_find_the_budget_full_are_dropped_and_counted() {
    let setup = Setup { budget_bytes: 2_500_000, ..setup("sl_budget") };
    every_datagram_is_accounted_for(setup, json!({"udp": {}}), true, "budget_full").await;
}

#[tokio::test]
async fn while_the_queue_is_full_a_connection_is_not_read_and_datagrams_are_not_waited_for() {
    let queue = QueueSettings { max_requests: 1, ..QueueSettings::default() };
    let setup = Setup { queue, ack: AckMode::Delivered, ..setup("sl_pressure") };
    let running = start(setup).await;
    running.collected.answer(Answer::Hold);
    let addr = running.addr;
    // More than the kernel's buffers of both sides take.
    const MESSAGES: usize = 40_000;
    let sending = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        let padding = "x".repeat(1000);
        for n in 0..MESSAGES {
            let message = format!("<13>Mar  1 12:00:00 h a: {n} {padding}\n");
            socket.write_all(message.as_bytes()).unwrap();
        }
    });
    eventually("something is taken", || running.collected.budget().used() > 0).await;
    for n in 1..=3 {
        send_datagrams(addr, [b"<13>dropped".to_vec()]);
        eventually("the datagram is dropped at once", || dropped(&running, "queue_full") == n).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "40 MB were read before anything was delivered");
    assert!(running.collected.budget().used() < 1 << 20);
    running.collected.answer(Answer::Deliver);
    sending.await.unwrap();
    eventually("all arrived", || running.collected.items() >= MESSAGES).await;
    let got = records(&running.collected.requests());
    let number = |record: &LogRecord| body(record).split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(got.iter().map(number).eq(0..MESSAGES));
    running.budget_is_free().await;
}

#[tokio::test]
async fn a_message_that_never_ends_is_ended_even_when_it_dribbles() {
    for (id, begin, dribble) in
        [("sl_loris_line", "<13>first\n<13>", "x"), ("sl_loris_count", "9 <13>first999 <13>", "y")]
    {
        let running = start_with(setup(id), json!({"tcp": {"message_timeout_ms": 400}})).await;
        let addr = running.addr;
        let begun = Instant::now();
        tokio::task::spawn_blocking(move || {
            let mut socket = connect(addr);
            socket.write_all(begin.as_bytes()).unwrap();
            while socket.write_all(dribble.as_bytes()).is_ok() {
                assert!(begun.elapsed() < Duration::from_secs(8), "it may go on for ever");
                std::thread::sleep(Duration::from_millis(50));
            }
        })
        .await
        .unwrap();
        let got = records(&running.collected.wait_for(2).await);
        assert_eq!(body(&got[0]), "first");
        assert!(body(&got[1]).starts_with(dribble) || tags(&got[1]) == ["_line_cut"], "{:?}", got[1]);
    }
}

#[tokio::test]
async fn silence_is_allowed_unless_a_limit_is_set() {
    let patient = start_with(setup("sl_patient"), json!({"tcp": {"message_timeout_ms": 100}})).await;
    let strict = start_with(setup("sl_idle"), json!({"tcp": {"idle_timeout_ms": 300}})).await;
    let mut waiting = connect(patient.addr);
    waiting.write_all(b"<13>one\n").unwrap();
    let addr = strict.addr;
    let closed_after = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        socket.write_all(b"<13>one\n").unwrap();
        let begun = Instant::now();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        begun.elapsed()
    });
    let closed_after = closed_after.await.unwrap();
    assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&closed_after), "{closed_after:?}");
    waiting.write_all(b"<13>two\n").unwrap();
    assert_eq!(records(&patient.collected.wait_for(2).await).len(), 2);
}

#[tokio::test]
async fn times_without_zone_are_those_of_the_setting() {
    let running = start_with(setup("sl_zone"), json!({"udp": {}, "time_zone": "-05:00"})).await;
    send_datagrams(running.addr, [b"<166>Oct 10 2018 07:00:00 h a: x".to_vec()]);
    let got = records(&running.collected.wait_for(1).await);
    // 2018-10-10T12:00:00Z
    assert_eq!(got[0].time_unix_nano, 1_539_172_800_000_000_000);
}

#[tokio::test]
async fn stopping_takes_what_was_sent_and_ends_soon() {
    let running = start(setup("sl_stop")).await;
    let mut idle = connect(running.addr);
    idle.write_all(b"<13>one\n").unwrap();
    running.collected.wait_for(1).await;
    running.request_stop();
    idle.write_all(b"<13>two\n9 <13>three").unwrap();
    send_datagrams(running.addr, [b"<13>four".to_vec()]);
    let (collected, begun) = (running.collected.clone(), Instant::now());
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    let mut got: Vec<_> = records(&collected.requests()).iter().map(body).collect();
    got.sort_unstable();
    assert_eq!(got, ["four", "one", "three", "two"]);
    assert_eq!(collected.budget().used(), 0);
}

/// A server certificate for `localhost`, its key, and the authority that signed it, as files.
fn certificates() -> tempfile::TempDir {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: String| std::fs::write(dir.path().join(name), pem).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.self_signed(&ca_key).unwrap().pem());
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    write("cert.pem", leaf.signed_by(&key, &Issuer::new(params, ca_key)).unwrap().pem());
    write("key.pem", key.serialize_pem());
    dir
}

/// A client that trusts `ca` alone and checks the name.
fn tls_client(ca: &std::path::Path) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

#[tokio::test]
async fn tls_with_a_client_that_checks_the_certificate() {
    use tokio::io::AsyncWriteExt as _;
    let (ours, others) = (certificates(), certificates());
    let path = |name: &str| ours.path().join(name);
    let tls = json!({"cert_file": path("cert.pem"), "key_file": path("key.pem")});
    let running = start_with(setup("sl_tls"), json!({"tcp": {"tls": tls}})).await;
    let connect = |ca: std::path::PathBuf, name: &'static str| async move {
        let socket = tokio::net::TcpStream::connect(running.addr).await.unwrap();
        tls_client(&ca).connect(name.try_into().unwrap(), socket).await
    };
    let mut stream = connect(path("ca.pem"), "localhost").await.unwrap();
    // RFC 5425: octet counting.
    stream.write_all(b"28 <13>Mar  1 12:00:00 h a: o").await.unwrap();
    stream.write_all(b"ne28 <13>Mar  1 12:00:00 h a: two").await.unwrap();
    stream.shutdown().await.unwrap();
    let got = records(&running.collected.wait_for(2).await);
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["one", "two"]);

    assert!(connect(path("ca.pem"), "example.org").await.is_err(), "the name was not checked");
    assert!(connect(others.path().join("ca.pem"), "localhost").await.is_err(), "any authority will do");
    let refused = || running.counter("floodway_refused_connections_total", ("reason", "tls_handshake"));
    eventually("two handshakes failed", || refused() == 2).await;
    send_lines(running.addr, &[b"<13>plain text\n"]).await;
    eventually("plain text is refused", || refused() == 3).await;
    assert_eq!(running.collected.items(), 2);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_counted() {
    let running = start_with(setup("sl_limit"), json!({"tcp": {"max_connections": 1}})).await;
    let mut first = connect(running.addr);
    first.write_all(b"<13>a\n").unwrap();
    running.collected.wait_for(1).await;
    assert!(send_lines(running.addr, &[b"<13>b\n"]).await.is_empty());
    let refused = || running.counter("floodway_refused_connections_total", ("reason", "max_connections"));
    eventually("the refusal is counted", || refused() == 1).await;
    first.write_all(b"<13>c\n").unwrap();
    assert_eq!(running.collected.wait_for(2).await.len(), 2);
}

#[tokio::test]
async fn an_address_that_is_taken_for_datagrams_is_an_error_that_names_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let config = common::parse("syslog", &json!({"udp": {"endpoint": addr}})).unwrap();
    let kind = engine::ComponentKind::Receiver;
    let receiver = config.build(&engine::testing::build_context(kind, "sl_taken")).unwrap();
    let (context, _stop) = engine::testing::receiver_context("sl_taken", setup("sl_taken").inlet().0);
    let error = receiver.start(context).await.err().unwrap().to_string();
    assert!(error.contains(&addr) && error.contains("another collector"), "{error}");
}
