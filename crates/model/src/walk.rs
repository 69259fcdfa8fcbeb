//! The way through a request that every per-record processor takes: resource, scope, (metric,) record.
//!
//! ```text
//! request 1* group { 1 resource, 2* scope { 2* span | log record } }
//!                                scope { 2* metric { 1 name, 5|7|9|10|11 data { 1* data point } } }
//! ```
//!
//! A [`Visitor`] decides what stays and edits what it likes; the walk keeps the splice frames, counts, and removes scopes,
//! metrics and resources whose last record went. Edits must be recorded in order of position, while a decision about a
//! resource or a metric must be made before its records are seen although its fields may stand after them: so the decision
//! (`enter_*`) and the edits (`*_field`, `leave_*`) are separate calls.
//!
//! Invariant: what was empty before stays; only what the walk itself emptied is removed.

use crate::wire::{Field, Fields, Wire};
use crate::{Request, Signal, Splice};

/// Whether something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes, with all that is in it.
    Drop,
}

/// What a record is, which says where its fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// `Span`
    Span,
    /// `LogRecord`
    Log,
    /// `NumberDataPoint`
    Number,
    /// `HistogramDataPoint`
    Histogram,
    /// `ExponentialHistogramDataPoint`
    Exponential,
    /// `SummaryDataPoint`
    Summary,
}

/// Looks at every record of a request.
pub trait Visitor {
    /// Decides on all records of one resource; `group` is the `ResourceSpans` (and so on) around it.
    fn enter_resource(&mut self, _group: &Field) -> Verdict {
        Verdict::Keep
    }

    /// A field of the group other than its scopes; the group's frame is open.
    fn resource_field(&mut self, _field: &Field, _splice: &mut Splice) {}

    /// The end of the group; its frame is still open.
    fn leave_resource(&mut self, _group: &Field, _splice: &mut Splice) {}

    /// Decides on all data points of one metric.
    fn enter_metric(&mut self, _metric: &Field) -> Verdict {
        Verdict::Keep
    }

    /// A field of the metric other than its data; the metric's frame is open.
    fn metric_field(&mut self, _field: &Field, _splice: &mut Splice) {}

    /// The end of the metric; its frame is still open.
    fn leave_metric(&mut self, _metric: &Field, _splice: &mut Splice) {}

    /// Decides on one record and edits it; its frame is open.
    fn record(&mut self, kind: RecordKind, record: &Field, splice: &mut Splice) -> Verdict;
}

/// Records left and records gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Still in the request.
    pub kept: usize,
    /// Dropped by the visitor.
    pub dropped: usize,
}

/// Shows every record of `request` to `visitor` and collects the edits in `splice`.
pub fn walk(request: &Request, visitor: &mut impl Visitor, splice: &mut Splice) -> Outcome {
    let buf = request.bytes();
    let mut walk = Walk { buf, signal: request.signal(), visitor, splice, outcome: Outcome::default() };
    for group in messages(buf, 0..buf.len(), GROUPS) {
        walk.group(&group);
    }
    walk.outcome
}

/// Field of the request: one group a resource.
const GROUPS: u32 = 1;
/// Field of a group: its scopes.
const SCOPES: u32 = 2;
/// Field of a scope: its spans, log records or metrics.
const MEMBERS: u32 = 2;
/// Field of a metric's data: its points.
const POINTS: u32 = 1;

struct Walk<'a, V> {
    buf: &'a [u8],
    signal: Signal,
    visitor: &'a mut V,
    splice: &'a mut Splice,
    outcome: Outcome,
}

impl<V: Visitor> Walk<'_, V> {
    fn group(&mut self, group: &Field) {
        self.splice.open(group);
        if self.visitor.enter_resource(group) == Verdict::Drop {
            self.outcome.dropped += messages(self.buf, group.body_range(), SCOPES)
                .map(|scope| self.records_of_scope(&scope))
                .sum::<usize>();
            self.splice.discard();
            return;
        }
        let before = self.outcome;
        for field in Fields::new(self.buf, group.body_range()) {
            if is_message(&field, SCOPES) {
                self.scope(&field);
            } else {
                self.visitor.resource_field(&field, self.splice);
            }
        }
        self.visitor.leave_resource(group, self.splice);
        self.leave(before);
    }

    fn scope(&mut self, scope: &Field) {
        self.splice.open(scope);
        let before = self.outcome;
        for member in messages(self.buf, scope.body_range(), MEMBERS) {
            match self.signal {
                Signal::Traces => self.record(RecordKind::Span, &member),
                Signal::Logs => self.record(RecordKind::Log, &member),
                Signal::Metrics => self.metric(&member),
            }
        }
        self.leave(before);
    }

    fn metric(&mut self, metric: &Field) {
        self.splice.open(metric);
        if self.visitor.enter_metric(metric) == Verdict::Drop {
            self.outcome.dropped += self.points_of_metric(metric);
            self.splice.discard();
            return;
        }
        let before = self.outcome;
        for field in Fields::new(self.buf, metric.body_range()) {
            match data_kind(&field) {
                Some(kind) => self.data(kind, &field),
                None => self.visitor.metric_field(&field, self.splice),
            }
        }
        self.visitor.leave_metric(metric, self.splice);
        self.leave(before);
    }

    fn data(&mut self, kind: RecordKind, data: &Field) {
        self.splice.open(data);
        let before = self.outcome;
        for point in messages(self.buf, data.body_range(), POINTS) {
            self.record(kind, &point);
        }
        self.leave(before);
    }

    #[inline]
    fn record(&mut self, kind: RecordKind, record: &Field) {
        self.splice.open(record);
        match self.visitor.record(kind, record, self.splice) {
            Verdict::Keep => {
                self.splice.close();
                self.outcome.kept += 1;
            }
            Verdict::Drop => {
                self.splice.discard();
                self.outcome.dropped += 1;
            }
        }
    }

    /// Leaves a frame, removing it where every record that it had was dropped.
    fn leave(&mut self, before: Outcome) {
        if self.outcome.kept == before.kept && self.outcome.dropped > before.dropped {
            self.splice.discard();
        } else {
            self.splice.close();
        }
    }

    fn records_of_scope(&self, scope: &Field) -> usize {
        let members = messages(self.buf, scope.body_range(), MEMBERS);
        match self.signal {
            Signal::Metrics => members.map(|metric| self.points_of_metric(&metric)).sum(),
            _ => members.count(),
        }
    }

    fn points_of_metric(&self, metric: &Field) -> usize {
        Fields::new(self.buf, metric.body_range())
            .filter(|field| data_kind(field).is_some())
            .map(|data| messages(self.buf, data.body_range(), POINTS).count())
            .sum()
    }
}

/// The occurrences of message field `number` in the message at `range`.
pub fn messages(buf: &[u8], range: std::ops::Range<usize>, number: u32) -> impl Iterator<Item = Field> {
    Fields::new(buf, range).filter(move |field| is_message(field, number))
}

fn is_message(field: &Field, number: u32) -> bool {
    field.number == number && field.wire == Wire::Len
}

/// The kind of point in a field of `Metric`, where it is one of the `data` oneof.
fn data_kind(field: &Field) -> Option<RecordKind> {
    match (field.wire, field.number) {
        (Wire::Len, 5 | 7) => Some(RecordKind::Number),
        (Wire::Len, 9) => Some(RecordKind::Histogram),
        (Wire::Len, 10) => Some(RecordKind::Exponential),
        (Wire::Len, 11) => Some(RecordKind::Summary),
        _ => None,
    }
}
