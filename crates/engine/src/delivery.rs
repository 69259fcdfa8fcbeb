//! How the queue before an exporter and its delivery loop behave: what a user can set. The loop itself is `worker`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::{BuildError, Claim};

/// The longest that a destination's own hint may make us wait.
pub(crate) const LONGEST_HINT: Duration = Duration::from_secs(300);

/// The longest wait between two attempts while the engine stops.
pub(crate) const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How the queue before an exporter and its delivery loop behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// The queue in front of the exporter.
    pub queue: QueueSettings,
    /// What happens when sending fails.
    pub retry: RetrySettings,
    /// The disk buffer behind the queue.
    pub buffer: Option<BufferSettings>,
    /// Where records go that are given up on.
    pub dead_letters: Option<DeadLetterSettings>,
    /// Set by an exporter, never by its user: one call of `export` at a time, in the order of the queue. The exporter itself
    /// sends the parts of one batch that have no order among them `queue.concurrency` at a time.
    #[serde(skip)]
    pub ordered: bool,
}

impl DeliverySettings {
    /// Calls of `export` at one time.
    pub fn workers(&self) -> usize {
        if self.ordered { 1 } else { self.queue.concurrency }
    }
}

/// The queue in front of an exporter, and how it is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Most bytes waiting or in flight. Default 33554432 (32 MiB). Never more than a share of `limits.memory`, which is divided by
    /// the number of exporters and one, so that a destination that is down leaves the others their memory; one request may be
    /// larger.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// Most requests waiting or in flight. Default 4096. At most 1048576.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_requests: usize,
    /// What a full queue does with the next request. Default `refuse`.
    pub on_full: OnFull,
    /// With `on_full: refuse`, how long a request waits for room before its sender is refused: a sender that is slowed down
    /// costs less than one that is turned away and comes back. Milliseconds, default 1000; 0 refuses at once.
    pub max_wait_ms: u64,
    /// Requests sent at the same time. Default 4. At most 256.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: usize,
    /// Requests that wait are merged into one of at most this many bytes; 0 merges nothing. Default 1048576 (1 MiB).
    pub max_request_bytes: usize,
}

/// The disk buffer behind an exporter's queue: what is in it survives a dead destination, a crash and a power cut.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BufferSettings {
    /// A folder of its own, made 0700 if there is none. What an earlier run left in it is delivered.
    pub directory: PathBuf,
    /// The most that it may take of the disk, in bytes. Default 1073741824 (1 GiB). At least 1048576.
    #[serde(default = "one_gib")]
    #[schemars(range(min = 1_048_576))]
    pub max_bytes: u64,
    /// The most requests in it; each costs 40 bytes of memory. Default 1000000.
    #[serde(default = "one_million")]
    #[schemars(range(min = 1))]
    pub max_requests: u64,
    /// What is older is dropped and counted with reason `buffer_expired`. Milliseconds; default none.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// What happens when it is full. Default `refuse`.
    #[serde(default)]
    pub on_full: BufferFull,
    /// How long the first request of a group waits for others that one fsync then makes durable together. Milliseconds, default 0:
    /// what comes during an fsync is the next group. More saves fsyncs and costs as much latency.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub window_ms: u64,
    /// Set by [`GraphSpec::replaying`](crate::GraphSpec::replaying), never by a user: what is not delivered whole stays in the
    /// folder, and is not read again before the next start.
    #[serde(skip)]
    pub replay: bool,
}

/// What a full disk buffer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BufferFull {
    /// The sender is told to wait and try again.
    #[default]
    Refuse,
    /// The oldest requests in it are dropped and counted with reason `buffer_full`.
    DropOldest,
}

/// A folder for the records that an exporter gives up on, each with its reason; `floodway buffer` shows and replays it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterSettings {
    /// A folder of its own, made 0700 if there is none.
    pub directory: PathBuf,
    /// The most that it may take of the disk, in bytes; the oldest letters go first. Default 67108864 (64 MiB). At least 1048576.
    #[serde(default = "sixty_four_mib")]
    #[schemars(range(min = 1_048_576))]
    pub max_bytes: u64,
    /// What is older is dropped. Milliseconds; default none.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
}

fn one_gib() -> u64 {
    1 << 30
}

fn one_million() -> u64 {
    1_000_000
}

fn sixty_four_mib() -> u64 {
    64 << 20
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The sender is told to wait and try again; nothing is lost, and with fan-out no other exporter gets the request either.
    #[default]
    Refuse,
    /// The request is dropped for this exporter alone and counted with reason `queue_full`; the sender is told yes.
    Drop,
}

/// What happens when sending fails for a reason that may pass.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// The wait before the second attempt is a random part of this; it doubles with each attempt. Milliseconds, default 100.
    pub initial_backoff_ms: u64,
    /// The wait grows up to this. Milliseconds, default 30000.
    pub max_backoff_ms: u64,
    /// Give up on a request this long after its first attempt: it is dropped and counted with reason `retries_exhausted`.
    /// Milliseconds; default none: retry for ever, and let the full queue tell the senders to wait.
    pub max_elapsed_ms: Option<u64>,
    /// One attempt may take this long. Milliseconds, default 10000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// After so many failures in a row, whichever request they were of, one attempt at a time is made until the destination
    /// answers: all else waits for it. Default 5; 0: each request is retried by itself.
    pub breaker_failures: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_bytes: 32 << 20,
            max_requests: 4096,
            on_full: OnFull::Refuse,
            max_wait_ms: 1000,
            concurrency: 4,
            max_request_bytes: 1 << 20,
        }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial_backoff_ms: 100,
            max_backoff_ms: 30_000,
            max_elapsed_ms: None,
            timeout_ms: 10_000,
            breaker_failures: 5,
        }
    }
}

