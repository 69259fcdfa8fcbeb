//! Logstash's JSON lines, spoken as `nc` and winston-logstash do.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write as _;
use std::time::{Duration, Instant};

use common::{Running, body, connect, eventually, records, send_lines, setup, tags};
use engine::QueueSettings;
use engine::testing::{self, Answer, Setup};
use serde_json::{Value, json};

async fn start(setup: Setup) -> Running {
    start_with(setup, json!({})).await
}

async fn start_with(setup: Setup, settings: Value) -> Running {
    Running::start("logstash", setup, |addr| {
        let mut settings = settings.clone();
        settings["endpoint"] = json!(addr);
        settings
    })
    .await
}

#[tokio::test]
async fn a_line_in_many_packets_is_one_event() {
    let running = start(setup("ls_split")).await;
    let back = send_lines(running.addr, &[b"{\"mess", b"age\":\"te", b"st\"}", b"\n"]).await;
    assert!(back.is_empty(), "TCP input answers nothing: {back:?}");
    let got = records(&running.collected.wait_for(1).await);
    assert_eq!(got.len(), 1);
    assert_eq!(body(&got[0]), "test");
    assert!(got[0].time_unix_nano > 1_700_000_000_000_000_000);
    running.stop().await;
}

#[tokio::test]
async fn fields_become_attributes_and_the_last_line_needs_no_line_break() {
    let running = start(setup("ls_fields")).await;
    let lines = concat!(
        r#"{"@timestamp":"2026-03-01T12:00:00.123Z","level":"warn","message":"slow","tags":["swarm"],"net":{"rtt":7}}"#,
        "\r\n\n",
        r#"{"message":"last"}"#
    );
    send_lines(running.addr, &[lines.as_bytes()]).await;
    let got = records(&running.collected.wait_for(2).await);
    assert_eq!(got.len(), 2);
    assert_eq!((body(&got[0]).as_str(), got[0].severity_text.as_str()), ("slow", "warn"));
    assert_eq!(got[0].time_unix_nano, 1_772_366_400_123_000_000);
    assert_eq!(tags(&got[0]), ["swarm"]);
    assert!(got[0].attributes.iter().any(|a| a.key == "net"));
    assert_eq!(body(&got[1]), "last");
}

#[tokio::test]
async fn bad_lines_become_tagged_events_and_are_counted() {
    let running = start_with(setup("ls_bad"), json!({"max_line_bytes": 1024})).await;
    let long = format!("{{\"message\":\"{}\"}}\n", "long ".repeat(1000));
    let pieces: [&[u8]; 5] = [
        b"this is { not json\n",
        b"{\"@timestamp\":\"yesterday\",\"message\":\"when\"}\n",
        long.as_bytes(),
        b"{\"message\":\"caf\xe9\"}\n",
        b"{\"message\":\"fine\"}\n",
    ];
    send_lines(running.addr, &pieces).await;
    let got = records(&running.collected.wait_for(5).await);
    assert_eq!(got.len(), 5);
    assert_eq!(
        (body(&got[0]), tags(&got[0])),
        ("this is { not json".into(), vec!["_jsonparsefailure".to_owned()])
    );
    assert_eq!((body(&got[1]), tags(&got[1])), ("when".into(), vec!["_timestampparsefailure".to_owned()]));
    assert!(tags(&got[2]).contains(&"_line_cut".to_owned()), "{:?}", got[2]);
    assert!(body(&got[2]).len() <= 1024 && body(&got[2]).len() > 700);
    assert_eq!(body(&got[3]), "caf\u{fffd}");
    assert_eq!((body(&got[4]), tags(&got[4]).len()), ("fine".into(), 0));
    for (problem, expected) in [("json", 2), ("timestamp", 1), ("cut", 1), ("invalid_utf8", 1)] {
        let counted = running.counter("floodway_line_problems_total", ("problem", problem));
        assert_eq!(counted, expected, "{problem}");
    }
    assert_eq!(running.counter("floodway_accepted_items_total", ("signal", "logs")), 5);
}

#[tokio::test]
async fn a_flood_makes_few_batches_and_loses_nothing() {
    let running = start(setup("ls_flood")).await;
    let lines: String = (0..1000).map(|n| format!("{{\"message\":\"event {n}\"}}\n")).collect();
    send_lines(running.addr, &[lines.as_bytes()]).await;
    let requests = running.collected.wait_for(1000).await;
    assert!(requests.len() <= 20, "{} batches", requests.len());
    let got: Vec<_> = records(&requests).iter().map(body).collect();
    let sent: Vec<_> = (0..1000).map(|n| format!("event {n}")).collect();
    assert_eq!(got, sent);
    running.budget_is_free().await;
}

