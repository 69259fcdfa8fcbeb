//! Dead letters: a folder for what an exporter gives up on, each payload with its reason.
//!
//! ```text
//! delivery loop: post (room by bytes, never blocks a thread) --> writer's thread: write, one fsync for all --> answer
//!                Posted   <------------------------------------------------------------------------------------'
//!                then the request is settled
//! ```
//! The folder is a log of crate `buffer` whose oldest records go first; a letter is `stored::encode_letter`. Payloads stand behind the
//! processors: what is written is redacted.
//!
//! Invariants:
//! - What cannot be written is counted and said, and is no error for the delivery.
//! - Letters that wait for the disk hold at most [`WAITING_BYTES`], or one letter: who has more waits, and with it its queue.
//! - A folder is open once in a process, however many exporters of a reload write to it; the limits of the last one hold.
//!
//! It does not read letters: `floodway buffer` does. What ages out stays on the disk until its whole segment has.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use buffer::{Drops, Error, FileStorage, Log, OnFull, Options, Writer, WriterOptions};
use metrics::Gauge;
use model::Payload;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};

use crate::component::{BuildError, Rejected};
use crate::delivery::DeadLetterSettings;
use crate::metrics::{ByReason, ComponentMetrics, names};
use crate::stored::encode_letter;

/// What letters hold that wait for the disk, in all, before who has another one waits.
const WAITING_BYTES: usize = 16 << 20;
/// In these units, of which each letter takes one at least.
const UNIT: usize = 16 << 10;
/// What the writer takes in: every letter that has room, and notes. So it is never busy.
const WAITING: usize = WAITING_BYTES / UNIT + 16;

/// Most letters in a folder; each costs 40 bytes of memory.
const MAX_LETTERS: u64 = 200_000;

/// How long a folder that this process is just closing is waited for.
const CLOSING: Duration = Duration::from_secs(5);

/// What is in an exporter's folder of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LetterFill {
    /// Records, also of earlier runs.
    pub items: u64,
    /// Bytes of disk.
    pub bytes: u64,
}

/// A payload that was given up on, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Letter {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) payload: Payload,
}

/// A letter on its way to the disk. Resolves when it is durable, or lost.
pub(crate) type Posted = oneshot::Receiver<()>;

/// The dead letters of one exporter.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    folder: Arc<Folder>,
    books: Arc<Books>,
}

/// What is counted of one exporter.
#[derive(Debug)]
struct Books {
    metrics: ComponentMetrics,
    written: ByReason,
    lost: ByReason,
    stored_items: Gauge,
    stored_bytes: Gauge,
    /// The last letter was lost, which was said.
    failing: AtomicBool,
}

/// An open folder.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    writer: Writer<FileStorage>,
    /// What may wait, in [`UNIT`]s.
    room: Arc<Semaphore>,
    /// What has been counted of the log's own drops.
    drops: Mutex<Drops>,
}

/// The folders that are open.
static OPEN: Mutex<Vec<(PathBuf, Weak<Folder>)>> = Mutex::new(Vec::new());

impl DeadLetters {
    /// Opens the folder, or joins those who have it open. Reads what is in it, so it may take a while. Within a tokio runtime, if letters
    /// are to age while it is open.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked.
    pub(crate) fn open(
        settings: &DeadLetterSettings,
        metrics: &ComponentMetrics,
    ) -> Result<Self, BuildError> {
        let folder = Folder::join(settings)
            .map_err(|error| BuildError::because(format!("dead_letters: {error}"), error))?;
        let books = Books {
            metrics: metrics.clone(),
            written: ByReason::new(names::DEAD_LETTERS_ITEMS),
            lost: ByReason::new(names::DEAD_LETTERS_LOST_ITEMS),
            stored_items: metrics.gauge(names::DEAD_LETTERS_STORED_ITEMS, &[]),
            stored_bytes: metrics.gauge(names::DEAD_LETTERS_STORED_BYTES, &[]),
            failing: AtomicBool::new(false),
        };
        let letters = Self { folder, books: Arc::new(books) };
        look(&letters.folder, &letters.books);
        letters.tend(settings.max_age_ms);
        Ok(letters)
    }

