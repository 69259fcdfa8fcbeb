//! What is wrong with a graph is said before it runs, with the place and the likely fix.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Conduct, Destination, Does, Rig, Source, books, logs, request};
use engine::{Claim, Graph, GraphError};
use model::{AckMode, Signal};

const LOGS: &[Signal] = &[Signal::Logs];
const TRACES: &[Signal] = &[Signal::Traces];

fn rig() -> Rig {
    let none = Does::new(|request| Ok(Some(request)));
    Rig::new()
        .receiver("in", &Source::default())
        .processor("same", &none)
        .exporter("out", &Destination::taking())
}

fn fault(rig: Rig) -> (GraphError, String) {
    let error = Graph::build(rig.spec, true).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn references_must_lead_somewhere() {
    let (error, text) = fault(rig().pipeline("main", "inn", "", "out"));
    assert!(matches!(error, GraphError::Unknown { .. }));
    assert_eq!(text, "pipeline main names receiver inn, which is not configured; configured receivers: in");
    assert!(fault(rig().pipeline("main", "in", "same redact", "out")).1.contains("processor redact"));
    assert!(fault(rig().pipeline("main", "in", "", "out file")).1.contains("exporter file"));
    assert!(fault(rig().pipeline("main", "in", "", "")).1.contains("has no exporter"));
    assert!(fault(rig().pipeline("main", "", "", "out")).1.contains("has no receiver"));
    assert!(fault(rig().pipeline("main", "in in", "", "out")).1.contains("receiver in twice"));
    assert!(fault(rig()).1.contains("no pipeline"));
}

#[test]
fn keys_are_unique() {
    let rig_with = |name: &str| rig().pipeline(name, "in", "", "out").pipeline("main", "in", "", "out");
    assert!(fault(rig_with("main")).1.contains("pipeline main is defined twice"));
    assert!(Graph::build(rig_with("other").spec, true).is_ok());
    let twice = rig().receiver("in", &Source::default()).pipeline("main", "in", "", "out");
    assert!(fault(twice).1.contains("receiver in is defined twice"));
}

#[test]
fn a_processor_may_stand_twice() {
    assert!(Graph::build(rig().pipeline("main", "in", "same same", "out").spec, true).is_ok());
}

#[test]
fn a_pipelines_name_fixes_its_signal() {
    let rig = || rig().exporter_of("logs_only", &Destination::taking(), LOGS);
    let (error, text) = fault(rig().pipeline("traces/main", "in", "", "logs_only"));
    assert!(matches!(error, GraphError::SignalMismatch { .. }));
    assert_eq!(text, "pipeline traces/main takes traces, but exporter logs_only deals in logs only");
    assert!(Graph::build(rig().pipeline("logs", "in", "", "logs_only").spec, true).is_ok());
    let mut by_setting = rig().pipeline("main", "in", "", "logs_only");
    by_setting.spec.pipelines[0].signal = Some(Signal::Metrics);
    assert!(fault(by_setting).1.contains("takes metrics"));
}

#[test]
fn otherwise_it_takes_what_its_components_share() {
    let rig = rig().receiver_of("lines", &Source::default(), LOGS);
    let rig = rig.processor_of("spans", &Does::new(|r| Ok(Some(r))), TRACES);
    let graph = Graph::build(rig.pipeline("main", "in", "spans", "out").spec, true).unwrap();
    let warnings = graph.warnings().join("\n");
    assert!(warnings.contains("pipeline main takes no logs, since processor spans cannot"), "{warnings}");
    assert!(warnings.contains("receiver lines is configured, but no pipeline names it"), "{warnings}");
    assert!(warnings.contains("processor same"), "{warnings}");
}

#[test]
fn a_pipeline_that_could_take_nothing_is_refused() {
    let rig = rig().receiver_of("lines", &Source::default(), LOGS);
    let rig = rig.processor_of("spans", &Does::new(|r| Ok(Some(r))), TRACES);
    let (error, text) = fault(rig.pipeline("main", "in lines", "spans", "out"));
    assert!(matches!(error, GraphError::NoSignal { .. }));
    assert!(text.contains("receiver lines: logs") && text.contains("processor spans: traces"), "{text}");
}

#[test]
fn claims_must_not_clash() {
    let tcp = |address: &str| Source { claims: vec![Claim::Tcp(address.to_owned())], ..Source::default() };
    let rig = |other: &str| {
        let rig = Rig::new().receiver("one", &tcp("127.0.0.1:4317")).receiver("two", &tcp(other));
        let rig = rig.exporter("out", &Destination::taking());
        rig.pipeline("main", "one two", "", "out")
    };
    let (error, text) = fault(rig("0.0.0.0:4317"));
    assert!(matches!(error, GraphError::Clash { .. }));
    assert!(
        text.contains("receiver one") && text.contains("receiver two") && text.contains("0.0.0.0:4317"),
        "{text}"
    );
    assert!(Graph::build(rig("127.0.0.1:4318").spec, true).is_ok());
    let mut admin = rig("127.0.0.1:4318");
    admin.spec.reserved.push(("the admin port".to_owned(), Claim::Tcp("127.0.0.1:4318".to_owned())));
    assert!(fault(admin).1.contains("the admin port and receiver two"));
    let file = Destination { claims: vec![Claim::Path("data/x".into())], ..Destination::taking() };
    let files = Rig::new().receiver("in", &Source::default()).exporter("a", &file).exporter("b", &file);
    assert!(fault(files.pipeline("main", "in", "", "a b")).1.contains("exporter a and exporter b"));
}

#[test]
fn what_is_not_used_claims_nothing() {
    let source = Source { claims: vec![Claim::Tcp("127.0.0.1:4317".to_owned())], ..Source::default() };
    let rig =
        Rig::new().receiver("one", &source).receiver("two", &source).exporter("out", &Destination::taking());
    assert!(Graph::build(rig.pipeline("main", "two", "", "out").spec, true).is_ok());
}

#[test]
fn durable_needs_a_disk_buffer() {
    let rig =
        Rig::new().receiver("in", &Source::new(AckMode::Durable)).exporter("out", &Destination::taking());
    let (_, text) = fault(rig.pipeline("main", "in", "", "out"));
    assert!(
        text.contains("ack: durable") && text.contains("`received`") && text.contains("`delivered`"),
        "{text}"
    );
}

#[test]
fn settings_that_cannot_work_name_their_exporter() {
    let destination = Destination::taking().with(|s| s.queue.concurrency = 0);
    let rig = Rig::new().receiver("in", &Source::default()).exporter("out", &destination);
    let (_, text) = fault(rig.pipeline("main", "in", "", "out"));
    assert_eq!(text, "exporter out: queue.concurrency is 0: it must be 1 to 256");
}

#[tokio::test]
async fn a_receiver_that_cannot_bind_is_named_and_the_others_are_let_go() {
    let (good, bad) = (Source::default(), Source { conduct: Conduct::CannotBind, ..Source::default() });
    let rig =
        Rig::new().receiver("good", &good).receiver("bad", &bad).exporter("out", &Destination::taking());
    let graph = Graph::build(rig.pipeline("main", "good bad", "", "out").spec, false).unwrap();
    let error = graph.start().await.unwrap_err();
    assert_eq!(error.to_string(), "receiver bad could not start: address in use");
    assert!(good.was_started());
}

#[tokio::test]
async fn processors_are_built_per_pipeline_and_exporters_once() {
    let (source, destination) = (Source::default(), Destination::taking());
    let same = Does::new(|request| Ok(Some(request)));
    let rig = Rig::new()
        .receiver("shared/in", &source)
        .processor("same", &same)
        .exporter("shared/out", &destination);
    let rig = rig.pipeline("traces", "shared/in", "same", "shared/out");
    let running = rig.pipeline("logs", "shared/in", "same", "shared/out").start().await;
    assert_eq!(same.builds.load(Ordering::SeqCst), 2);
    assert_eq!(destination.builds(), 1);
    source.send(logs(1, "a")).await.unwrap();
    source.send(request(Signal::Traces, 1, "a")).await.unwrap();
    running.stop(Duration::from_secs(5)).await;
    assert_eq!(books("shared/out").delivered, 2);
    assert_eq!(destination.shutdowns(), 1);
}
