//! `redact`: takes the identities of peers out of every text that a signal can hold.
//!
//! ```text
//! request bytes ──SIMD scan, block by block──> anchors, sorted        none: the same bytes go on
//!        │                                        │
//!        └──descriptor tables──> only messages and texts with an anchor inside ──detector──> edits ──splice──> bytes
//! ```
//!
//! Which fields are looked into is nowhere written down: every `string` and `bytes` field of the tables is, at any depth, and
//! fields that the tables do not know are deleted when an id stands in them (see `visit.rs`). Prometheus series have all their
//! texts in one table, of which each is looked into (see `series.rs`).
//!
//! Invariant: closed when in doubt. A request that cannot be walked to its end is refused, not passed on; without a key a
//! keyed action does not start; an id that is cut off is taken out too.
//! It deliberately does not look into numbers: packed numbers that happen to spell an id are numbers to every reader.

mod binary;
mod key;
mod series;
mod visit;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ::redact::{Action, Class, Options, QmBare, Redactor};
use engine::{BuildContext, BuildError, ComponentMetrics, ProcessError, Processor, ProcessorConfig};
use metrics::Counter;
use model::series::{LabelHasher, SeriesBatch};
use model::{Request, Signal, Splice};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::collisions::Collisions;
use key::Secret;
use visit::{Anchors, Found, Visit};

/// Settings of `redact`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedactConfig {
    /// A file with the key of the pseudonyms: 32 random bytes or more, as hex, base64 or raw, readable by its owner alone.
    /// All nodes whose pseudonyms shall match need the same key.
    #[serde(default)]
    key_file: Option<PathBuf>,
    /// Make the key file at the first start, where there is none. Default: false.
    #[serde(default)]
    generate_key: bool,
    /// The key itself, as hex or base64; better from the environment (`${REDACT_KEY}`) than in the file.
    #[serde(default)]
    key: Option<Secret>,
    /// What stands in the place of an id. Default: `pseudonym`.
    #[serde(default)]
    action: ActionConfig,
    /// `enforce` (default) replaces; `shadow` counts what it would replace and changes nothing; `off` does nothing.
    #[serde(default)]
    mode: Mode,
    /// What becomes of a `Qm...` of 46 characters that stands alone: it may be a peer id or the content id of an IPFS file.
    /// `redact` (default) or `keep`.
    #[serde(default)]
    qm_bare: QmBareConfig,
    /// Keys of attributes and names of labels, such as `cid`, in whose values a `Qm...` that stands alone is a content id and stays. At most 1,000.
    #[serde(default)]
    keep_keys: BTreeSet<String>,
}

/// What stands in the place of an identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ActionConfig {
    /// `peer_a7_k3faq2mzx7wd5tbc`: a keyed hash, the same for the same peer in every signal.
    #[default]
    Pseudonym,
    /// The same, as long as the id, so that requests keep their size and are edited in place.
    PseudonymSameLength,
    /// `peer_b017`: one of this many groups of peers, 1 to 1,000,000.
    Bucket(u32),
    /// `[peer]`, `[addr]`.
    Mask,
    /// Nothing: the id is cut out of its text.
    Drop,
}

impl ActionConfig {
    fn name(self) -> &'static str {
        match self {
            Self::Pseudonym => "pseudonym",
            Self::PseudonymSameLength => "pseudonym_same_length",
            Self::Bucket(_) => "bucket",
            Self::Mask => "mask",
            Self::Drop => "drop",
        }
    }
}

impl From<ActionConfig> for Action {
    fn from(action: ActionConfig) -> Self {
        match action {
            ActionConfig::Pseudonym => Self::Pseudonym,
            ActionConfig::PseudonymSameLength => Self::PseudonymSameLength,
            ActionConfig::Bucket(count) => Self::Bucket(count),
            ActionConfig::Mask => Self::Mask,
            ActionConfig::Drop => Self::Drop,
        }
    }
}

/// `enforce` replaces, `shadow` only counts, `off` does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Enforce,
    Shadow,
    Off,
}

/// What happens to an id that starts with `Qm` and has nothing before it that says peer: it may be a content id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum QmBareConfig {
    #[default]
    Redact,
    Keep,
}

/// More of them are refused.
const MAX_KEEP_KEYS: usize = 1_000;

impl ProcessorConfig for RedactConfig {
    const NAME: &'static str = "redact";
    const SUMMARY: &'static str =
        "Replaces peer ids and multiaddr addresses by keyed pseudonyms, in every field";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        if self.mode == Mode::Off {
            return Ok(Box::new(PassThrough));
        }
        if self.keep_keys.len() > MAX_KEEP_KEYS {
            return Err(BuildError::new(format!("{}: keep_keys may name {MAX_KEEP_KEYS} keys", context.id)));
        }
        let action = Action::from(self.action);
        let keyring = key::keyring(&self, action, context)?;
        let redactor = |qm_bare| {
            let options = Options { qm_bare, ..Options::all(action) };
            Redactor::new(options, keyring.as_ref())
                .map_err(|error| BuildError::because(format!("{}: {error}", context.id), error))
        };
        let qm_bare = match self.qm_bare {
            QmBareConfig::Redact => QmBare::Redact,
            QmBareConfig::Keep => QmBare::Keep,
        };
        let (redactor, lenient) = (redactor(qm_bare)?, redactor(QmBare::Keep)?);
        Ok(Box::new(Redact {
            redactor,
            lenient,
            binary: binary::Scanner::new(),
            keep_keys: self.keep_keys.clone(),
            mode: self.mode,
            counters: Counters::new(&context.metrics, self.action.name()),
            hasher: LabelHasher::new(),
            collisions: Collisions::new(&context.metrics),
            metrics: context.metrics.clone(),
        }))
    }
}

