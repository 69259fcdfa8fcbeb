//! `relabel`: Prometheus's `relabel_configs`, pasted as they are, on OTLP attributes and on Prometheus series.
//!
//! Four lists, each seeing what stands around it:
//!
//! | list | runs once per | reads | writes | `drop` takes |
//! |---|---|---|---|---|
//! | `resource` | resource | its attributes | its attributes | all its records |
//! | `metric` | metric | `__name__`, then the resource | `__name__` | all its data points |
//! | `record` | span, log record, data point | its attributes, `__name__`, then the resource | its attributes; `__name__` of spans and log records | the record |
//! | `series` | series of Prometheus (remote-write) | its labels, `__name__` among them | its labels | the series |
//!
//! The first three are for OTLP, `series` for Prometheus's own form: what stands in `write_relabel_configs` or
//! `metric_relabel_configs` is pasted there and means what it means in Prometheus (see `series.rs`). A pipeline may carry
//! both forms of metrics; each list leaves the other form alone.
//!
//! Each of the first three list sees what the one before it wrote. `__name__` is the span's name, the metric's name or the log record's event
//! name. Values that are no strings are matched as text (see `value.rs`); what a rule writes is a string. Arrays, maps
//! and bytes match as empty and `labelmap` does not copy them, but `labeldrop` and `labelkeep` work on them.
//!
//! Invariant: what no rule changes goes on byte for byte; a request in which nothing changes is handed on as it came.
//! It deliberately does not check that renamed data points of OTLP stay distinct, and leaves scope attributes alone.

mod attributes;
mod cache;
mod labels;
mod pattern;
pub mod rules;
mod series;
mod template;
mod verdict;

use std::cell::RefCell;
use std::sync::Arc;

use engine::{BuildContext, BuildError, ComponentMetrics, ProcessError, Processor, ProcessorConfig};
use metrics::Counter;
use model::series::SeriesBatch;
use model::wire::{Field, Fields};
use model::{Request, Signal, Splice};
use schemars::JsonSchema;
use serde::Deserialize;

use attributes::{Attributes, Layout, View};
use model::walk::{RecordKind, Verdict, Visitor, messages, walk};
use rules::{RuleConfig, Rules, Scratch};
use series::SeriesRelabel;

/// Settings of `relabel`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelabelConfig {
    /// Rules over the attributes of each resource. Default: none.
    #[serde(default)]
    resource: Vec<RuleConfig>,
    /// Rules over each metric: they read and write its name, `__name__`, and read the attributes of its resource. Default: none.
    #[serde(default)]
    metric: Vec<RuleConfig>,
    /// Rules over each span, log record or data point: they read and write its attributes, and read those of its resource.
    /// `__name__` is the name of the span, the log event or the metric; a metric's is renamed by `metric` rules. Default: none.
    #[serde(default)]
    record: Vec<RuleConfig>,
    /// Rules over the labels of each Prometheus series, `__name__` among them: the list of a `write_relabel_configs` or
    /// `metric_relabel_configs` as it stands. OTLP has the three lists above. Default: none.
    #[serde(default)]
    series: Vec<RuleConfig>,
    /// How much of what `series` rules made of earlier series is kept, so that they run once for a series and not for each of
    /// its samples.
    #[serde(default)]
    cache: CacheConfig,
}

/// The memory of `series` rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheConfig {
    /// Most series remembered; those not seen for long go first. 0: none, the rules run every time. Default 100000.
    max_series: usize,
    /// Most memory for them, about, in bytes. Default 33554432 (32 MiB).
    max_bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { max_series: 100_000, max_bytes: 32 << 20 }
    }
}

impl ProcessorConfig for RelabelConfig {
    const NAME: &'static str = "relabel";
    const SUMMARY: &'static str =
        "Prometheus relabel_configs on resource and record attributes, and on series";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        let compile = |list: &str, rules: &[RuleConfig]| {
            Rules::compile(rules).map_err(|error| {
                let mut message = format!("{}: {list}: {error}", context.id);
                if let rules::RuleProblem::Regex { source, .. } = &error.problem {
                    message.push_str(&format!(": {source}"));
                }
                BuildError::because(message, error)
            })
        };
        let series = compile("series", &self.series)?;
        let series = (!series.is_empty()).then(|| SeriesRelabel::new(series, &self.cache, &context.metrics));
        Ok(Box::new(Relabel {
            series,
            resource: compile("resource", &self.resource)?,
            metric: compile("metric", &self.metric)?,
            record: compile("record", &self.record)?,
            refused: context.metrics.counter("floodway_relabel_refused_writes_total", &[]),
            metrics: context.metrics.clone(),
        }))
    }
}

struct Relabel {
    series: Option<SeriesRelabel>,
    resource: Rules,
    metric: Rules,
    record: Rules,
    refused: Counter,
    metrics: ComponentMetrics,
}

