//! `sample`: keeps a share of traces and of log records, the same ones on every node.
//!
//! A span is kept when its trace's randomness reaches the threshold of `percent` (see `threshold.rs`); spans that an earlier
//! sampler already thinned further stay as they are, the others get the new `th` in their trace state, so that counts can
//! still be extrapolated ("equalizing downstream sampler" of the specification). An incoming `th` that contradicts the
//! randomness is taken as absent, as the specification asks.
//!
//! Log records follow their trace by `trace_id`, or are chosen by a hash of an attribute.
//!
//! Invariant: two nodes with the same settings decide alike about the same trace, whatever else is in their requests.
//! It deliberately does not look at whole traces (that is tail sampling), at metrics, or at the `sampled` flag.

mod threshold;
mod tracestate;

use engine::{BuildContext, BuildError, ComponentMetrics, ProcessError, Processor, ProcessorConfig};
use model::wire::{Field, Fields, Wire};
use model::{Request, Signal, Splice, Writer};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::value::{Value, key_value, text};
use model::walk::{RecordKind, Verdict, Visitor, messages, walk};
use threshold::{Randomness, Threshold};

/// Settings of `sample`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// How many of a hundred traces (or log records) are kept, 0 to 100. The smallest share is 2^-56; it is rounded to four
    /// significant hexadecimal digits of the rejected share.
    #[schemars(range(min = 0.0, max = 100.0))]
    percent: f64,
    /// By what log records are chosen. Default: by their trace id, so that they stay with their spans.
    #[serde(default)]
    logs: LogSampling,
    /// What becomes of records that have neither a trace id nor the field to choose by. Default: `keep`.
    #[serde(default)]
    on_missing: OnMissing,
    /// Mixed into the hash of `logs.field`. Nodes that must agree need the same seed; two samplers in a row that must not
    /// agree need different ones. Default: 0.
    #[serde(default)]
    hash_seed: u64,
}

/// By what log records are chosen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogSampling {
    /// `trace_id` (default), or `field`: a hash of the attribute named by `field`.
    #[serde(default)]
    by: LogKey,
    /// The attribute whose value is hashed, of the record or else of its resource. With `by: trace_id` it serves the records
    /// that have no trace id. The hash is FNV-1a mixed by the finaliser of MurmurHash3, over the value's text.
    #[serde(default)]
    field: Option<String>,
}

/// What decides for a log record: its trace id, or the value of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LogKey {
    #[default]
    TraceId,
    Field,
}

/// What happens to records without anything to decide by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnMissing {
    #[default]
    Keep,
    Drop,
}

impl ProcessorConfig for SampleConfig {
    const NAME: &'static str = "sample";
    const SUMMARY: &'static str = "Keeps a share of the traces and log records, the same ones on every node";
    const SIGNALS: &'static [Signal] = &[Signal::Traces, Signal::Logs];

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        if !(0.0..=100.0).contains(&self.percent) {
            return Err(BuildError::new(format!(
                "{}: percent is {}, but a share is from 0 to 100; 10 keeps every tenth trace",
                context.id, self.percent
            )));
        }
        if self.logs.by == LogKey::Field && self.logs.field.as_ref().is_none_or(String::is_empty) {
            return Err(BuildError::new(format!(
                "{}: logs.by is `field`, but logs.field does not name one; add for example `field: service.name`",
                context.id
            )));
        }
        let threshold = Threshold::keeping(self.percent / 100.0);
        Ok(Box::new(Sample { threshold, config: *self, metrics: context.metrics.clone() }))
    }
}

struct Sample {
    threshold: Threshold,
    config: SampleConfig,
    metrics: ComponentMetrics,
}

impl Processor for Sample {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        if self.threshold == Threshold::NONE || request.signal() == Signal::Metrics {
            return Ok(Some(request));
        }
        let mut splice = Splice::new();
        let mut sampler = Sampler::new(self, request.bytes());
        let outcome = walk(&request, &mut sampler, &mut splice);
        if outcome.dropped > 0 {
            self.metrics.dropped("sampled", outcome.dropped as u64);
            if outcome.kept == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request.spliced(&splice, outcome.kept)))
    }
}

/// The decisions about one request.
struct Sampler<'a> {
    buf: &'a [u8],
    sample: &'a Sample,
    /// The attribute named by `logs.field`, of the resource at hand.
    resource_value: Option<Field>,
    /// Text of a value, or of a new trace state.
    scratch: String,
}

