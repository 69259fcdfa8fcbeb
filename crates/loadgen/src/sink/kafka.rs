//! A real Kafka broker as the place where records come out, and a consumer that counts them.
//!
//! The broker is a process of its own: neither its CPU nor the consumer's is the program's. Values are OTLP in protobuf, as many
//! requests concatenated as the program likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use backends::{Options, Server};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::Shared;
use crate::error::{Error, Result};
use crate::grpc::Signal;
use crate::wire;

/// Topic that the pipeline writes to.
const TOPIC: &str = "otlp_logs";
/// How long one look for a message may take; also how long stopping takes.
const POLL: Duration = Duration::from_millis(100);

/// The broker and the consumer. Both end when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    server: Server,
    stop: Arc<AtomicBool>,
    counting: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts the broker, which takes seconds, and counts what its topic gets.
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self> {
        let started = Server::start("kafka", &Options::default());
        let server = started.map_err(|e| Error::Setting(format!("Kafka: {e}")))?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", server.url())
            .set("group.id", "loadgen")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "true")
            .set("topic.metadata.refresh.interval.ms", "500")
            .create()
            .map_err(|e| Error::Setting(format!("Kafka consumer: {e}")))?;
        consumer.subscribe(&[TOPIC]).map_err(|e| Error::Setting(format!("Kafka consumer: {e}")))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let counting = std::thread::spawn(move || {
            while !stopping.load(Relaxed) {
                // An error: the topic is not there before the first message.
                if let Some(Ok(message)) = consumer.poll(POLL) {
                    count(message.payload().unwrap_or_default(), &shared);
                }
            }
        });
        Ok(Self { server, stop, counting: Some(counting) })
    }

    /// `host:port` of the broker.
    pub(super) fn address(&self) -> String {
        self.server.url().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(counting) = self.counting.take() {
            let _ = counting.join();
        }
    }
}

fn count(value: &[u8], shared: &Shared) {
    let turn = shared.arrived.fetch_add(1, Relaxed);
    match wire::count_records(value) {
        Ok(records) => {
            shared.requests.fetch_add(1, Relaxed);
            shared.bytes.fetch_add(value.len() as u64, Relaxed);
            shared.records[Signal::Logs as usize].fetch_add(records, Relaxed);
        }
        Err(error) => shared.find(|findings| {
            findings.malformed += 1;
            findings.last_error = Some(error.to_string());
        }),
    }
    if shared.check_every != 0 && turn.is_multiple_of(shared.check_every) {
        shared.search(value);
    }
}
