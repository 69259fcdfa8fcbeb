//! The course that all tests of outages take: a destination goes away in the middle of a run and comes back, before a buffer on the
//! disk. Senders notice nothing, and what they were told is kept is found in the destination afterwards.
//!
//! ```text
//! load -> the server is stopped -> load, all of it acknowledged -> (the program is killed and started) -> the server is started
//!      -> load -> all drains -> every acknowledged record is asked for, one by one
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use backends::Server;

use super::numbered::Kind;
use super::program::Floodway;
use super::rng::Rng;
use super::senders::{Load, Senders};
use super::{await_that, books};

const WITHIN: Duration = Duration::from_secs(60);

/// How it goes away.
#[derive(Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) kind: Kind,
    /// Time for a clean end; none: killed.
    pub(crate) grace: Duration,
    /// The program is killed too, while there is nobody to deliver to.
    pub(crate) killed: bool,
}

/// From an OTLP receiver, or remote-write, to this exporter with a buffer.
fn buffering(kind: Kind, exporter: &str) -> Floodway {
    let receiver = match kind {
        Kind::Series => "remote_write: {endpoint: '127.0.0.1:@http@', ack: durable}",
        _ => {
            "otlp: {ack: durable, grpc: {endpoint: '127.0.0.1:@grpc@'}, http: {endpoint: '127.0.0.1:@http@'}}"
        }
    };
    let name = |component: &str| component.split(':').next().unwrap().to_owned();
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  {receiver}
exporters:
  {exporter}, buffer: {{directory: '@dir@/buffer'}}}}
pipelines: {{main: {{receivers: [{}], exporters: [{}]}}}}
",
        name(receiver),
        name(exporter),
    ))
}

/// The whole course, with `exporter` as YAML that lacks its last brace; what was acknowledged.
pub(crate) fn survive(server: &mut Server, outage: Outage, exporter: &str) -> Vec<Range<u64>> {
    let mut program = buffering(outage.kind, exporter);
    let load = Load { kind: outage.kind, senders: 4, most: 5, pause_ms: 100 };
    let senders = Senders::start(load, Rng::new(7));
    let acknowledged_more = |what: &str, records: u64| {
        let before = senders.acknowledged_records();
        await_that(what, WITHIN, || senders.acknowledged_records() >= before + records);
    };
    senders.aim(&program);
    acknowledged_more("acknowledgements at first", 300);
    await_that("the first deliveries", WITHIN, || program.delivered() > 0.0);
    server.interrupt(outage.grace).unwrap();
    acknowledged_more("acknowledgements while the server is away", 400);
    assert_eq!(senders.told_to_wait(), 0, "senders were told to wait");
    senders.hold();
    let owed = books::agree(&program);
    assert!(owed.waiting >= 400.0, "delivered to nobody: {owed:?}");
    if outage.killed {
        senders.nobody_there();
        program = program.kill().start_again();
        let recovered = books::agree(&program).recovered;
        assert!(recovered >= owed.waiting, "{owed:?}, and {recovered} recovered");
        senders.aim(&program);
    }
    server.resume().unwrap();
    senders.go_on();
    acknowledged_more("acknowledgements when the server is back", 200);
    let acknowledged = senders.finish();
    let books = books::drained(&program, WITHIN);
    assert_eq!(books.dropped, 0.0, "{books:?}\n{}", program.log());
    program.stop().cleanly();
    acknowledged
}

/// Fails if something acknowledged is missing; how many came twice.
pub(crate) fn check(what: &str, acknowledged: &[Range<u64>], found: impl IntoIterator<Item = u64>) -> u64 {
    let mut times = BTreeMap::<u64, u64>::new();
    found.into_iter().for_each(|n| *times.entry(n).or_default() += 1);
    let all: Vec<u64> = acknowledged.iter().cloned().flatten().collect();
    let missing: Vec<_> = all.iter().filter(|n| !times.contains_key(n)).collect();
    assert!(missing.is_empty(), "{} of {} records are not in {what}: {missing:?}", missing.len(), all.len());
    let again = times.values().map(|times| times - 1).sum();
    println!("{what}: {} records acknowledged, none lost, {again} there twice", all.len());
    again
}
