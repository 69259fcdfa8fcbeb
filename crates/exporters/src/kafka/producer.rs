//! The producer: sends messages, waits for the report on each, and is made anew when its state is broken for good.
//!
//! Reports come on a thread of their own; an `export` waits for them without holding a thread. When the future is dropped, what it has
//! handed to librdkafka stays there until it is delivered or times out.
//!
//! Invariant: for each message there is exactly one outcome, and `Delivered` is said by the brokers alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{BuildError, ComponentMetrics};
use metrics::Counter;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Partitioner, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::messages::Message;

/// How often room in librdkafka's own queue is looked for.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long the last messages may take when the program ends; the delivery loop has settled all by then.
const FLUSH: Duration = Duration::from_secs(2);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All in-sync replicas have it.
    Delivered,
    /// Another try may help.
    Failed(RDKafkaErrorCode),
    /// The message itself is refused.
    Refused(RDKafkaErrorCode),
}

impl Outcome {
    fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code().unwrap_or(Code::Fail) {
            code @ (Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord) => Self::Refused(code),
            // Wrong credentials, an unknown topic and the like are mended at the brokers: the records wait.
            code => Self::Failed(code),
        }
    }

    pub(super) fn is_retryable(self) -> bool {
        matches!(self, Self::Failed(_))
    }

    pub(super) fn message(self) -> String {
        match self {
            Self::Delivered => "delivered".to_owned(),
            Self::Failed(RDKafkaErrorCode::MessageTimedOut) => {
                "not confirmed by the brokers in time; are they up, and enough replicas in sync?".to_owned()
            }
            Self::Failed(code) | Self::Refused(code) => code.to_string(),
        }
    }
}

/// Sends messages.
pub(super) struct Producer {
    config: ClientConfig,
    /// An attempt ends after this.
    timeout: Duration,
    keyed: bool,
    component: String,
    restarts: Counter,
    current: Mutex<Arc<Handle>>,
}

type Threaded = ThreadedProducer<Reports, Spread>;

/// Dropping a producer waits for its thread, so that happens on another one.
struct Handle(Option<Threaded>);

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(producer) = self.0.take() {
            std::thread::spawn(move || drop(producer));
        }
    }
}

impl Producer {
    pub(super) fn new(
        config: ClientConfig,
        timeout: Duration,
        keyed: bool,
        metrics: &ComponentMetrics,
    ) -> Result<Self, BuildError> {
        let component = metrics.id().to_owned();
        let first = connect(&config, keyed, &component).map_err(|error| {
            BuildError::new(format!("cannot make a Kafka producer: {}", kafka_client::explain(&error)))
        })?;
        let restarts = metrics.counter("floodway_kafka_producer_restarts_total", &[]);
        Ok(Self { config, timeout, keyed, component, restarts, current: Mutex::new(Arc::new(first)) })
    }

    /// Sends all messages and waits until each has its outcome.
    pub(super) async fn send(&self, topic: &str, messages: &[Message]) -> Vec<Outcome> {
        let handle = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(producer) = &handle.0 else { return Vec::new() };
        let batch = Arc::new(Batch::of(messages.len()));
        let deadline = Instant::now() + self.timeout;
        for (index, message) in messages.iter().enumerate() {
            self.enqueue(producer, topic, message, &batch, index, deadline).await;
        }
        let outcomes = batch.settled().await;
        let failed = outcomes.iter().any(|outcome| *outcome != Outcome::Delivered);
        if failed && let Some((code, _)) = producer.client().fatal_error() {
            self.replace(&handle, code);
        }
        outcomes
    }

    /// Hands one message to librdkafka, waiting while its queue is full.
    async fn enqueue(
        &self,
        producer: &Threaded,
        topic: &str,
        message: &Message,
        batch: &Arc<Batch>,
        index: usize,
        deadline: Instant,
    ) {
        let key = message.bucket.map(|bucket| bucket.to_string());
        let mut report = Box::new(Report { batch: Arc::clone(batch), index });
        loop {
            let mut record = BaseRecord::<str, [u8], Box<Report>>::with_opaque_to(topic, report)
                .payload(&message.bytes[..]);
            if let Some(key) = &key {
                record = record.key(key.as_str());
            }
            let Err((error, refused)) = producer.send(record) else { return };
            report = refused.delivery_opaque;
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !full || Instant::now() >= deadline {
                return batch.settle(index, Outcome::of(&error));
            }
            sleep(FULL_PAUSE).await;
        }
    }