/// What is used again from one request to the next on the same thread.
#[derive(Default)]
struct Memory {
    resource: Attributes,
    metric: Attributes,
    record: Attributes,
    scratch: Scratch,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl Processor for Relabel {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        if self.resource.is_empty() && self.metric.is_empty() && self.record.is_empty() {
            return Ok(Some(request));
        }
        let mut splice = Splice::new();
        let outcome = MEMORY.with_borrow_mut(|memory| {
            let mut relabeler = Relabeler { buf: request.bytes(), relabel: self, memory };
            let outcome = walk(&request, &mut relabeler, &mut splice);
            let refused = std::mem::take(&mut memory.scratch.refused);
            if refused > 0 {
                self.refused.increment(refused);
            }
            outcome
        });
        if outcome.dropped > 0 {
            self.metrics.dropped("relabel", outcome.dropped as u64);
            if outcome.kept == 0 {
                return Ok(None);
            }
        }
        Ok(Some(request.spliced(&splice, outcome.kept)))
    }

    fn process_series(&self, batch: Arc<SeriesBatch>) -> Result<Option<Arc<SeriesBatch>>, ProcessError> {
        match &self.series {
            Some(series) => series.process(batch),
            None => Ok(Some(batch)),
        }
    }
}

const RESOURCE: Layout = Layout { attributes: 1, name: None };
const METRIC: Layout = Layout { attributes: 0, name: Some(1) };

fn layout(kind: RecordKind) -> Layout {
    match kind {
        RecordKind::Span => Layout { attributes: 9, name: Some(5) },
        RecordKind::Log => Layout { attributes: 6, name: Some(12) },
        RecordKind::Number | RecordKind::Summary => Layout { attributes: 7, name: None },
        RecordKind::Histogram => Layout { attributes: 9, name: None },
        RecordKind::Exponential => Layout { attributes: 1, name: None },
    }
}

/// The rules at work on one request.
struct Relabeler<'a> {
    buf: &'a [u8],
    relabel: &'a Relabel,
    memory: &'a mut Memory,
}

impl Visitor for Relabeler<'_> {
    fn enter_resource(&mut self, group: &Field) -> Verdict {
        let Memory { resource: own, metric, scratch, .. } = &mut *self.memory;
        let message = messages(self.buf, group.body_range(), RESOURCE_FIELD).last();
        own.load(self.buf, message.as_ref(), RESOURCE);
        // Spans and log records have no metric around them.
        metric.load(self.buf, None, METRIC);
        let mut view = View { buf: self.buf, own, layout: RESOURCE, outer: &[] };
        verdict(self.relabel.resource.apply(&mut view, scratch))
    }

    fn resource_field(&mut self, field: &Field, splice: &mut Splice) {
        let own = &self.memory.resource;
        if own.is_unchanged() || field.number != RESOURCE_FIELD {
            return;
        }
        splice.open(field);
        for attribute in Fields::new(self.buf, field.body_range()) {
            own.edit_field(self.buf, &attribute, RESOURCE, splice);
        }
        own.append_new(self.buf, field.end, RESOURCE, splice);
        splice.close();
    }

    fn leave_resource(&mut self, group: &Field, splice: &mut Splice) {
        let own = &self.memory.resource;
        let is_missing = messages(self.buf, group.body_range(), RESOURCE_FIELD).next().is_none();
        if !own.is_unchanged() && is_missing {
            let mut writer = model::Writer::new();
            writer.bytes(RESOURCE_FIELD, own.encode_new(self.buf, RESOURCE).as_slice());
            splice.insert(group.end, writer.as_slice());
        }
    }

    fn enter_metric(&mut self, metric: &Field) -> Verdict {
        let Memory { resource, metric: own, scratch, .. } = &mut *self.memory;
        own.load(self.buf, Some(metric), METRIC);
        let mut view = View { buf: self.buf, own, layout: METRIC, outer: &[resource] };
        verdict(self.relabel.metric.apply(&mut view, scratch))
    }

    fn metric_field(&mut self, field: &Field, splice: &mut Splice) {
        if !self.memory.metric.is_unchanged() {
            self.memory.metric.edit_field(self.buf, field, METRIC, splice);
        }
    }

    fn leave_metric(&mut self, metric: &Field, splice: &mut Splice) {
        if !self.memory.metric.is_unchanged() {
            self.memory.metric.append_new(self.buf, metric.end, METRIC, splice);
        }
    }

    fn record(&mut self, kind: RecordKind, record: &Field, splice: &mut Splice) -> Verdict {
        if self.relabel.record.is_empty() {
            return Verdict::Keep;
        }
        let layout = layout(kind);
        let Memory { resource, metric, record: own, scratch } = &mut *self.memory;
        own.load(self.buf, Some(record), layout);
        let mut view = View { buf: self.buf, own, layout, outer: &[metric, resource] };
        if !self.relabel.record.apply(&mut view, scratch) {
            return Verdict::Drop;
        }
        if !own.is_unchanged() {
            for field in Fields::new(self.buf, record.body_range()) {
                own.edit_field(self.buf, &field, layout, splice);
            }
            own.append_new(self.buf, record.end, layout, splice);
        }
        Verdict::Keep
    }
}

/// `resource` in the group around it.
const RESOURCE_FIELD: u32 = 1;

fn verdict(keep: bool) -> Verdict {
    if keep { Verdict::Keep } else { Verdict::Drop }
}