impl DeliverySettings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The setting that cannot work, and what it may be.
    pub fn check(&self) -> Result<(), BuildError> {
        let QueueSettings { max_bytes, max_requests, concurrency, .. } = self.queue;
        let RetrySettings { initial_backoff_ms, max_backoff_ms, timeout_ms, .. } = self.retry;
        if max_bytes == 0 {
            return Err(BuildError::new(
                "queue.max_bytes is 0: nothing could ever be sent; 33554432 is the default",
            ));
        }
        if !(1..=1 << 20).contains(&max_requests) {
            return Err(BuildError::new(format!(
                "queue.max_requests is {max_requests}: it must be 1 to 1048576"
            )));
        }
        if !(1..=256).contains(&concurrency) {
            return Err(BuildError::new(format!("queue.concurrency is {concurrency}: it must be 1 to 256")));
        }
        if timeout_ms == 0 {
            return Err(BuildError::new(
                "retry.timeout_ms is 0: every attempt would fail; 10000 is the default",
            ));
        }
        if initial_backoff_ms > max_backoff_ms {
            return Err(BuildError::new(format!(
                "retry.initial_backoff_ms ({initial_backoff_ms}) is more than retry.max_backoff_ms ({max_backoff_ms}): \
                 swap them or raise the latter"
            )));
        }
        self.check_disk()
    }

    fn check_disk(&self) -> Result<(), BuildError> {
        const LEAST: u64 = 1 << 20;
        let too_small = |name: &str, bytes: u64| {
            BuildError::new(format!("{name}.max_bytes is {bytes}: it must be at least {LEAST} (1 MiB)"))
        };
        if let Some(buffer) = &self.buffer {
            if buffer.max_bytes < LEAST {
                return Err(too_small("buffer", buffer.max_bytes));
            }
            if buffer.max_requests == 0 {
                return Err(BuildError::new("buffer.max_requests is 0: nothing could ever be stored"));
            }
            if buffer.window_ms > 1000 {
                return Err(BuildError::new(format!(
                    "buffer.window_ms is {}: every sender would wait that long; it must be at most 1000",
                    buffer.window_ms
                )));
            }
        }
        match &self.dead_letters {
            Some(letters) if letters.max_bytes < LEAST => Err(too_small("dead_letters", letters.max_bytes)),
            _ => Ok(()),
        }
    }

    /// The folders that the engine itself writes for an exporter with these settings.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        let buffer = self.buffer.iter().map(|buffer| &buffer.directory);
        let letters = self.dead_letters.iter().map(|letters| &letters.directory);
        buffer.chain(letters).map(|path| Claim::Path(path.clone()))
    }
}

impl RetrySettings {
    /// How long to wait after failure number `failures` (the first is 0): exponential with full jitter, `random` choosing the
    /// part, but no less than the destination asked for.
    pub(crate) fn delay(&self, failures: u32, hint: Option<Duration>, random: u64) -> Duration {
        let doubled = self.initial_backoff_ms.saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
        let most = u128::from(doubled.min(self.max_backoff_ms)) * 1_000_000;
        let part = (most * u128::from(random)) >> 64;
        let backoff = Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX));
        backoff.max(hint.unwrap_or_default().min(LONGEST_HINT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let retry = RetrySettings { initial_backoff_ms: 100, max_backoff_ms: 1000, ..Default::default() };
        let most: Vec<_> = (0..6).map(|n| retry.delay(n, None, u64::MAX).as_millis()).collect();
        assert_eq!(most, [99, 199, 399, 799, 999, 999]);
        assert!(retry.delay(200, None, u64::MAX) <= Duration::from_secs(1));
    }

    #[test]
    fn jitter_is_full() {
        let retry = RetrySettings::default();
        assert_eq!(retry.delay(3, None, 0), Duration::ZERO);
        assert_eq!(retry.delay(0, None, 1 << 63), Duration::from_millis(50));
    }

    #[test]
    fn a_hint_is_honoured_within_reason() {
        let retry = RetrySettings::default();
        assert_eq!(retry.delay(0, Some(Duration::from_secs(7)), 5), Duration::from_secs(7));
        assert!(retry.delay(9, Some(Duration::from_millis(1)), u64::MAX) > Duration::from_secs(29));
        assert_eq!(retry.delay(0, Some(Duration::from_secs(1 << 40)), 0), LONGEST_HINT);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |change: fn(&mut DeliverySettings)| {
            let mut settings = DeliverySettings::default();
            settings.check().unwrap();
            change(&mut settings);
            settings.check().unwrap_err().message
        };
        assert!(refused(|s| s.queue.max_bytes = 0).contains("queue.max_bytes"));
        assert!(refused(|s| s.queue.max_requests = 0).contains("queue.max_requests"));
        assert!(refused(|s| s.queue.concurrency = 257).contains("1 to 256"));
        assert!(refused(|s| s.retry.timeout_ms = 0).contains("timeout_ms"));
        assert!(refused(|s| s.retry.initial_backoff_ms = 60_000).contains("max_backoff_ms"));
    }

    #[test]
    fn settings_read_from_text_and_unknown_ones_are_refused() {
        let text = r#"{"queue":{"on_full":"drop","concurrency":1},"retry":{"max_elapsed_ms":5}}"#;
        let settings: DeliverySettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.queue.on_full, OnFull::Drop);
        assert_eq!(settings.queue.max_requests, 4096);
        assert_eq!(settings.retry.max_elapsed_ms, Some(5));
        assert!(serde_json::from_str::<DeliverySettings>(r#"{"queue":{"size":1}}"#).is_err());
    }
}
