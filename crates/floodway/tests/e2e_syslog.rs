//! Syslog as real senders speak it: rsyslogd over UDP, TCP in both framings and TLS, in both formats, and util-linux's logger;
//! through redaction into a file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backends::{Options, Server, run_tool};
use serde_json::{Value, json};
use support::leaks::{Leaks, json_lines};
use support::peers::one_of_each;
use support::program::{Floodway, redact_lines, root};

const CONFIG: &str = "
admin: {endpoint: '127.0.0.1:@admin@'}
receivers:
  syslog:
    time_zone: local
    udp: {endpoint: '127.0.0.1:@syslog@'}
    tcp: {endpoint: '127.0.0.1:@syslog@'}
  syslog/tls:
    ack: delivered
    tcp:
      endpoint: '127.0.0.1:@syslog_tls@'
      framing: octet_counting
      tls: {cert_file: '@certificates@/cert.pem', key_file: '@certificates@/key.pem'}
processors:
  redact: {key_file: '@dir@/redact.key'}
exporters:
  file: {directory: '@dir@/out'}
pipelines:
  main: {receivers: [syslog, syslog/tls], processors: [redact], exporters: [file]}
";

/// The ways from rsyslog to Floodway, by the name of the program whose messages take it: rsyslog's settings, and whether the
/// format is that of RFC 5424.
const WAYS: [(&str, &str, bool); 6] = [
    ("udp3164", r#"port="@syslog@" protocol="udp" template="RSYSLOG_TraditionalForwardFormat""#, false),
    ("udp5424", r#"port="@syslog@" protocol="udp" template="RSYSLOG_SyslogProtocol23Format""#, true),
    ("tcp3164", r#"port="@syslog@" protocol="tcp" template="RSYSLOG_TraditionalForwardFormat""#, false),
    ("tcpiso", r#"port="@syslog@" protocol="tcp" template="RSYSLOG_ForwardFormat""#, false),
    (
        "tcp5424",
        r#"port="@syslog@" protocol="tcp" tcp_framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format""#,
        true,
    ),
    (
        "tls5424",
        r#"port="@tls@" protocol="tcp" tcp_framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"
           streamDriver="gtls" streamDriverMode="1" streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost""#,
        true,
    ),
];

/// A server certificate for `localhost` and the authority that rsyslog is to trust.
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

fn logger(port: u16, args: &[&str]) {
    let port = port.to_string();
    let target = ["-n", "127.0.0.1", "-P", &port];
    run_tool("logger", &[&target, args].concat(), Duration::from_secs(20)).unwrap();
}

/// The records of a file of OTLP/JSON, by `appname`; attributes are flattened to their text.
fn by_program(file: &Path) -> HashMap<String, Vec<Value>> {
    let mut found: HashMap<String, Vec<Value>> = HashMap::new();
    for line in json_lines(file) {
        for record in line["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap() {
            let attributes = map(&record["attributes"]);
            let name = attributes["appname"].as_str().unwrap_or_default().to_owned();
            let mut record = record.clone();
            record["attributes"] = attributes;
            found.entry(name).or_default().push(record);
        }
    }
    found
}

/// A list of keys and values as a map.
fn map(list: &Value) -> Value {
    let value = |value: &Value| match value {
        Value::Object(any) if any.contains_key("kvlistValue") => map(&any["kvlistValue"]["values"]),
        Value::Object(any) => any.values().next().cloned().unwrap_or_default(),
        other => panic!("no AnyValue: {other}"),
    };
    let pair = |pair: &Value| (pair["key"].as_str().unwrap().to_owned(), value(&pair["value"]));
    list.as_array().unwrap().iter().map(pair).collect::<serde_json::Map<_, _>>().into()
}

/// What every message that `logger -p local4.warning` sends has, and that its time is now.
fn check(record: &Value, body: &str) {
    assert_eq!(record["body"]["stringValue"], body, "{record}");
    assert_eq!((&record["severityNumber"], &record["severityText"]), (&json!(13), &json!("warning")));
    let attributes = &record["attributes"];
    assert_eq!((&attributes["facility_text"], &attributes["priority"]), (&json!("local4"), &json!("164")));
    assert!(attributes["hostname"].as_str().is_some_and(|host| !host.is_empty()), "{record}");
    assert!(attributes.get("tags").is_none(), "{record}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let time = record["timeUnixNano"].as_str().unwrap().parse::<f64>().unwrap() / 1e9;
    assert!((now - time).abs() < 120.0, "the time is {time}, and now is {now}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn rsyslog_logger_every_transport_framing_and_format_arrives_redacted() {
    let certificates = certificates();
    let config = CONFIG.replace("@certificates@", certificates.path().to_str().unwrap());
    let program = Floodway::start(&config);
    let ca = certificates.path().join("ca.pem");
    let mut rules = format!("global(defaultNetstreamDriverCAFile=\"{}\")\n", ca.display());
    for (name, settings, _) in WAYS {
        let settings = settings
            .replace("@syslog@", &program.port("syslog").to_string())
            .replace("@tls@", &program.port("syslog_tls").to_string());
        rules.push_str(&format!(
            "if $programname == '{name}' then action(type=\"omfwd\" target=\"127.0.0.1\" {settings})\n"
        ));
    }
    let rsyslog = Server::start("rsyslog", &Options::with_config(rules)).unwrap();
    let peers = one_of_each();
    let texts: Vec<String> =
        peers.iter().map(|peer| format!("dialled {} \"twice\"", peer.base58())).collect();
    let redacted = redact_lines(&texts);
    for (name, _, _) in WAYS {
        for text in &texts {
            let how = ["-T", "--octet-count", "--rfc5424", "-p", "local4.warning", "--id=4711"];
            let data = ["--msgid", "ID47", "--sd-id", "zoo@123", "--sd-param", "tiger=\"hungry\""];
            logger(rsyslog.port("tcp").unwrap(), &[&how[..], &data, &["-t", name, text]].concat());
        }
    }
    program.await_delivered(WAYS.len() * texts.len());
    let stopped = program.stop().cleanly();
    let found = by_program(&stopped.dir().join("out/logs.jsonl"));
    for (name, _, rfc5424) in WAYS {
        let records = &found.get(name).unwrap_or_else(|| panic!("nothing by {name}: {:?}", found.keys()))[..];
        assert_eq!(records.len(), texts.len(), "{name}");
        for (record, body) in records.iter().zip(&redacted) {
            check(record, body);
            let attributes = &record["attributes"];
            assert_eq!(attributes["proc_id"], "4711", "{name}");
            assert_eq!(attributes["version"] == "1", rfc5424, "{name}");
            if rfc5424 {
                assert_eq!(attributes["msg_id"], "ID47");
                assert_eq!(attributes["structured_data"]["zoo@123"], json!({"tiger": "hungry"}));
            }
        }
    }
    Leaks::of(&peers).assert_none_in_folder(&stopped.dir().join("out"));
    Leaks::of(&peers).assert_none("the program's log", stopped.log().as_bytes());
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn logger_straight_to_floodway_and_what_is_wrong_with_it() {
    let certificates = certificates();
    let program = Floodway::start(&CONFIG.replace("@certificates@", certificates.path().to_str().unwrap()));
    let port = program.port("syslog");
    let ways: [(&str, &[&str]); 6] = [
        ("udp3164", &["-d", "--rfc3164"]),
        ("udp5424", &["-d", "--rfc5424"]),
        ("tcp3164", &["-T", "--rfc3164"]),
        ("tcp5424", &["-T", "--rfc5424"]),
        ("count3164", &["-T", "--octet-count", "--rfc3164"]),
        ("count5424", &["-T", "--octet-count", "--rfc5424"]),
    ];
    for (name, how) in ways {
        logger(port, &[how, &["-p", "local4.warning", "-t", name, "--id=12", "message: by", name]].concat());
    }
    // Without a time and a host.
    logger(port, &["-T", "--rfc5424=notime,nohost", "-p", "local4.warning", "-t", "bare", "x"]);
    program.await_delivered(ways.len() + 1);
    let problems = program.metric("floodway_line_problems_total", &[]);
    assert_eq!(problems, 0.0, "{}", program.metrics());
    assert_eq!(program.metric("floodway_udp_dropped_datagrams_total", &[]), 0.0);
    let stopped = program.stop().cleanly();
    let found = by_program(&stopped.dir().join("out/logs.jsonl"));
    for (name, _) in ways {
        let [record] = &found[name][..] else { panic!("{name}: {found:?}") };
        check(record, &format!("message: by {name}"));
        assert_eq!(record["attributes"]["proc_id"], "12", "{name}");
    }
    let [bare] = &found["bare"][..] else { panic!("{found:?}") };
    assert_eq!(bare["attributes"].get("hostname"), None);
}

/// `pipelines/syslog.yaml` as a user runs it.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn logger_the_example_pipeline_writes_what_it_says() {
    let config = std::fs::read_to_string(root().join("pipelines/syslog.yaml")).unwrap();
    let program = Floodway::start_with(move |ports| {
        let [_, _, _, admin, syslog, ..] = ports;
        let env = [("SYSLOG", syslog), ("ADMIN", admin)];
        let env = env.map(|(name, port)| (name.to_owned(), format!("127.0.0.1:{port}")));
        (config.clone(), env.into())
    });
    let peer = &one_of_each()[0];
    for transport in ["-d", "-T"] {
        let text = format!("lost {}", peer.base58());
        logger(program.port("syslog"), &[transport, "-t", "node", &text]);
    }
    program.await_delivered(2);
    let stopped = program.stop().cleanly();
    let found = by_program(&stopped.dir().join("floodway-data/logs.jsonl"));
    assert_eq!(found["node"].len(), 2);
    assert!(
        found["node"].iter().all(|r| r["body"]["stringValue"].as_str().unwrap().starts_with("lost peer_"))
    );
    Leaks::of([peer]).assert_none_in_folder(&stopped.dir().join("floodway-data"));
}
