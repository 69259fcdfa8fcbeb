//! The thread that owns the consumer: polls, hands messages to their partitions, commits, and answers rebalances.
//!
//! It never waits for a pipeline, save at a rebalance for a bounded time, so that the group does not take us for dead.
//!
//! Invariant: an offset is committed only from the position of a partition's window, while the partition is ours.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use engine::{BuildError, Inlet, Permit, ReceiverContext, Serving, Shutdown, ShutdownTrigger};
use metrics::{Counter, Gauge};
use model::{AckMode, Signal};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::decode::Decoder;
use super::partition::{Level, Message, Raw, Stalled, Worker};
use kafka_client::Encoding;

/// One wait for messages, when nothing is paused and when something is.
const POLL: Duration = Duration::from_millis(100);
const POLL_PAUSED: Duration = Duration::from_millis(10);
/// Before a consumer that failed for good is made anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long after the drain the last commit and the goodbye to the group may take.
const GOODBYE: Duration = Duration::from_secs(4);
/// The same error is told again after this.
const SAME_ERROR: Duration = Duration::from_secs(60);

/// What a topic holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
}

/// What a partition may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) commit_interval: Duration,
    pub(super) drain: Duration,
}

/// Our place in the group.
pub(super) struct Membership {
    shared: Arc<Shared>,
    config: ClientConfig,
    shutdown: Shutdown,
}

type Consumer = BaseConsumer<Group>;

impl Membership {
    /// Makes the consumer, so that settings that cannot work are an error now; brokers that are away are not.
    pub(super) fn start(
        config: ClientConfig,
        topics: BTreeMap<String, Source>,
        limits: Limits,
        context: ReceiverContext,
    ) -> Result<Serving, BuildError> {
        let counter = |name, labels: &[_]| context.metrics.counter(name, labels);
        let shared = Arc::new(Shared {
            topics,
            limits,
            runtime: Handle::current(),
            inlet: context.inlet.clone(),
            rebalances: counter("floodway_kafka_rebalances_total", &[]),
            late: counter("floodway_kafka_partitions_given_up_late_total", &[]),
            assigned: context.metrics.gauge("floodway_kafka_assigned_partitions", &[]),
            metrics: context.metrics,
            partitions: Mutex::new(BTreeMap::new()),
            broken: AtomicBool::new(false),
            recommit: AtomicBool::new(false),
        });
        let membership = Self { shared, config, shutdown: context.shutdown.clone() };
        let consumer = membership.connect().map_err(|error| {
            BuildError::new(format!("cannot make a Kafka consumer: {}", kafka_client::explain(&error)))
        })?;
        let (ended, end) = oneshot::channel::<()>();
        let patience = limits.drain + GOODBYE;
        let thread = std::thread::Builder::new().name("kafka-consumer".to_owned()).spawn(move || {
            membership.run(consumer);
            // Nobody may wait any more.
            let _ = ended.send(());
        });
        thread.map_err(|error| BuildError::because("cannot start a thread for the Kafka consumer", error))?;
        let shutdown = context.shutdown;
        Ok(Box::pin(async move {
            let late = async {
                shutdown.requested().await;
                tokio::time::sleep(patience).await;
            };
            tokio::select! {
                // A sender that was dropped has panicked: this receiver has ended then.
                _ = end => {}
                () = late => tracing::warn!("the Kafka group could not be left in time; it will notice by itself"),
            }
        }))
    }

    fn connect(&self) -> KafkaResult<Consumer> {
        let group = Group { shared: Arc::clone(&self.shared) };
        let consumer: Consumer = self.config.create_with_context(group)?;
        let topics: Vec<&str> = self.shared.topics.keys().map(String::as_str).collect();
        if !topics.is_empty() {
            consumer.subscribe(&topics)?;
        }
        Ok(consumer)
    }

    fn run(self, mut consumer: Consumer) {
        while let Err(error) = self.poll(&consumer) {
            let component = self.shared.metrics.id();
            tracing::warn!(component, "the Kafka consumer failed ({error}) and is made anew");
            self.shared.give_up(&consumer, None);
            drop(consumer);
            consumer = loop {
                std::thread::sleep(RESTART_PAUSE);
                match self.connect() {
                    Ok(consumer) => break consumer,
                    Err(_) if self.shutdown.is_requested() => return,
                    Err(error) => tracing::warn!(component, "{}", kafka_client::explain(&error)),
                }
            };
        }
        self.shared.give_up(&consumer, None);
        // Dropping it leaves the group.
    }

