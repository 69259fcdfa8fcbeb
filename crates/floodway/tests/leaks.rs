//! Whether a peer can get past the running program: fresh peers in every spelling, in every string field of every signal, by
//! every way in; and a search of the test's own in what was written.
//!
//! Beside the search, every protobuf request is compared as a whole: decoded by prost, and with the peers in it replaced, what went
//! in must be what came out. So a field that redaction misses, cuts or mixes up is found, and so is one that it changes needlessly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use support::grpc::Client;
use support::http;
use support::leaks::{Leaks, count, framed, json_lines};
use support::peers::{Peer, Spelling, base32, one_of_each};
use support::program::{Floodway, KEY, redact_lines};
use support::requests::{self, DATA_POINTS, LOG_RECORDS};

/// JSON lines and protobuf of the same.
const BOTH_FILES: &str = "
exporters:
  file/json: {directory: '@dir@/json'}
  file/proto: {directory: '@dir@/proto', format: otlp_proto}
pipelines:
  main: {receivers: [otlp, logstash], processors: [redact], exporters: [file/json, file/proto]}
";

fn program() -> Floodway {
    Floodway::start(&format!("{}{BOTH_FILES}", support::program::WAYS_IN))
}

/// Texts around an id. Paths only for spellings that fit them.
const AROUND: &[&str] =
    &["{}", "peer {} is gone", "{\"peer\":\"{}\"}", "[{}, {}]", "id={};", "'{}'", "a\n{}\tb"];
const IN_PATHS: &[&str] = &[
    "/ip4/203.0.113.77/tcp/4001/p2p/{}",
    "/p2p/{}/p2p-circuit",
    "dial %2Fp2p%2F{}",
    "/ipns/{}",
    "<peer.ID {}>",
];

fn texts(spelling: &Spelling) -> Vec<String> {
    let paths = if spelling.fits_paths { IN_PATHS } else { &[] };
    AROUND.iter().chain(paths).map(|around| around.replace("{}", &spelling.text)).collect()
}

/// Hands out `texts` one after the other, again and again, from a place of its own.
fn cycle(texts: &[String], from: usize) -> impl FnMut() -> String {
    let mut next = from;
    move || {
        next += 1;
        texts[next % texts.len()].clone()
    }
}

/// What a request must be afterwards, as prost prints it: every text in it replaced as `floodway redact` replaces it.
fn expected(request: &impl Debug, replaced: &BTreeMap<String, String>) -> String {
    let mut printed = format!("{request:?}");
    // Longest first, since one text may stand in another.
    let mut pairs: Vec<_> = replaced.iter().collect();
    pairs.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let inner = |printed: String| printed[1..printed.len() - 1].to_owned();
    for (text, redacted) in pairs {
        let as_text = [text, redacted].map(|text| inner(format!("{text:?}")));
        let as_bytes = [text, redacted].map(|text| inner(format!("{:?}", text.as_bytes())));
        printed = printed.replace(&as_text[0], &as_text[1]).replace(&as_bytes[0], &as_bytes[1]);
    }
    printed
}

fn written<M: Message + Default + Debug>(bytes: &[u8]) -> BTreeSet<String> {
    framed(bytes).iter().map(|request| format!("{:?}", M::decode(*request).unwrap())).collect()
}

