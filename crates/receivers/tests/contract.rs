//! What every receiver in the table promises.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::parse;
use engine::component::Claim;
use engine::testing;
use engine::{ComponentKind, ReceiverFactory};
use receivers::RECEIVERS;
use serde_json::{Value, json};

/// The smallest settings of each.
fn smallest(name: &str, addr: &str) -> Value {
    match name {
        "otlp" => json!({"grpc": {"endpoint": addr}}),
        "logstash" | "loki_push" | "remote_write" => json!({"endpoint": addr}),
        "syslog" => json!({"tcp": {"endpoint": addr}}),
        "kafka" => json!({"brokers": [addr]}),
        new => panic!("say here what the smallest settings of {new} are"),
    }
}

/// Those that go and fetch, and listen nowhere.
const CLIENTS: &[&str] = &["kafka"];

fn listeners() -> impl Iterator<Item = &'static ReceiverFactory> {
    RECEIVERS.iter().filter(|factory| !CLIENTS.contains(&factory.name))
}

#[test]
fn the_smallest_settings_parse_and_state_their_claims() {
    for factory in listeners() {
        let config = parse(factory.name, &smallest(factory.name, "127.0.0.1:14999")).unwrap();
        assert_eq!(config.claims(), [Claim::Tcp("127.0.0.1:14999".into())], "{}", factory.name);
    }
    for name in CLIENTS {
        assert!(parse(name, &smallest(name, "127.0.0.1:1")).unwrap().claims().is_empty(), "{name}");
    }
    let both = parse("otlp", &json!({"grpc": {}, "http": {}})).unwrap();
    let claims = ["127.0.0.1:4317", "127.0.0.1:4318"].map(|a| Claim::Tcp(a.into()));
    assert_eq!(both.claims(), claims);
    let logstash = parse("logstash", &json!({})).unwrap();
    assert_eq!(logstash.claims(), [Claim::Tcp("127.0.0.1:5000".into())]);
    let both = [Claim::Udp("127.0.0.1:5514".into()), Claim::Tcp("127.0.0.1:5514".into())];
    assert_eq!(parse("syslog", &json!({})).unwrap().claims(), both);
    assert_eq!(parse("syslog", &json!({"udp": {}, "tcp": {}})).unwrap().claims(), both);
    assert_eq!(parse("syslog", &json!({"udp": {}})).unwrap().claims(), both[..1]);
    let loki_push = parse("loki_push", &json!({})).unwrap();
    assert_eq!(loki_push.claims(), [Claim::Tcp("127.0.0.1:3100".into())]);
    let remote_write = parse("remote_write", &json!({})).unwrap();
    assert_eq!(remote_write.claims(), [Claim::Tcp("127.0.0.1:19291".into())]);
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    for factory in RECEIVERS {
        let mut settings = smallest(factory.name, "127.0.0.1:1");
        settings["endpiont"] = json!("127.0.0.1:1");
        let error = parse(factory.name, &settings).err().unwrap();
        assert!(error.contains("endpiont"), "{}: {error}", factory.name);
    }
    let error = parse("otlp", &json!({"grpc": {"max_conections": 1}})).err().unwrap();
    assert!(error.contains("max_conections") && error.contains("max_connections"), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_at_start_that_names_it() {
    for factory in listeners() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap().to_string();
        let config = parse(factory.name, &smallest(factory.name, &addr)).unwrap();
        let receiver = config.build(&testing::build_context(ComponentKind::Receiver, factory.name)).unwrap();
        let (inlet, _) = common::setup(factory.name).inlet();
        let (context, _stop) = testing::receiver_context(factory.name, inlet);
        let error = receiver.start(context).await.err().unwrap().to_string();
        assert!(error.contains(&addr) && error.contains("another collector"), "{error}");
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_and_frees_its_address() {
    for factory in listeners() {
        let setup = common::setup(&format!("contract_stop_{}", factory.name));
        let running = common::Running::start(factory.name, setup, |addr| smallest(factory.name, addr)).await;
        let idle = std::net::TcpStream::connect(running.addr).unwrap();
        let (addr, begun) = (running.addr, std::time::Instant::now());
        running.stop().await;
        assert!(begun.elapsed().as_secs() < 5, "{} waits for an idle connection", factory.name);
        assert!(std::net::TcpListener::bind(addr).is_ok(), "{}", factory.name);
        drop(idle);
    }
}

#[test]
fn settings_with_which_nothing_works_are_refused_at_build() {
    let bad = [
        ("otlp", json!({}), "nothing to listen on"),
        ("otlp", json!({"grpc": {"max_request_bytes": 0}}), "grpc.max_request_bytes is 0"),
        ("otlp", json!({"http": {"idle_timeout_ms": 0}}), "http.idle_timeout_ms is 0"),
        ("otlp", json!({"http": {"max_connections": 0}}), "http.max_connections is 0"),
        ("logstash", json!({"max_line_bytes": 10}), "max_line_bytes is 10"),
        ("logstash", json!({"line_timeout_ms": 0}), "line_timeout_ms is 0"),
        ("logstash", json!({"max_connections": 0}), "max_connections is 0"),
        ("syslog", json!({"max_message_bytes": 100}), "max_message_bytes is 100"),
        ("syslog", json!({"time_zone": "Middle/Earth"}), "Europe/Berlin"),
        ("syslog", json!({"udp": {"endpoint": "localhost"}}), "udp: endpoint"),
        ("syslog", json!({"udp": {"receive_buffer_bytes": 0}}), "udp.receive_buffer_bytes is 0"),
        ("syslog", json!({"tcp": {"max_connections": 0}}), "tcp.max_connections is 0"),
        ("syslog", json!({"tcp": {"message_timeout_ms": 0}}), "tcp.message_timeout_ms is 0"),
        ("syslog", json!({"tcp": {"idle_timeout_ms": 0}}), "tcp.idle_timeout_ms is 0"),
        ("loki_push", json!({"max_request_bytes": 0}), "max_request_bytes is 0"),
        ("loki_push", json!({"request_timeout_ms": 0}), "request_timeout_ms is 0"),
        ("loki_push", json!({"endpoint": "nowhere"}), "nowhere"),
        ("loki_push", json!({"label_attributes": {"a": ""}}), "label_attributes has an empty name"),
        ("remote_write", json!({"max_request_bytes": 0}), "max_request_bytes is 0"),
        ("remote_write", json!({"endpoint": "nowhere"}), "nowhere"),
    ];
    for (name, settings, expected) in bad {
        let context = testing::build_context(ComponentKind::Receiver, name);
        let error = parse(name, &settings).unwrap().build(&context).err().unwrap().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}