    /// Works until the shutdown, or until the consumer can no longer.
    fn poll(&self, consumer: &Consumer) -> KafkaResult<()> {
        let shared = &self.shared;
        let mut told: Option<(KafkaError, Instant)> = None;
        let mut committed = Instant::now();
        while !self.shutdown.is_requested() {
            let paused = shared.tend(consumer);
            if shared.broken.swap(false, Ordering::AcqRel) {
                return Err(KafkaError::Canceled);
            }
            match consumer.poll(if paused { POLL_PAUSED } else { POLL }) {
                None => {}
                Some(Ok(message)) => shared.hand_over(consumer, &message),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => {
                    let same =
                        |(last, at): &(KafkaError, Instant)| *last == error && at.elapsed() < SAME_ERROR;
                    if !told.as_ref().is_some_and(same) {
                        tracing::warn!(component = shared.metrics.id(), "Kafka: {error}");
                        told = Some((error, Instant::now()));
                    }
                }
            }
            if committed.elapsed() >= shared.limits.commit_interval {
                committed = Instant::now();
                shared.commit_all(consumer);
            }
        }
        Ok(())
    }
}

/// What the poll thread and its callbacks work with.
struct Shared {
    topics: BTreeMap<String, Source>,
    limits: Limits,
    runtime: Handle,
    inlet: Inlet,
    metrics: engine::ComponentMetrics,
    rebalances: Counter,
    late: Counter,
    assigned: Gauge,
    partitions: Mutex<Partitions>,
    /// A task died: what it held must be read again.
    broken: AtomicBool,
    /// A commit failed: all positions are to be committed again.
    recommit: AtomicBool,
}

/// By topic and number.
type Partitions = BTreeMap<(String, i32), Partition>;

/// A partition that is ours.
struct Partition {
    messages: mpsc::Sender<Message>,
    level: Arc<Level>,
    stop: ShutdownTrigger,
    task: JoinHandle<()>,
    committed: Option<i64>,
    paused: bool,
    stalled: Stalled,
}

impl Shared {
    fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes partitions on.
    fn take_on(&self, list: &TopicPartitionList) {
        self.rebalances.increment(1);
        let mut partitions = self.partitions();
        for element in list.elements() {
            let Some(source) = self.topics.get(element.topic()) else { continue };
            let key = (element.topic().to_owned(), element.partition());
            partitions.entry(key).or_insert_with(|| self.begin(*source));
        }
        self.assigned.set(partitions.len() as f64);
    }

    fn begin(&self, source: Source) -> Partition {
        let (sender, receiver) = mpsc::channel(self.limits.messages);
        let (stop, stopping) = Shutdown::new();
        let level = Arc::new(Level::new());
        let decoder = Decoder::new(source.signal, source.encoding, &self.metrics);
        let worker = Worker::new(self.inlet.clone(), decoder, Arc::clone(&level), receiver, stopping);
        let task = self.runtime.spawn(worker.run());
        Partition {
            messages: sender,
            level,
            stop,
            task,
            committed: None,
            paused: false,
            stalled: Stalled::new(),
        }
    }