/// `mode: off`.
struct PassThrough;

impl Processor for PassThrough {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        Ok(Some(request))
    }

    fn process_series(&self, batch: Arc<SeriesBatch>) -> Result<Option<Arc<SeriesBatch>>, ProcessError> {
        Ok(Some(batch))
    }
}

struct Redact {
    redactor: Redactor,
    /// The same, keeping a bare `Qm...`: for the values of `keep_keys`.
    lenient: Redactor,
    binary: binary::Scanner,
    keep_keys: BTreeSet<String>,
    mode: Mode,
    counters: Counters,
    hasher: LabelHasher,
    collisions: Collisions,
    metrics: ComponentMetrics,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { anchors: Anchors::default(), splice: Splice::new() });
}

/// What the request at hand needs; its memory serves the next one.
struct Scratch {
    anchors: Anchors,
    splice: Splice,
}

/// The memory of more edits than this is not kept for the next request.
const MAX_KEPT_FINDINGS: u64 = 16 * 1024;

impl Processor for Redact {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        SCRATCH.with_borrow_mut(|scratch| self.redact(request, scratch).map(Some))
    }

    fn process_series(&self, batch: Arc<SeriesBatch>) -> Result<Option<Arc<SeriesBatch>>, ProcessError> {
        let was_empty = batch.is_empty();
        let left = self.redact_series(batch)?;
        Ok((was_empty || !left.is_empty()).then_some(left))
    }
}

impl Redact {
    fn redact(&self, request: Request, scratch: &mut Scratch) -> Result<Request, ProcessError> {
        let Scratch { anchors, splice } = scratch;
        if u32::try_from(request.bytes().len()).is_err() {
            return Err(refused("the request is larger than 4 GiB"));
        }
        self.counters.bytes.increment(request.bytes().len() as u64);
        anchors.clear();
        splice.clear();
        let found = Visit::new(self, &request, anchors, splice)
            .request(request.signal())
            .map_err(|_| refused("the request cannot be walked to its end"))?;
        self.counters.count(&found);
        let redacted = match self.mode {
            Mode::Enforce if found.any() && splice.is_empty() => {
                return Err(refused("what was found led to no edit"));
            }
            Mode::Enforce => {
                let items = request.items();
                request.spliced(splice, items)
            }
            Mode::Shadow | Mode::Off => request,
        };
        if found.total() > MAX_KEPT_FINDINGS {
            *splice = Splice::new();
        }
        Ok(redacted)
    }

    /// Adds the places within a block of `buf` where an id may stand, sorted.
    fn search(&self, buf: &[u8], block: Range<usize>, binary: bool, anchors: &mut Vec<u32>) {
        let first = anchors.len();
        self.redactor.anchors_within(buf, block.clone(), anchors);
        if !binary {
            return;
        }
        let texts = anchors.len();
        self.binary.anchors_within(buf, block, anchors);
        if anchors.len() > texts {
            anchors[first..].sort_unstable();
        }
    }
}

fn refused(message: &str) -> ProcessError {
    ProcessError {
        reason: "redaction_failed",
        message: format!("{message}; it is refused rather than passed on unredacted"),
    }
}

/// Handles are looked up when the processor is built.
struct Counters {
    bytes: Counter,
    unknown_fields: Counter,
    classes: [ClassCounters; Class::ALL.len()],
}

struct ClassCounters {
    findings: Counter,
    partial: Counter,
    candidates: Counter,
}

impl Counters {
    fn new(metrics: &ComponentMetrics, action: &str) -> Self {
        let of_class = |class: Class| {
            let name = class.name();
            ClassCounters {
                findings: metrics
                    .counter("floodway_redact_findings_total", &[("class", name), ("action", action)]),
                partial: metrics.counter("floodway_redact_partial_total", &[("class", name)]),
                candidates: metrics.counter("floodway_redact_candidates_total", &[("class", name)]),
            }
        };
        Self {
            bytes: metrics.counter("floodway_redact_bytes_scanned_total", &[]),
            unknown_fields: metrics.counter("floodway_redact_unknown_fields_dropped_total", &[]),
            classes: Class::ALL.map(of_class),
        }
    }

    fn count(&self, found: &Found) {
        if found.unknown_fields > 0 {
            self.unknown_fields.increment(found.unknown_fields);
        }
        for ((_, counts), counters) in found.counts.iter().zip(&self.classes) {
            if counts.candidates > 0 {
                counters.candidates.increment(counts.candidates);
                counters.findings.increment(counts.confirmed + counts.partial);
                counters.partial.increment(counts.partial);
            }
        }
    }
}