/// Sends all three signals once for each spelling of each peer, then compares and searches.
fn send_everywhere(peers: &[Peer], send: impl Fn(&Floodway, &str, &[u8])) {
    let program = program();
    let mut expectations: [BTreeSet<String>; 3] = Default::default();
    let spellings: Vec<Spelling> = peers.iter().flat_map(Peer::spellings).collect();
    let all_texts: Vec<String> = spellings.iter().flat_map(texts).collect();
    // One line each: line breaks in texts are for the running program alone.
    let lines: Vec<String> = all_texts.iter().map(|text| text.replace('\n', "\u{1}")).collect();
    let redacted = redact_lines(&lines).into_iter().map(|line| line.replace('\u{1}', "\n"));
    let replaced: BTreeMap<String, String> = all_texts.iter().cloned().zip(redacted).collect();
    for (text, redacted) in &replaced {
        assert_ne!(text, redacted, "`floodway redact` does not know this spelling");
    }
    for (n, spelling) in spellings.iter().enumerate() {
        let texts = texts(spelling);
        let of_this: BTreeMap<_, _> =
            texts.iter().map(|text| (text.clone(), replaced[text].clone())).collect();
        let traces = requests::traces(&mut cycle(&texts, n));
        let logs = requests::logs(&mut cycle(&texts, n));
        let metrics = requests::metrics(&mut cycle(&texts, n));
        send(&program, "traces", &traces.encode_to_vec());
        send(&program, "logs", &logs.encode_to_vec());
        send(&program, "metrics", &metrics.encode_to_vec());
        expectations[0].insert(expected(&traces, &of_this));
        expectations[1].insert(expected(&logs, &of_this));
        expectations[2].insert(expected(&metrics, &of_this));
    }
    // Two exporters.
    program.await_delivered(2 * spellings.len() * (1 + LOG_RECORDS + DATA_POINTS));
    let stopped = program.stop().cleanly();
    let read = |name: &str| std::fs::read(stopped.dir().join("proto").join(name)).unwrap();
    let found = [
        written::<ExportTraceServiceRequest>(&read("traces.binpb")),
        written::<ExportLogsServiceRequest>(&read("logs.binpb")),
        written::<ExportMetricsServiceRequest>(&read("metrics.binpb")),
    ];
    for (expected, found) in expectations.iter().zip(&found) {
        let mut differing = expected.difference(found).zip(found.difference(expected));
        if let Some((expected, found)) = differing.next() {
            panic!("a request is not what it should be; {}", first_difference(expected, found));
        }
        assert_eq!(expected.len(), found.len());
    }
    let leaks = Leaks::of(peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
    leaks.assert_none("the program's log", stopped.log().as_bytes());
    let json = std::fs::read_to_string(stopped.dir().join("json/traces.jsonl")).unwrap();
    for survivor in requests::SURVIVORS {
        assert!(json.contains(survivor), "{survivor} is lost");
    }
}

fn first_difference(expected: &str, found: &str) -> String {
    let at = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let bytes = &text.as_bytes()[at.saturating_sub(200).min(text.len())..(at + 120).min(text.len())];
        String::from_utf8_lossy(bytes).into_owned()
    };
    format!("expected …{}…\nfound …{}…", around(expected), around(found))
}

#[test]
fn no_peer_gets_through_over_grpc() {
    send_everywhere(&one_of_each(), |program, signal, message| {
        let outcome = Client::connect(program.port("grpc")).export(signal, message);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    });
}

#[test]
fn no_peer_gets_through_over_http_with_gzip() {
    send_everywhere(&one_of_each()[..1], |program, signal, message| {
        let headers = ["Content-Type: application/x-protobuf", "Content-Encoding: gzip"];
        let path = format!("/v1/{signal}");
        let answer = http::post(program.port("http"), &path, &headers, &http::gzip(message));
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
}

/// OTLP's JSON form of each signal; `§` stands for a text.
const JSON: [(&str, &str); 3] = [
    (
        "traces",
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"§","value":{"stringValue":"§"}}],"entityRefs":[{"schemaUrl":"§","type":"§","idKeys":["§"]}]},
        "scopeSpans":[{"scope":{"name":"§","version":"§","attributes":[{"key":"a","value":{"stringValue":"§"}}]},"schemaUrl":"§",
        "spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"§","traceState":"v=§","status":{"message":"§","code":2},
        "attributes":[{"key":"§","value":{"kvlistValue":{"values":[{"key":"§","value":{"arrayValue":{"values":[{"stringValue":"§"}]}}}]}}}],
        "events":[{"name":"§","timeUnixNano":"1","attributes":[{"key":"§","value":{"stringValue":"§"}}]}],
        "links":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","traceState":"v=§","attributes":[{"key":"§","value":{"stringValue":"§"}}]}]}]}],"schemaUrl":"§"}]}"#,
    ),
    (
        "logs",
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"§","value":{"stringValue":"§"}}]},"scopeLogs":[{"scope":{"name":"§"},
        "logRecords":[{"severityText":"§","body":{"stringValue":"§"},"eventName":"§","traceId":"4bf92f3577b34da6a3ce929d0e0e4736"},
        {"body":{"kvlistValue":{"values":[{"key":"§","value":{"arrayValue":{"values":[{"stringValue":"§"},{"kvlistValue":{"values":[{"key":"§","value":{"stringValue":"§"}}]}}]}}}]}}}]}]}]}"#,
    ),
    (
        "metrics",
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"§","description":"§","unit":"§","metadata":[{"key":"§","value":{"stringValue":"§"}}],
        "gauge":{"dataPoints":[{"asDouble":1.5,"attributes":[{"key":"§","value":{"stringValue":"§"}}],
        "exemplars":[{"asInt":"3","filteredAttributes":[{"key":"§","value":{"stringValue":"§"}}]}]}]}},
        {"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"1","bucketCounts":["1"],"attributes":[{"key":"§","value":{"stringValue":"§"}}]}]}}]}]}]}"#,
    ),
];