    /// Gives up these partitions, or all: waits for what is in flight, and commits.
    fn give_up(&self, consumer: &Consumer, list: Option<&TopicPartitionList>) {
        self.rebalances.increment(1);
        let given: Partitions = match list {
            None => std::mem::take(&mut *self.partitions()),
            Some(list) => {
                let mut partitions = self.partitions();
                let keys = list.elements().into_iter().map(|e| (e.topic().to_owned(), e.partition()));
                keys.filter_map(|key| partitions.remove_entry(&key)).collect()
            }
        };
        self.assigned.set(self.partitions().len() as f64);
        if given.is_empty() {
            return;
        }
        given.values().for_each(|partition| partition.stop.request());
        let deadline = Instant::now() + self.limits.drain;
        let mut positions = TopicPartitionList::new();
        for ((topic, number), mut partition) in given {
            let left = deadline.saturating_duration_since(Instant::now());
            // Within the runtime, since that is whose clock it takes.
            let drained =
                self.runtime.block_on(async { tokio::time::timeout(left, &mut partition.task).await });
            if drained.is_err() {
                partition.task.abort();
                self.late.increment(1);
                tracing::warn!(
                    component = self.metrics.id(),
                    topic,
                    partition = number,
                    "given up before all was delivered (drain_timeout_ms); the rest will be delivered twice"
                );
            }
            // Even what was committed: that may have failed unheard.
            if let Some(position) = partition.level.position() {
                // The list takes any name that was assigned.
                let _ = positions.add_partition_offset(&topic, number, Offset::Offset(position));
            }
        }
        if positions.count() > 0
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&positions, CommitMode::Sync)
        {
            tracing::warn!(
                component = self.metrics.id(),
                "offsets not committed, duplicates will follow: {error}"
            );
        }
    }

    /// Takes a message from the consumer.
    fn hand_over(&self, consumer: &Consumer, message: &BorrowedMessage<'_>) {
        let mut partitions = self.partitions();
        let key = (message.topic().to_owned(), message.partition());
        // Of a partition that has just been given up: its new owner reads it.
        let Some(partition) = partitions.get_mut(&key) else { return };
        let raw = Raw {
            offset: message.offset(),
            payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
            unix_nanos: written_at(message),
        };
        partition.stalled.push_back(raw);
        self.push(partition);
        let full = !partition.stalled.is_empty() || self.is_over(partition, 1);
        if full && !partition.paused {
            partition.paused = set_paused(consumer, &key, true);
        }
    }

    /// Hands the partition what it has room for, in order.
    fn push(&self, partition: &mut Partition) {
        while let Some(raw) = partition.stalled.pop_front() {
            if self.is_over(partition, 1) {
                return partition.stalled.push_front(raw);
            }
            match self.room(raw.payload.len()) {
                Room::Never => {
                    // It would be refused for ever. An empty message stands for it, so that the offset moves on.
                    self.metrics.refused("too_large", 0);
                    partition.stalled.push_front(Raw { payload: Bytes::new(), ..raw });
                }
                Room::Later => return partition.stalled.push_front(raw),
                Room::Now(permit, kept) => {
                    partition.level.add(raw.payload.len());
                    let Raw { offset, payload, unix_nanos } = raw;
                    let message = Message { offset, payload, unix_nanos, permit, kept };
                    // There is room, since messages in the channel count among those in flight: if not, the task has died.
                    if partition.messages.try_send(message).is_err() {
                        self.broken.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    fn room(&self, bytes: usize) -> Room {
        let mut permit = self.inlet.permit();
        if let Err(full) = permit.grow(bytes) {
            return if full.retryable() { Room::Later } else { Room::Never };
        }
        if self.inlet.ack_mode() == AckMode::Received {
            return Room::Now(permit, None);
        }
        let mut kept = self.inlet.permit();
        match kept.grow(bytes) {
            Ok(()) => Room::Now(permit, Some(kept)),
            // Twice its size must fit, since it is kept until it is settled.
            Err(full) if bytes.saturating_mul(2) > full.limit => Room::Never,
            Err(_) => Room::Later,
        }
    }

    fn is_over(&self, partition: &Partition, part: usize) -> bool {
        let (messages, bytes) = partition.level.load();
        messages * part >= self.limits.messages || bytes * part >= self.limits.bytes
    }

    /// Looks after partitions that are paused. Whether there are any.
    fn tend(&self, consumer: &Consumer) -> bool {
        let mut partitions = self.partitions();
        let mut any = false;
        for (key, partition) in partitions.iter_mut().filter(|(_, partition)| partition.paused) {
            self.push(partition);
            // Not at the first message that leaves: what was fetched ahead is thrown away by a pause.
            if partition.stalled.is_empty() && !self.is_over(partition, 2) {
                partition.paused = !set_paused(consumer, key, false);
            }
            any |= partition.paused;
        }
        any
    }

    /// Commits what has moved on, without waiting.
    fn commit_all(&self, consumer: &Consumer) {
        let again = self.recommit.swap(false, Ordering::AcqRel);
        let mut positions = TopicPartitionList::new();
        for ((topic, number), partition) in self.partitions().iter_mut() {
            let position = partition.level.position();
            if position.is_some() && (again || position != partition.committed) {
                partition.committed = position;
                let offset = position.map_or(Offset::Invalid, Offset::Offset);
                let _ = positions.add_partition_offset(topic, *number, offset);
            }
        }
        if positions.count() > 0
            && let Err(error) = consumer.commit(&positions, CommitMode::Async)
        {
            self.commit_failed(&error);
        }
    }

    fn commit_failed(&self, error: &KafkaError) {
        tracing::debug!(component = self.metrics.id(), "offsets not committed, tried again soon: {error}");
        self.recommit.store(true, Ordering::Release);
    }
}

/// Whether there is room for a message in the budget.
enum Room {
    Now(Permit, Option<Permit>),
    Later,
    Never,
}

/// Pauses or resumes a partition; whether that was done.
fn set_paused(consumer: &Consumer, (topic, number): &(String, i32), pause: bool) -> bool {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, *number);
    if pause { consumer.pause(&list) } else { consumer.resume(&list) }.is_ok()
}

fn written_at(message: &BorrowedMessage<'_>) -> u64 {
    let millis = message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
    millis.filter(|millis| *millis > 0).map_or_else(
        || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        },
        |millis| millis.saturating_mul(1_000_000),
    )
}

/// The callbacks of the consumer. They are called by `poll`, and when the consumer is dropped.
struct Group {
    shared: Arc<Shared>,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        kafka_client::log(self.shared.metrics.id(), level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(component = self.shared.metrics.id(), "Kafka: {error}: {reason}");
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.shared.take_on(list),
            Rebalance::Revoke(list) => self.shared.give_up(consumer, Some(list)),
            Rebalance::Error(error) => {
                tracing::warn!(component = self.shared.metrics.id(), "Kafka rebalance: {error}");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.shared.commit_failed(&error);
        }
    }
}
