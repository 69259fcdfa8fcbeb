//! A sender that meets a full queue waits for room, for as long as the queue says.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use engine::testing::{Answer, Setup};
use engine::{Inlet, QueueSettings, Refusal};
use model::{AckMode, Request, Signal, Writer};
use tokio::time::Instant;

fn request() -> Request {
    let mut writer = Writer::new();
    writer.message(1, |w| w.message(2, |w| w.message(2, |w| w.string(3, "INFO"))));
    Request::written(Signal::Logs, 1, writer)
}

async fn send(inlet: &Inlet) -> Result<(), Refusal> {
    let request = request();
    let mut permit = inlet.permit();
    permit.grow(request.bytes().len()).unwrap();
    inlet.send(request, permit).await
}

fn setup(receiver: &str, max_wait_ms: u64) -> Setup {
    Setup {
        receiver: receiver.to_owned(),
        ack: AckMode::Received,
        signals: vec![Signal::Logs],
        queue: QueueSettings { max_requests: 2, max_wait_ms, ..QueueSettings::default() },
        ..Setup::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_taken_when_room_is_given_back() {
    let (inlet, collected) = setup("room/given", 1000).inlet();
    collected.answer(Answer::Hold);
    send(&inlet).await.unwrap();
    send(&inlet).await.unwrap();
    let late = tokio::spawn({
        let inlet = inlet.clone();
        async move { send(&inlet).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!late.is_finished(), "there is no room yet");
    collected.answer(Answer::Deliver);
    late.await.unwrap().unwrap();
    collected.wait_for(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_refused_after_the_wait_and_at_once_without_one() {
    for wait in [0, 700] {
        let (inlet, collected) = setup("room/refused", wait).inlet();
        collected.answer(Answer::Hold);
        send(&inlet).await.unwrap();
        send(&inlet).await.unwrap();
        let start = Instant::now();
        let refusal = send(&inlet).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.retryable), ("queue_full", true));
        assert_eq!(start.elapsed().as_millis(), u128::from(wait));
        assert_eq!(
            collected.budget().used(),
            2 * request().bytes().len(),
            "the refused request gave its memory back"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_sender_is_told_when_the_engine_stops() {
    let (inlet, collected) = setup("room/stopped", 60_000).inlet();
    collected.answer(Answer::Hold);
    send(&inlet).await.unwrap();
    send(&inlet).await.unwrap();
    let late = tokio::spawn({
        let inlet = inlet.clone();
        async move { send(&inlet).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    collected.close();
    assert_eq!(late.await.unwrap().unwrap_err().reason, "shutting_down");
}