    /// Puts a new producer in the place of one that can never send again: its sequence numbers no longer fit those of a broker.
    fn replace(&self, broken: &Arc<Handle>, code: RDKafkaErrorCode) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, broken) {
            return;
        }
        let component = self.component.as_str();
        match connect(&self.config, self.keyed, component) {
            Ok(new) => {
                tracing::warn!(component, "the Kafka producer was broken ({code}) and has been made anew");
                self.restarts.increment(1);
                *current = Arc::new(new);
            }
            Err(error) => {
                let why = kafka_client::explain(&error);
                tracing::error!(component, "the Kafka producer is broken and cannot be made anew: {why}");
            }
        }
    }

    pub(super) async fn close(&self) {
        let handle = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let flushed = tokio::task::spawn_blocking(move || {
            handle.0.as_ref().map_or(Ok(()), |producer| producer.flush(FLUSH))
        });
        if let Ok(Err(error)) = flushed.await {
            tracing::debug!(component = self.component, "messages left behind at the end: {error}");
        }
    }
}

fn connect(config: &ClientConfig, keyed: bool, component: &str) -> Result<Handle, KafkaError> {
    let reports = Reports { component: component.to_owned(), spread: keyed.then_some(Spread) };
    config.create_with_context::<_, Threaded>(reports).map(|producer| Handle(Some(producer)))
}

/// The messages of one `export`.
struct Batch {
    left: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
    done: Notify,
}

/// Whose outcome a report is.
struct Report {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    fn of(messages: usize) -> Self {
        Self {
            left: AtomicUsize::new(messages),
            outcomes: Mutex::new(vec![Outcome::Failed(RDKafkaErrorCode::Fail); messages]),
            done: Notify::new(),
        }
    }

    fn settle(&self, index: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *place = outcome;
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    async fn settled(&self) -> Vec<Outcome> {
        while self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Hears of messages and errors, on librdkafka's threads.
struct Reports {
    component: String,
    spread: Option<Spread>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        kafka_client::log(&self.component, level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(component = self.component, "Kafka: {error}: {reason}");
    }
}

impl ProducerContext<Spread> for Reports {
    type DeliveryOpaque = Box<Report>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => Outcome::Delivered,
            Err((error, _)) => Outcome::of(error),
        };
        report.batch.settle(report.index, outcome);
    }

    fn get_custom_partitioner(&self) -> Option<&Spread> {
        self.spread.as_ref()
    }
}

/// Buckets to partitions, evenly.
pub(super) struct Spread;

impl Partitioner for Spread {
    fn partition(&self, _: &str, key: Option<&[u8]>, partitions: i32, _: impl Fn(i32) -> bool) -> i32 {
        let bucket = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| key.parse().ok());
        let bucket: u32 = bucket.unwrap_or_default();
        i32::try_from(bucket % u32::try_from(partitions).unwrap_or(1).max(1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_spread_evenly_and_stay_where_they_are() {
        let of = |key: &str, partitions| Spread.partition("t", Some(key.as_bytes()), partitions, |_| true);
        let mut counts = [0; 8];
        for bucket in 0..64 {
            counts[of(&bucket.to_string(), 8) as usize] += 1;
        }
        assert_eq!(counts, [8; 8]);
        assert_eq!(of("no number", 8), 0);
        assert_eq!(of("5", 1), 0);
    }

    #[tokio::test]
    async fn a_batch_is_settled_when_the_last_message_is() {
        let batch = Arc::new(Batch::of(2));
        let waiting = tokio::spawn({
            let batch = Arc::clone(&batch);
            async move { batch.settled().await }
        });
        batch.settle(1, Outcome::Delivered);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        batch.settle(0, Outcome::Refused(RDKafkaErrorCode::InvalidRecord));
        let outcomes = waiting.await.unwrap();
        assert_eq!(outcomes, [Outcome::Refused(RDKafkaErrorCode::InvalidRecord), Outcome::Delivered]);
    }

    #[test]
    fn only_what_is_wrong_with_the_message_is_final() {
        let of = |code| Outcome::of(&KafkaError::MessageProduction(code)).is_retryable();
        use RDKafkaErrorCode as Code;
        for code in [Code::MessageTimedOut, Code::QueueFull, Code::TopicAuthorizationFailed, Code::Fatal] {
            assert!(of(code), "{code}");
        }
        for code in [Code::MessageSizeTooLarge, Code::InvalidRecord] {
            assert!(!of(code), "{code}");
        }
    }
}