/// As JSON writes it, or with every character as an escape.
fn quoted(text: &str, escaped: bool) -> String {
    if escaped {
        return text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    }
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

#[test]
fn no_peer_gets_through_as_json_escaped_or_not() {
    let program = program();
    let peers = one_of_each();
    let mut items = 0;
    let spellings: Vec<Spelling> = peers.iter().flat_map(Peer::spellings).collect();
    for (n, spelling) in spellings.iter().enumerate() {
        let texts = texts(spelling);
        let mut say = cycle(&texts, n);
        for (signal, template) in JSON {
            let mut pieces = template.split('§');
            let mut body = pieces.next().unwrap().to_owned();
            pieces.for_each(|piece| body.extend([quoted(&say(), n % 2 == 1).as_str(), piece]));
            let answer = http::post_json(program.port("http"), signal, body.as_bytes());
            assert_eq!(answer.status, 200, "{signal} {body}: {}", answer.text());
            items += if signal == "traces" { 1 } else { 2 };
        }
    }
    program.await_delivered(2 * items);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
    let traces = std::fs::read_to_string(stopped.dir().join("json/traces.jsonl")).unwrap();
    assert_eq!(traces.matches(requests::TRACE_ID).count(), 2 * spellings.len());
    assert!(traces.matches("peer_").count() >= 15 * spellings.len());
}

/// Every part of a message, of both formats, whole and broken; datagrams and both framings; cut by the limit and broken off.
#[test]
fn no_peer_gets_through_as_syslog() {
    const LIMIT: usize = 480;
    let logstash = "logstash: {endpoint: '127.0.0.1:@logstash@'}";
    let at = "endpoint: '127.0.0.1:@logstash@'";
    let syslog = format!("syslog: {{max_message_bytes: {LIMIT}, udp: {{{at}}}, tcp: {{{at}}}}}");
    let ways = support::program::WAYS_IN.replace(logstash, &syslog);
    let program = Floodway::start(&format!("{ways}{}", BOTH_FILES.replace("logstash", "syslog")));
    let peers = one_of_each();
    let mut messages = Vec::new();
    for spelling in peers.iter().flat_map(Peer::spellings) {
        let id = &spelling.text;
        messages.extend([
            format!(
                "<13>1 2026-11-21T10:00:00Z {id} {id} {id} {id} [x@1 k=\"{id}\" l=\"{id} \\\"\"] \u{feff}{id}"
            ),
            format!("<13>1 2026-11-21T10:00:00Z h a - - [{id} {id}=\"x\"] {id}"),
            format!("<13>1 2026-11-21T10:{id} h a - - [x y={id}] {id}"),
            format!("<13>1 2026-11-21T10:00:00Z {id}"),
            format!("<13>Nov 21 10:00:00 {id} {id}[{id}]: {id}, {id}"),
            format!("<13>Nov 21 10:00:00 h {id}: {id}"),
            format!("<{id}> {id}\0"),
        ]);
        // Glued to other text; only `Qm`, two letters, says too little for that.
        if !id.starts_with("Qm") {
            messages.push(format!("<13>1 2026-11-21T{id} h a - - - T{id}"));
        }
        for words in [300, 400, 440] {
            let before = "word ".repeat(words / 5);
            messages.push(format!("<13>Nov 21 10:00:00 h a: {before}{id} {id} {}", "y".repeat(LIMIT)));
        }
    }
    let port = program.port("logstash");
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.connect(("127.0.0.1", port)).unwrap();
    let mut stream = http::connect(port);
    let mut broken_off = 0;
    for (n, message) in messages.iter().enumerate() {
        datagrams.send(message.as_bytes()).unwrap();
        let framed = if n % 2 == 0 { format!("{} {message}", message.len()) } else { format!("{message}\n") };
        stream.write_all(framed.as_bytes()).unwrap();
        if n % 10 == 5 {
            // The end of the connection comes within the last id.
            let part = &message[..message.len() - 12];
            http::connect(port).write_all(format!("{} {part}", message.len()).as_bytes()).unwrap();
            broken_off += 1;
        }
    }
    drop(stream);
    // Two exporters.
    program.await_delivered(2 * (2 * messages.len() + broken_off));
    let cut = program.metric("floodway_line_problems_total", &["problem=\"cut\""]);
    assert!(cut >= (messages.len() * 2 * 3 / 10) as f64, "{cut} were cut");
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
    leaks.assert_none("the program's log", stopped.log().as_bytes());
}

#[test]
fn no_peer_gets_through_as_logstash_lines() {
    let program = program();
    let peers = one_of_each();
    let mut lines = String::new();
    let mut events = 0;
    for spelling in peers.iter().flat_map(Peer::spellings) {
        for text in texts(&spelling) {
            let [plain, escaped] = [false, true].map(|escaped| quoted(&text, escaped));
            lines += &format!(
                "{{\"@timestamp\":\"2026-11-21T10:00:00Z\",\"message\":\"{plain}\",\"level\":\"{escaped}\",\"host\":{{\"name\":\"{plain}\"}},\
                 \"tags\":[\"{plain}\",\"{escaped}\"],\"{escaped}\":[{{\"{plain}\":\"{escaped}\"}}],\"logger\":\"{plain}\"}}\n"
            );
            // Not JSON, a bad timestamp, and no object.
            lines += &format!(
                "{{\"message\":\"{plain}\n{{\"@timestamp\":\"{plain}\",\"message\":\"x\"}}\n\"{escaped}\"\n{plain}\n"
            );
            events += 5;
        }
    }
    let mut stream = http::connect(program.port("logstash"));
    stream.write_all(lines.as_bytes()).unwrap();
    drop(stream);
    program.await_delivered(2 * events);
    assert!(program.metric("floodway_line_problems_total", &["problem=\"json\""]) > 0.0);
    assert!(program.metric("floodway_line_problems_total", &["problem=\"timestamp\""]) > 0.0);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
    let records: usize =
        json_lines(&stopped.dir().join("json/logs.jsonl")).iter().map(|line| count(line, "logRecords")).sum();
    assert_eq!(records, events);
}

/// A line over the limit is cut; an id that is cut with it must go all the same.
#[test]
fn no_peer_gets_through_in_a_line_that_is_cut() {
    const LIMIT: usize = 1024;
    let ways_in = support::program::WAYS_IN.replace(
        "logstash: {endpoint: '127.0.0.1:@logstash@'}",
        &format!("logstash: {{endpoint: '127.0.0.1:@logstash@', max_line_bytes: {LIMIT}}}"),
    );
    let program = Floodway::start(&format!("{ways_in}{BOTH_FILES}"));
    let peers = one_of_each();
    let mut stream = http::connect(program.port("logstash"));
    let mut events = 0;
    for peer in &peers {
        for id in [peer.base58(), peer.base36()] {
            for shown in 1..=id.len() {
                let head = "{\"message\":\"";
                let filler = "x ".repeat(LIMIT);
                let filler = &filler[..LIMIT - shown - head.len() - 1];
                writeln!(stream, "{head}{filler} {id} and more\"}}").unwrap();
                events += 1;
            }
        }
    }
    drop(stream);
    program.await_delivered(2 * events);
    assert_eq!(program.metric("floodway_line_problems_total", &["problem=\"cut\""]), events as f64);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
}

/// SDKs cut attribute values at a length, and connections end in the middle of a line. What is left of an id must go too. (Not of a
/// `Qm...`: two letters are no sign of an id, so only a whole one is known; and the first ten characters of the others tell nobody.)
#[test]
fn no_peer_gets_through_cut_off_by_its_sender() {
    let program = program();
    let peers = &one_of_each()[..2];
    let cut: Vec<String> = peers
        .iter()
        .flat_map(Peer::spellings)
        .filter(|spelling| {
            ["multihash in base58", "CID in base36", "CID in base32"].contains(&spelling.name.as_str())
        })
        .flat_map(|spelling| {
            (1..=spelling.text.len()).map(move |length| format!("to {}", &spelling.text[..length]))
        })
        .collect();
    let outcome = Client::connect(program.port("grpc")).export("logs", &requests::many_logs(&cut));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for text in &cut {
        let line = format!("{{\"message\":\"{text}");
        http::connect(program.port("logstash")).write_all(line.as_bytes()).unwrap();
    }
    program.await_delivered(2 * 2 * cut.len());
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
}

/// Ids in binary, and where only a newer reader would find them: fields that this version does not know.
#[test]
fn no_peer_gets_through_in_binary_or_in_unknown_fields() {
    let program = program();
    let peers = one_of_each();
    let client = Client::connect(program.port("grpc"));
    let mut sent = 0;
    for peer in &peers {
        for form in peer.binary() {
            let bytes = |value: Vec<u8>| KeyValue {
                key: "peer".into(),
                value: Some(AnyValue { value: Some(Value::BytesValue(value)) }),
                ..KeyValue::default()
            };
            let resource = Resource { attributes: vec![bytes(form.clone())], ..Resource::default() };
            let mut request =
                ExportTraceServiceRequest::decode(requests::one_span("binary").as_slice()).unwrap();
            request.resource_spans[0].resource = Some(resource);
            let outcome = client.export("traces", &request.encode_to_vec());
            assert_eq!(outcome.code, 0, "{outcome:?}");
            sent += 1;
        }
        // Field 100 of the request and of a ResourceSpans, length-delimited: tag 0xa2 0x06.
        let unknown =
            |text: &str| [&[0xa2, 0x06, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        for spelling in peer.spellings() {
            let request = requests::one_span("unknown");
            let inner = [ResourceSpans::default().encode_to_vec(), unknown(&spelling.text)].concat();
            let wrapped = [&[0x0a, u8::try_from(inner.len()).unwrap()], inner.as_slice()].concat();
            let message = [request, unknown(&spelling.text), wrapped].concat();
            let outcome = client.export("traces", &message);
            assert_eq!(outcome.code, 0, "{outcome:?}");
            sent += 1;
        }
    }
    program.await_delivered(2 * sent);
    let unknown = program.metric("floodway_redact_unknown_fields_dropped_total", &[]);
    let spellings: usize = peers.iter().map(|peer| peer.spellings().len()).sum();
    assert_eq!(unknown, 2.0 * spellings as f64);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
}

/// Duplicated fields and messages in pieces: what one reader skips, another takes.
#[test]
fn no_peer_gets_through_by_differences_between_readers() {
    let program = program();
    let peers = one_of_each();
    let client = Client::connect(program.port("grpc"));
    let field = |tag: &[u8], body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap();
        // Half of all lengths fit a byte twice as long as it needs to be, which some readers refuse.
        let length =
            if length < 128 { vec![length | 0x80, 0] } else { vec![length & 0x7f | 0x80, length >> 7] };
        [tag, &length, body].concat()
    };
    let mut sent = 0;
    for peer in &peers {
        let id = peer.base58();
        let named = |name: &str| field(&[0x2a], name.as_bytes());
        let spans = [
            // A name twice, in either order; a status in two pieces; an attribute value with two members of its oneof.
            [named(&id), named("shown")].concat(),
            [named("shown"), named(&id)].concat(),
            [field(&[0x7a], &field(&[0x12], id.as_bytes())), field(&[0x7a], &[0x18, 0x02])].concat(),
            field(
                &[0x4a],
                &[
                    field(&[0x0a], b"k"),
                    field(&[0x12], &[field(&[0x0a], id.as_bytes()), vec![0x10, 0x01]].concat()),
                ]
                .concat(),
            ),
            field(
                &[0x4a],
                &[
                    field(&[0x0a], b"k"),
                    field(&[0x12], &[vec![0x10, 0x01], field(&[0x0a], id.as_bytes())].concat()),
                ]
                .concat(),
            ),
            // Broken UTF-8 inside the id's neighbourhood.
            field(&[0x2a], &[&[0xff], id.as_bytes(), &[0xc3]].concat()),
        ];
        for span in spans {
            let scope_spans = field(&[0x12], &field(&[0x12], &span));
            let outcome = client.export("traces", &field(&[0x0a], &scope_spans));
            assert_eq!(outcome.code, 0, "{outcome:?}");
            sent += 1;
        }
    }
    program.await_delivered(2 * sent);
    assert!(program.metric("floodway_repairs_total", &["repair=\"duplicate_field\""]) >= 12.0);
    assert!(program.metric("floodway_repairs_total", &["repair=\"overlong_varint\""]) >= 12.0);
    let stopped = program.stop().cleanly();
    let leaks = Leaks::of(&peers);
    leaks.assert_none_in_folder(&stopped.dir().join("proto"));
    leaks.assert_none_in_folder(&stopped.dir().join("json"));
}

/// The formula in the documentation, computed here: HMAC-SHA-256(key, "floodway1" 00 "libp2p" 00 multihash), 80 bits in base32.
#[test]
fn all_spellings_of_a_peer_have_the_documented_pseudonym() {
    let key: Vec<u8> =
        (0..KEY.len()).step_by(2).map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).unwrap()).collect();
    for peer in one_of_each() {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"floodway1\0libp2p\0");
        mac.update(peer.multihash());
        let expected = base32(&mac.finalize().into_bytes()[..10]);
        let spellings = peer.spellings();
        let texts: Vec<String> = spellings.iter().map(|spelling| spelling.text.clone()).collect();
        for (spelling, redacted) in spellings.iter().zip(redact_lines(&texts)) {
            let rest =
                redacted.strip_prefix("peer_").unwrap_or_else(|| panic!("{}: {redacted}", spelling.name));
            assert_eq!(&rest[2..], format!("_{expected}"), "{}: {}", spelling.name, spelling.text);
        }
    }
}

/// The search itself must find what it is for.
#[test]
fn the_search_finds_peers_in_every_disguise() {
    for peer in one_of_each() {
        let leaks = Leaks::of([&peer]);
        for spelling in peer.spellings() {
            let own = &spelling.text[spelling.fixed..];
            assert!(own.len() > 25, "{spelling:?}");
            assert!(leaks.find(format!("a{}b", &own[3..13]).as_bytes()).is_some(), "{spelling:?}");
            let other = Peer::fresh(support::peers::Kind::Ed25519);
            assert!(other.spellings().iter().all(|other| leaks.find(other.text.as_bytes()).is_none()));
        }
        for form in peer.binary() {
            assert!(leaks.find(&form).is_some());
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(&form);
            assert!(leaks.find_in_json(&serde_json::json!({"a": [{"bytesValue": text}]})).is_some());
        }
    }
}
