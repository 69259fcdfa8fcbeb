//! Client and sink against each other: what one counts, the other has counted.
#![expect(clippy::unwrap_used, reason = "the helpers of these tests are not marked as tests themselves")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loadgen::driver::{DriveReport, Driver, DriverConfig, Stop};
use loadgen::grpc::{self, Signal};
use loadgen::payload::{PayloadSet, PayloadSpec};
use loadgen::peers::PeerBook;
use loadgen::sink::{Received, Sink, SinkConfig};

async fn sink(check_every: u64, peers: Option<Arc<PeerBook>>) -> Sink {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Sink::start(SinkConfig { listen, check_every, peers }).await.unwrap()
}

async fn drive(spec: PayloadSpec, sink: &Sink, rate: Option<f64>, stop: Stop) -> DriveReport {
    drive_payloads(PayloadSet::new(spec).unwrap(), sink, rate, stop).await
}

async fn drive_payloads(set: PayloadSet, sink: &Sink, rate: Option<f64>, stop: Stop) -> DriveReport {
    let config = DriverConfig { connections: 2, in_flight: 3, ..DriverConfig::new(sink.addr().to_string()) };
    Driver::connect(config, Arc::new(set)).await.unwrap().run(rate, stop).await
}

fn spec(signal: Signal) -> PayloadSpec {
    PayloadSpec { signal, records_per_request: 100, distinct: 4, ..Default::default() }
}

#[tokio::test]
async fn what_is_sent_is_received_and_counted_once() {
    for (signal, gzip, check_every) in [
        (Signal::Traces, false, 0),
        (Signal::Traces, false, 1),
        (Signal::Logs, false, 3),
        (Signal::Logs, true, 2),
        (Signal::Traces, true, 0),
    ] {
        let sink = sink(check_every, None).await;
        let report = drive(PayloadSpec { gzip, ..spec(signal) }, &sink, None, Stop::Records(2_050)).await;
        assert_eq!((report.accepted_requests, report.accepted_records), (21, 2_100), "{:?}", report.errors);
        assert_eq!((report.failed_requests, report.rejected_records), (0, 0), "{:?}", report.errors);
        let Received { spans, log_records, requests, checked, malformed, .. } = sink.received();
        assert_eq!((requests, malformed), (21, 0));
        assert_eq!((spans, log_records), if signal == Signal::Logs { (0, 2_100) } else { (2_100, 0) });
        assert_eq!(checked, if check_every == 0 { 0 } else { 21u64.div_ceil(check_every) });
        assert!(report.p50_ms > 0.0 && report.p99_ms >= report.p50_ms);
    }
}

#[tokio::test]
async fn the_sink_finds_peers_and_only_known_ones() {
    for gzip in [false, true] {
        let set = PayloadSet::new(PayloadSpec { gzip, ..spec(Signal::Traces) }).unwrap();
        let knowing = sink(1, Some(Arc::clone(&set.peers))).await;
        drive_payloads(set, &knowing, None, Stop::Records(400)).await;
        let received = knowing.received();
        // Four requests of a hundred records, ten of which name one or two peers.
        assert!((40..=80).contains(&received.leaks), "{received:?}");
        assert!(received.first_leak.unwrap().starts_with("12D3KooW"));
    }
    let ignorant = sink(1, Some(Arc::new(PeerBook::new(99, 100)))).await;
    drive(spec(Signal::Traces), &ignorant, None, Stop::Records(400)).await;
    assert_eq!((ignorant.received().checked, ignorant.received().leaks), (4, 0));
    let none = PayloadSet::new(PayloadSpec { peer_percent: 0, ..spec(Signal::Traces) }).unwrap();
    let knowing = sink(1, Some(Arc::clone(&none.peers))).await;
    drive_payloads(none, &knowing, None, Stop::Records(400)).await;
    assert_eq!((knowing.received().checked, knowing.received().leaks), (4, 0));
}

#[tokio::test]
async fn what_is_no_otlp_is_refused_and_counted() {
    for check_every in [0, 1] {
        let sink = sink(check_every, None).await;
        let mut set = PayloadSet::new(spec(Signal::Traces)).unwrap();
        set.requests.truncate(1);
        set.requests[0].framed = grpc::frame(b"\x0a\x7fno", false);
        let report = drive_payloads(set.clone(), &sink, None, Stop::Records(300)).await;
        assert_eq!((report.accepted_requests, report.failed_requests), (0, 3));
        let reason = report.errors.keys().next().unwrap();
        assert!(reason.starts_with("INVALID_ARGUMENT byte 2: a length that goes beyond"), "{reason}");
        assert_eq!((sink.received().malformed, sink.received().records()), (3, 0));
    }
    let sink = sink(0, None).await;
    let mut set = PayloadSet::new(spec(Signal::Traces)).unwrap();
    set.requests.truncate(1);
    set.requests[0].framed = Bytes::from_static(b"\0\0");
    let report = drive_payloads(set, &sink, None, Stop::Records(100)).await;
    assert!(report.errors.keys().next().unwrap().contains("frame header"), "{:?}", report.errors);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let sink = sink(0, None).await;
    let report = drive(spec(Signal::Traces), &sink, Some(5_000.0), Stop::After(Duration::from_secs(1))).await;
    assert!((4_900..=5_100).contains(&report.accepted_records), "{}", report.accepted_records);
    assert_eq!(sink.received().records(), report.accepted_records);
}

#[tokio::test]
async fn a_connection_that_breaks_is_opened_anew() {
    let first = sink(0, None).await;
    let addr = first.addr();
    let set = Arc::new(PayloadSet::new(spec(Signal::Traces)).unwrap());
    let driver = Driver::connect(DriverConfig::new(addr.to_string()), set).await.unwrap();
    assert_eq!(driver.run(None, Stop::Records(400)).await.accepted_records, 400);
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let down = driver.run(None, Stop::Records(400)).await;
    assert_eq!((down.accepted_records, down.failed_requests), (0, 4), "{:?}", down.errors);
    let second = Sink::start(SinkConfig { listen: addr, check_every: 0, peers: None }).await.unwrap();
    let report = driver.run(None, Stop::Records(400)).await;
    assert_eq!(report.accepted_records, 400, "{:?}", report.errors);
    assert_eq!(second.received().records(), 400);
}

#[tokio::test]
async fn settled_waits_for_what_is_under_way_but_not_for_ever() {
    let sink = sink(0, None).await;
    drive(spec(Signal::Logs), &sink, None, Stop::Records(500)).await;
    assert_eq!(sink.settled(500, Duration::from_secs(5)).await.records(), 500);
    assert_eq!(sink.settled(501, Duration::from_millis(100)).await.records(), 500);
}
