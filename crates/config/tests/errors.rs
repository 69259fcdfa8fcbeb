//! What the messages look like, word for word: they are the part of this crate that people meet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
use common::{errors, parse};

const GOOD: &str = "\
receivers:
  otlp:
exporters:
  file: { path: out.jsonl }
pipelines:
  main:
    receivers: [otlp]
    exporters: [file]
";

/// `GOOD` with the receiver's settings replaced.
fn receiver(settings: &str) -> String {
    GOOD.replace("  otlp:\n", &format!("  otlp:\n{settings}"))
}

#[track_caller]
fn same(actual: &str, expected: &str) {
    assert_eq!(actual.trim_end(), expected.trim_matches('\n'), "\n--- actual ---\n{actual}\n---");
}

#[test]
fn a_good_file_is_good() {
    let config = parse(GOOD, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.settings, config::Settings::default());
}

#[test]
fn unknown_field_in_a_component() {
    same(
        &errors(&receiver("    grpc:\n      endpont: 127.0.0.1:4317\n"), &[]),
        "
x.yaml:4:7: unknown field `endpont` in receivers.otlp.grpc; did you mean `endpoint`? (fields here: endpoint, port)
  |
4 |       endpont: 127.0.0.1:4317
  |       ^^^^^^^",
    );
}

#[test]
fn unknown_component_type() {
    same(
        &errors(&GOOD.replace("  file: {", "  fiel: {").replace("[file]", "[fiel]"), &[]),
        "
x.yaml:4:3: unknown exporter type `fiel`; did you mean `file`? (there are: file)
  |
4 |   fiel: { path: out.jsonl }
  |   ^^^^",
    );
}

#[test]
fn unknown_reference() {
    same(
        &errors(&GOOD.replace("[otlp]", "[otpl]"), &[]),
        "
x.yaml:7:17: unknown receiver `otpl` in pipelines.main; did you mean `otlp`? (defined: otlp)
  |
7 |     receivers: [otpl]
  |                 ^^^^",
    );
    same(
        &errors(&GOOD.replace("[otlp]", "[otlp, file]"), &[]),
        "
x.yaml:7:23: `file` is defined as an exporter in pipelines.main, not as a receiver
  |
7 |     receivers: [otlp, file]
  |                       ^^^^",
    );
    same(
        &errors(&GOOD.replace("    exporters: [file]", "    processors: [relabel]\n    exporters: [file]"), &[]),
        "
x.yaml:8:18: the processor `relabel` is not defined in pipelines.main; add `relabel:` with its settings under `processors:`
  |
8 |     processors: [relabel]
  |                  ^^^^^^^",
    );
}

#[test]
fn missing_and_empty_pipelines() {
    let text = errors("receivers:\n  otlp:\nexporters:\n  file: {path: a}\n", &[]);
    assert!(
        text.starts_with("x.yaml: the section `pipelines:` is missing; for example `pipelines: {"),
        "{text}"
    );
    let text = errors("pipelines:\n", &[]);
    assert!(text.starts_with("x.yaml:1:1: there is no pipeline; for example"), "{text}");
    same(
        &errors(&GOOD.replace("    exporters: [file]\n", ""), &[]),
        "
x.yaml:6:3: the pipeline names no exporters in pipelines.main; nothing would go out
  |
6 |   main:
  |   ^^^^",
    );
}

#[test]
fn wrong_types_say_what_is_expected() {
    let cases = [
        (
            "    grpc: { port: abc }\n",
            "x.yaml:3:19: expected a whole number from 0 to 65535 in receivers.otlp.grpc.port, found `abc`",
        ),
        (
            "    grpc: { port: 70000 }\n",
            "x.yaml:3:19: expected a whole number from 0 to 65535 in receivers.otlp.grpc.port, found `70000`",
        ),
        (
            "    grpc: { port: -1 }\n",
            "x.yaml:3:19: expected a whole number of 0 or more in receivers.otlp.grpc.port, found `-1`",
        ),
        (
            "    grpc: 12\n",
            "x.yaml:3:11: expected a map of `name: value` lines in receivers.otlp.grpc, found `12`",
        ),
        (
            "    words: hello\n",
            "x.yaml:3:12: expected a list such as `[a, b]` in receivers.otlp.words, found `hello`",
        ),
        ("    words: [[a]]\n", "x.yaml:3:13: expected text in receivers.otlp.words[0], found a list"),
        ("    on: maybe\n", "x.yaml:3:9: expected `true` or `false` in receivers.otlp.on, found `maybe`"),
        (
            "    ratio: half\n",
            "x.yaml:3:12: expected a number such as `0.5` in receivers.otlp.ratio, found `half`",
        ),
        (
            "    mode: sfae\n",
            "x.yaml:3:11: unknown value `sfae` in receivers.otlp.mode; did you mean `safe`? (allowed: fast, safe)",
        ),
    ];
    for (settings, expected) in cases {
        let text = errors(&receiver(settings), &[]);
        assert!(text.starts_with(expected), "{settings}\nexpected {expected}\ngot      {text}");
    }
}

#[test]
fn missing_fields_stand_at_their_map() {
    same(
        &errors(&GOOD.replace("{ path: out.jsonl }", "{}"), &[]),
        "
x.yaml:4:3: the field `path` is missing and has no default in exporters.file
  |
4 |   file: {}
  |   ^^^^",
    );
}