impl<'a> Sampler<'a> {
    fn new(sample: &'a Sample, buf: &'a [u8]) -> Self {
        Self { buf, sample, resource_value: None, scratch: String::new() }
    }

    fn missing(&self) -> Verdict {
        match self.sample.config.on_missing {
            OnMissing::Keep => Verdict::Keep,
            OnMissing::Drop => Verdict::Drop,
        }
    }

    fn verdict(&self, randomness: Option<Randomness>) -> Verdict {
        match randomness {
            Some(r) if r.passes(self.sample.threshold) => Verdict::Keep,
            Some(_) => Verdict::Drop,
            None => self.missing(),
        }
    }

    fn span(&mut self, span: &Field, splice: &mut Splice) -> Verdict {
        let (mut trace_id, mut state) = (None, None);
        for field in Fields::new(self.buf, span.body_range()) {
            match (field.number, field.wire) {
                (1, Wire::Len) => trace_id = Some(field),
                (3, Wire::Len) => state = Some(field),
                _ => {}
            }
        }
        let state_text = state.map_or("", |field| text(self.buf, &field));
        let ot = tracestate::read(state_text);
        let Some(randomness) = ot.randomness.or_else(|| self.of_id(trace_id)) else {
            return self.missing();
        };
        if ot.threshold.is_some_and(|th| th >= self.sample.threshold && randomness.passes(th)) {
            return Verdict::Keep;
        }
        if !randomness.passes(self.sample.threshold) {
            return Verdict::Drop;
        }
        tracestate::write(state_text, self.sample.threshold, &mut self.scratch);
        match state {
            Some(field) => {
                splice.open(&field);
                splice.replace(field.body_range(), self.scratch.as_bytes());
                splice.close();
            }
            None => {
                let mut writer = Writer::with_capacity(self.scratch.len() + 2);
                writer.string(3, &self.scratch);
                splice.insert(span.end, writer.as_slice());
            }
        }
        Verdict::Keep
    }

    fn log(&mut self, record: &Field) -> Verdict {
        let config = &self.sample.config;
        if config.logs.by == LogKey::TraceId {
            let trace_id = messages(self.buf, record.body_range(), 9).last();
            if let Some(randomness) = self.of_id(trace_id) {
                return self.verdict(Some(randomness));
            }
        }
        let Some(name) = &config.logs.field else {
            return self.missing();
        };
        let own = attribute(self.buf, record, 6, name);
        let randomness = own.or(self.resource_value).and_then(|value| self.of_value(&value));
        self.verdict(randomness)
    }

    fn of_id(&self, field: Option<Field>) -> Option<Randomness> {
        Randomness::of_trace_id(self.buf.get(field?.body_range())?)
    }

    fn of_value(&mut self, field: &Field) -> Option<Randomness> {
        let seed = self.sample.config.hash_seed;
        match Value::read(self.buf, field) {
            Value::Empty => None,
            Value::String(text) => Some(Randomness::of_hash(seed, text.as_bytes())),
            // Arrays and maps have no text: their encoding, which is the sender's, must do.
            Value::Other(encoded) => Some(Randomness::of_hash(seed, encoded)),
            value => {
                self.scratch.clear();
                value.append_to(&mut self.scratch).then(|| Randomness::of_hash(seed, self.scratch.as_bytes()))
            }
        }
    }
}

impl Visitor for Sampler<'_> {
    fn enter_resource(&mut self, group: &Field) -> Verdict {
        self.resource_value = self.sample.config.logs.field.as_ref().and_then(|name| {
            let resource = messages(self.buf, group.body_range(), 1).last()?;
            attribute(self.buf, &resource, 1, name)
        });
        Verdict::Keep
    }

    #[inline]
    fn record(&mut self, kind: RecordKind, record: &Field, splice: &mut Splice) -> Verdict {
        match kind {
            RecordKind::Span => self.span(record, splice),
            RecordKind::Log => self.log(record),
            _ => Verdict::Keep,
        }
    }
}

/// The value of the attribute `name` of a message whose attributes are field `number`.
fn attribute(buf: &[u8], message: &Field, number: u32, name: &str) -> Option<Field> {
    messages(buf, message.body_range(), number).find_map(|field| {
        let found = key_value(buf, &field);
        found.value.filter(|_| buf.get(found.key) == Some(name.as_bytes()))
    })
}