#[tokio::test]
async fn while_the_queue_is_full_the_connection_is_not_read_and_nothing_is_lost() {
    let queue = QueueSettings { max_requests: 2, ..QueueSettings::default() };
    let running = start(Setup { queue, ..setup("ls_pressure") }).await;
    running.collected.answer(Answer::Hold);
    let addr = running.addr;
    // More than the kernel's buffers of both sides take.
    const LINES: usize = 40_000;
    let sending = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        let padding = "x".repeat(1000);
        for n in 0..LINES {
            let line = format!("{{\"message\":\"{n}\",\"p\":\"{padding}\"}}\n");
            socket.write_all(line.as_bytes()).unwrap();
        }
    });
    eventually("it is read", || running.collected.budget().used() > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sending.is_finished(), "40 MB were read into a queue of two requests");
    assert!(running.collected.budget().used() < 4 << 20);
    running.collected.answer(Answer::Deliver);
    sending.await.unwrap();
    eventually("all lines arrived", || running.collected.items() >= LINES).await;
    let got = records(&running.collected.requests());
    assert!(got.iter().map(body).eq((0..LINES).map(|n| n.to_string())));
    running.budget_is_free().await;
}

#[tokio::test]
async fn a_sender_gone_in_the_middle_of_a_line_leaves_what_it_sent() {
    let running = start(setup("ls_gone")).await;
    send_lines(running.addr, &[b"{\"message\":\"whole\"}\n{\"message\":\"ha"]).await;
    let got = records(&running.collected.wait_for(2).await);
    assert_eq!(body(&got[0]), "whole");
    assert_eq!(tags(&got[1]), ["_jsonparsefailure"]);
    running.budget_is_free().await;
    let open = || testing::counters().gauge("floodway_open_connections", &[("component", "ls_gone")]);
    eventually("the connection is closed", || open() == 0.0).await;
}

#[tokio::test]
async fn a_line_that_never_ends_is_ended_even_when_it_dribbles() {
    let running = start_with(setup("ls_loris"), json!({"line_timeout_ms": 500})).await;
    let addr = running.addr;
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        socket.write_all(b"{\"message\":\"first\"}\n").unwrap();
        // Between lines silence is allowed.
        std::thread::sleep(Duration::from_millis(700));
        while socket.write_all(b"x").is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(8), "it may go on for ever");
            std::thread::sleep(Duration::from_millis(50));
        }
    })
    .await
    .unwrap();
    assert!(begun.elapsed() > Duration::from_millis(1100), "ended between two lines");
    let got = records(&running.collected.wait_for(2).await);
    assert_eq!(body(&got[0]), "first");
    assert!(body(&got[1]).starts_with("xxx"));
}

#[tokio::test]
async fn unfinished_lines_are_under_the_budget() {
    let setup = Setup { budget_bytes: 400_000, ..setup("ls_budget") };
    let running = start_with(setup, json!({"line_timeout_ms": 1500})).await;
    let addr = running.addr;
    let part = vec![b'x'; 300_000];
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let mut socket = connect(addr);
            let part = part.clone();
            tokio::task::spawn_blocking(move || {
                let sent = socket.write_all(&part).and_then(|()| socket.write_all(b"\n"));
                (sent.is_ok(), socket)
            })
        })
        .collect();
    eventually("the budget is used", || running.collected.budget().used() > 100_000).await;
    assert!(running.collected.budget().used() <= 400_000);
    for sender in senders {
        sender.await.unwrap();
    }
    // Those that found no room in time were taken as far as they were read: four events, and the budget is free again.
    assert!(running.collected.wait_for(4).await.len() >= 4);
    running.budget_is_free().await;
}

#[tokio::test]
async fn stopping_takes_what_was_sent_and_ends_soon() {
    let queue = QueueSettings { max_requests: 1, ..QueueSettings::default() };
    let running = start(Setup { queue, ..setup("ls_stop") }).await;
    running.collected.answer(Answer::Hold);
    let mut idle = connect(running.addr);
    idle.write_all(b"{\"message\":\"one\"}\n").unwrap();
    let used = || running.collected.budget().used();
    eventually("the first is taken", || used() > 0).await;
    let first = used();
    idle.write_all(b"{\"message\":\"two\"}\n").unwrap();
    eventually("the second waits", || used() > first).await;
    idle.write_all(b"{\"message\":\"three\"}\n{\"message\":\"four\"}").unwrap();
    running.request_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.collected.answer(Answer::Deliver);
    let collected = running.collected.clone();
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    let got: Vec<_> = records(&collected.requests()).iter().map(body).collect();
    assert_eq!(got, ["one", "two", "three", "four"]);
    assert_eq!(collected.budget().used(), 0);
}

#[tokio::test]
async fn a_closed_queue_ends_the_connection_and_the_events_are_counted() {
    let running = start(setup("ls_closed")).await;
    running.collected.close();
    send_lines(running.addr, &[b"{\"message\":\"late\"}\n"]).await;
    eventually("the refusal is counted", || running.refused("shutting_down") == 1).await;
    assert!(running.collected.requests().is_empty());
    running.budget_is_free().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_counted() {
    let running = start_with(setup("ls_limit"), json!({"max_connections": 1})).await;
    let mut first = connect(running.addr);
    first.write_all(b"{\"message\":\"a\"}\n").unwrap();
    running.collected.wait_for(1).await;
    assert!(send_lines(running.addr, &[b"{\"message\":\"b\"}\n"]).await.is_empty());
    let refused = || running.counter("floodway_refused_connections_total", ("reason", "max_connections"));
    eventually("the refusal is counted", || refused() == 1).await;
    first.write_all(b"{\"message\":\"c\"}\n").unwrap();
    assert_eq!(running.collected.wait_for(2).await.len(), 2);
}