    /// Has letters that are too old dropped as long as the folder is open.
    fn tend(&self, max_age_ms: Option<u64>) {
        let (Some(age), Ok(runtime)) = (max_age_ms, tokio::runtime::Handle::try_current()) else { return };
        let every =
            Duration::from_millis(age / 10).clamp(Duration::from_millis(100), Duration::from_secs(60));
        let (folder, books) = (Arc::downgrade(&self.folder), Arc::clone(&self.books));
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(folder) = folder.upgrade() else { return };
                let books = Arc::clone(&books);
                let _ = tokio::task::spawn_blocking(move || {
                    folder.writer.expire(now_ms());
                    look(&folder, &books);
                })
                .await;
            }
        });
    }

    /// Hands over a letter, waiting while too much of others waits for the disk.
    pub(crate) async fn post(&self, letter: &Letter) -> Posted {
        let (tag, bytes) = encode_letter(letter.reason, &letter.message, &letter.payload);
        let units = (bytes.len() / UNIT + 1).min(WAITING_BYTES / UNIT) as u32;
        // The semaphore is never closed; without room the letter is simply not held back.
        let room = Arc::clone(&self.folder.room).acquire_many_owned(units).await.ok();
        let (told, posted) = oneshot::channel();
        let (books, reason, items) = (Arc::clone(&self.books), letter.reason, letter.payload.items());
        let answer = move |result: Result<_, Error>| {
            books.settle(reason, items as u64, result.err().as_ref());
            drop(room);
            let _ = told.send(());
        };
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.folder.writer.try_append(None, now_ms(), tag, items, bytes, Box::new(answer));
        posted
    }

    /// Counts what is in the folder now, and what went from it.
    pub(crate) fn look(&self) {
        look(&self.folder, &self.books);
    }

    /// What is in the folder.
    pub(crate) fn fill(&self) -> LetterFill {
        let writer = &self.folder.writer;
        LetterFill { items: writer.undelivered().items, bytes: writer.disk_bytes() }
    }
}

impl Books {
    fn settle(&self, reason: &'static str, items: u64, error: Option<&Error>) {
        let (kind, component) = (self.metrics.kind().name(), self.metrics.id());
        let Some(error) = error else {
            self.written.add(&self.metrics, reason, items);
            if self.failing.swap(false, Ordering::Relaxed) {
                tracing::info!(kind, component, "dead letters are written again");
            }
            return;
        };
        let why = match error {
            Error::Busy => "busy",
            Error::Full { .. } => "full",
            Error::TooLarge { .. } => "too_large",
            _ => "failed",
        };
        self.lost.add(&self.metrics, why, items);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(kind, component, items, "dead letters are lost until this ends: {error}");
        }
    }
}

/// Counts what is in a folder, and what went from it.
fn look(folder: &Folder, books: &Books) {
    let mut counted = folder.drops.lock().unwrap_or_else(PoisonError::into_inner);
    let drops = folder.writer.drops();
    books.stored_items.set(folder.writer.undelivered().items as f64);
    books.stored_bytes.set(folder.writer.disk_bytes() as f64);
    let went = [
        ("displaced", drops.full.items - counted.full.items),
        ("expired", drops.expired.items - counted.expired.items),
    ];
    *counted = drops;
    for (why, items) in went.into_iter().filter(|(_, items)| *items > 0) {
        books.lost.add(&books.metrics, why, items);
    }
}