#[test]
fn duplicate_keys_and_broken_yaml() {
    let text = errors(&GOOD.replace("  otlp:\n", "  otlp:\n  otlp:\n"), &[]);
    assert!(
        text.starts_with("x.yaml:3:3: the key `otlp` stands twice in one map; join the two, or"),
        "{text}"
    );
    let text = errors("receivers: [\n", &[]);
    assert!(text.starts_with("x.yaml:") && text.contains("not valid YAML"), "{text}");
    let text = errors("receivers:\n\totlp:\n", &[]);
    assert!(text.contains("x.yaml:2:"), "{text}");
    assert!(errors("", &[]).contains("empty"), "{}", errors("", &[]));
    assert!(errors("--- 1\n--- 2\n", &[]).contains("second document"), "{}", errors("--- 1\n--- 2\n", &[]));
    assert!(errors("- a\n", &[]).contains("expected a map with `receivers:`"));
}

#[test]
fn unknown_sections() {
    let text = errors(&format!("{GOOD}lmits:\n  memory: 1MiB\n"), &[]);
    assert!(
        text.starts_with("x.yaml:9:1: unknown section `lmits`; did you mean `limits`? (sections: receivers,"),
        "{text}"
    );
    let text = errors(&format!("{GOOD}service:\n  pipelines: {{}}\n"), &[]);
    assert!(text.contains("there is no section `service`; pipelines stand at the top"), "{text}");
}

#[test]
fn settings_are_read_and_checked() {
    let text = format!(
        "{GOOD}limits: {{ memory: 64MiB }}\nlog: {{ level: debug, format: json }}\nruntime: {{ workers: 3 }}\nshutdown: {{ deadline: 5s }}\nadmin: {{ endpoint: '${{A:-127.0.0.1:1}}' }}\n"
    );
    let settings = parse(&text, &[]).unwrap_or_else(|e| panic!("{e}")).settings;
    assert_eq!(settings.limits.memory.0, 64 << 20);
    assert_eq!(settings.runtime.workers.map(u16::from), Some(3));
    assert_eq!(settings.shutdown.deadline.0.as_secs(), 5);
    assert_eq!(settings.log.format, config::LogFormat::Json);
    assert_eq!(settings.admin.endpoint, "127.0.0.1:1");
    let text = errors(&format!("{GOOD}limits: {{ memory: lots }}\n"), &[]);
    assert!(
        text.contains("expected a size such as `256MiB` or a number of bytes in limits.memory, found `lots`"),
        "{text}"
    );
    let text = errors(&format!("{GOOD}shutdown: {{ deadline: 30 }}\n"), &[]);
    assert!(
        text.contains("expected a time with its unit such as `30s` (ms, s, m, h) in shutdown.deadline")
            || text.contains("found `30`"),
        "{text}"
    );
    let text = errors(&format!("{GOOD}runtime: {{ workers: 0 }}\n"), &[]);
    assert!(text.contains("expected a whole number from 1"), "{text}");
}

#[test]
fn all_faults_are_shown_in_the_order_of_the_file() {
    let text =
        receiver("    on: 1\n").replace("{ path: out.jsonl }", "{ paht: x }").replace("[file]", "[fill]");
    let problems = match parse(&text, &[]) {
        Err(problems) => problems,
        Ok(_) => panic!("no error"),
    };
    let lines: Vec<_> = problems.list.iter().map(|p| p.line).collect();
    assert_eq!(lines, [3, 5, 9], "{problems}");
}

#[test]
fn names_and_repeats() {
    let text = errors(&GOOD.replace("otlp", "otlp/a b"), &[]);
    assert!(text.contains("`otlp/a b` is no good name for a receiver"), "{text}");
    let text = errors(&GOOD.replace("[otlp]", "[otlp, otlp]"), &[]);
    assert!(text.contains("`otlp` stands twice in receivers in pipelines.main"), "{text}");
    let text = errors(&GOOD.replace("[otlp]", "otlp"), &[]);
    assert!(text.contains("expected a list of names such as `receivers: [otlp]`"), "{text}");
    let text = errors(&GOOD.replace("    receivers: [otlp]", "    recievers: [otlp]"), &[]);
    assert!(
        text.contains("unknown field `recievers` in pipelines.main; did you mean `receivers`?"),
        "{text}"
    );
}

#[test]
fn terminals_are_not_told_to_do_things() {
    let text = errors("\"\\u001b[31mred\": 1\n", &[]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn what_the_engine_finds_has_its_place_too() {
    let config = parse(&GOOD.replace("  main:", "  metrics:"), &[]).unwrap_or_else(|e| panic!("{e}"));
    let error = engine::graph::Graph::build(config.graph, true).expect_err("the receiver has no metrics");
    let text = config.origin.explain(&error).to_string();
    assert!(
        text.starts_with("x.yaml:6:3: pipeline metrics takes metrics, but receiver otlp deals in"),
        "{text}"
    );
    let config = parse(GOOD, &[]).unwrap_or_else(|e| panic!("{e}"));
    let error = engine::graph::Graph::build(config.graph, true).expect_err("test components are not built");
    let text = config.origin.explain(&error).to_string();
    assert!(text.starts_with("x.yaml:4:3: exporter file: not built in these tests"), "{text}");
}

#[test]
fn a_pipeline_may_name_its_signal() {
    let config = parse(&GOOD.replace("  main:\n", "  main:\n    signal: traces\n"), &[])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.graph.pipelines[0].signal, Some(model::Signal::Traces));
    let text = errors(&GOOD.replace("  main:\n", "  main:\n    signal: trace\n"), &[]);
    assert!(
        text.contains("unknown value `trace` in pipelines.main.signal; did you mean `traces`?"),
        "{text}"
    );
}