impl Folder {
    fn join(settings: &DeadLetterSettings) -> Result<Arc<Self>, Error> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let path = real(&settings.directory);
        let known = open.iter().find(|(known, _)| *known == path).map(|(_, folder)| folder.upgrade());
        if let Some(Some(folder)) = known {
            let DeadLetterSettings { max_bytes, max_age_ms, .. } = *settings;
            folder.writer.set_limits(max_bytes, MAX_LETTERS, max_age_ms, OnFull::DropOldest);
            return Ok(folder);
        }
        let folder = Arc::new(Self::open(settings, known.is_some())?);
        open.retain(|(_, folder)| folder.strong_count() > 0);
        open.push((folder.path.clone(), Arc::downgrade(&folder)));
        Ok(folder)
    }

    fn open(settings: &DeadLetterSettings, is_closing: bool) -> Result<Self, Error> {
        let started = std::time::Instant::now();
        let storage = loop {
            match FileStorage::open(&settings.directory) {
                Err(Error::Locked { .. }) if is_closing && started.elapsed() < CLOSING => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => break other?,
            }
        };
        let options = Options {
            max_bytes: settings.max_bytes,
            max_records: MAX_LETTERS,
            max_age_ms: settings.max_age_ms,
            on_full: OnFull::DropOldest,
            ..Options::default()
        };
        let mut log = Log::open(storage, options)?;
        log.expire(now_ms());
        Ok(Self {
            path: real(&settings.directory),
            writer: Writer::spawn(log, WriterOptions { waiting: WAITING, ..WriterOptions::default() })?,
            room: Arc::new(Semaphore::new(WAITING_BYTES / UNIT)),
            drops: Mutex::default(),
        })
    }
}

/// The same folder under the same name.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The letters on what a destination refused of `sent`. Where it says only how many, all that the refused ones may be among is one letter,
/// whatever the number of reasons.
pub(crate) fn letters(rejected: Vec<Rejected>, sent: &[Payload]) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut vague: Vec<Vague> = Vec::new();
    for Rejected { reason, items, message, payloads } in rejected {
        let among = if payloads.is_empty() { sent.to_vec() } else { payloads };
        let of: u64 = among.iter().map(|payload| payload.items() as u64).sum();
        if items >= of {
            let exact = |payload| Letter { reason, message: message.clone(), payload };
            letters.extend(among.into_iter().map(exact));
        } else if let Some(known) = vague.iter_mut().find(|known| known.is_among(&among)) {
            known.reasons.push((reason, items));
        } else {
            vague.push(Vague { among, of, reasons: vec![(reason, items)], message });
        }
    }
    letters.extend(vague.into_iter().flat_map(Vague::letters));
    letters
}

/// Refused records of which nobody says which they are.
struct Vague {
    among: Vec<Payload>,
    of: u64,
    reasons: Vec<(&'static str, u64)>,
    message: String,
}

impl Vague {
    fn is_among(&self, others: &[Payload]) -> bool {
        let same = |(a, b): (&Payload, &Payload)| a.shares_memory_with(b);
        self.among.len() == others.len() && self.among.iter().zip(others).all(same)
    }

    fn letters(self) -> impl Iterator<Item = Letter> {
        let Self { among, of, reasons, message } = self;
        let refused: u64 = reasons.iter().map(|(_, items)| items).sum();
        let mut told = format!("{refused} of {of} records refused; the destination does not say which");
        if reasons.len() > 1 {
            let each: Vec<_> = reasons.iter().map(|(reason, items)| format!("{reason} {items}")).collect();
            told = format!("{told} ({})", each.join(", "));
        }
        let message = format!("{told}: {message}");
        let reason = reasons.first().map_or("", |(reason, _)| reason);
        among.into_iter().map(move |payload| Letter { reason, message: message.clone(), payload })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use model::{Ack, AckMode, Request, Signal, Verdict, Writer};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::component::{BoxFuture, ExportError, Exported, Exporter, Scope};
    use crate::delivery::DeliverySettings;
    use crate::health::Health;
    use crate::metrics::ComponentKind;
    use crate::mount::{Fitting, Mount, Parts};
    use crate::queue::Queue;
    use crate::queue::spool::Spool;
    use crate::shutdown::Shutdown;
    use crate::worker::Worker;

    /// Refuses everything, and counts.
    struct Refuses(Arc<AtomicUsize>);

    impl Exporter for Refuses {
        fn export<'a>(&'a self, _: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let (reason, message) = ("refused", "no".to_owned());
            Box::pin(async move { Err(ExportError::Permanent { reason, message, scope: Scope::Request }) })
        }
    }

    #[tokio::test]
    async fn nothing_is_settled_before_its_letter_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = ComponentMetrics::new(ComponentKind::Exporter, "letters_unit");
        let parse = |name: &str| serde_json::json!({"directory": folder.path().join(name)});
        let settings: DeadLetterSettings = serde_json::from_value(parse("letters")).unwrap();
        let letters = Arc::new(DeadLetters::open(&settings, &metrics).unwrap());
        let buffer = serde_json::from_value(parse("buffer")).unwrap();
        let spool = Spool::open(&buffer, 16, false, &metrics).unwrap();
        let settings = DeliverySettings::default();
        let queue = Arc::new(Queue::buffered(&settings.queue, &metrics, Some(Arc::clone(&spool))));
        let calls = Arc::new(AtomicUsize::new(0));
        let exporter = Arc::new(Refuses(Arc::clone(&calls)));
        let parts = Parts { exporter, letters: Some(Arc::clone(&letters)), settings };
        let mount = Arc::new(Mount::new(Fitting::new(parts, &metrics)));
        let (_hurry, hurried) = Shutdown::new();
        let worker = Worker::new(mount, Arc::clone(&queue), Arc::new(Health::new()), hurried);
        let working = tokio::spawn(worker.run());
        // A disk that takes no letter yet: all that may wait for it is waiting.
        let all = (WAITING_BYTES / UNIT) as u32;
        let full = Arc::clone(&letters.folder.room).acquire_many_owned(all).await.unwrap();
        let (ack, waiter) = Ack::new(AckMode::Delivered);
        let payload = logs(3);
        let slot = queue.reserve(payload.size(), 3).unwrap();
        slot.push(payload, None, Some(ack), Instant::now());
        while calls.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(100)).await;
        queue.upkeep().await;
        assert_eq!((waiter.verdict(), spool.fill().items, letters.fill().items), (None, 3, 0));
        drop(full);
        while waiter.verdict().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((waiter.verdict(), letters.fill().items), (Some(Verdict::Rejected), 3));
        queue.upkeep().await;
        assert_eq!((spool.fill().items, calls.load(Ordering::SeqCst)), (0, 1));
        queue.close();
        working.await.unwrap();
    }

    fn logs(items: usize) -> Payload {
        let mut writer = Writer::new();
        writer.message(1, |w| w.message(2, |w| (0..items).for_each(|_| w.message(2, |w| w.string(3, "x")))));
        Request::receive(Signal::Logs, writer.finish()).unwrap().0.into()
    }

    fn rejected(reason: &'static str, items: u64, payloads: &[Payload]) -> Rejected {
        Rejected { reason, items, message: format!("said of {reason}"), payloads: payloads.to_vec() }
    }

    fn told(letters: &[Letter]) -> Vec<(&'static str, usize, &str)> {
        letters.iter().map(|l| (l.reason, l.payload.items(), l.message.as_str())).collect()
    }

    #[test]
    fn records_that_are_known_are_letters_of_their_own() {
        let found =
            letters(vec![rejected("a", 3, &[logs(1), logs(2)]), rejected("b", 1, &[logs(1)])], &[logs(50)]);
        assert_eq!(told(&found), [("a", 1, "said of a"), ("a", 2, "said of a"), ("b", 1, "said of b")]);
    }

    #[test]
    fn all_that_they_may_be_among_is_kept_once() {
        let (sent, shard) = ([logs(5), logs(3)], logs(4));
        let found = letters(
            vec![
                rejected("a", 2, std::slice::from_ref(&shard)),
                rejected("any", 1, &[]),
                rejected("b", 1, &[shard]),
                rejected("c", 8, &[]),
            ],
            &sent,
        );
        let of_shard = "3 of 4 records refused; the destination does not say which (a 2, b 1): said of a";
        let of_all = "1 of 8 records refused; the destination does not say which: said of any";
        assert_eq!(
            told(&found),
            [
                ("c", 5, "said of c"),
                ("c", 3, "said of c"),
                ("a", 4, of_shard),
                ("any", 5, of_all),
                ("any", 3, of_all)
            ]
        );
    }
}
