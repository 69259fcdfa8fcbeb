//! OTLP metrics as Prometheus series.
//!
//! ```text
//! resource  -> job, instance on every series; target_info with its other attributes
//! scope     -> otel_scope_name, otel_scope_version, otel_scope_schema_url, otel_scope_ATTRIBUTE
//! gauge, sum -> one series a point        histogram -> _bucket{le}, _sum, _count     summary -> {quantile}, _sum, _count
//! exponential histogram -> native histogram
//! ```
//! Specification: <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>. Requests are read through
//! views. A point that Prometheus cannot have is refused with a reason and costs no other.
//!
//! Invariant: what comes out depends on the requests in their order and the times passed in alone, so the same input gives the
//! same series. A converter has state (totals of delta streams, the last `target_info`): a request goes through it once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::ops::Range;

use hashbrown::DefaultHashBuilder;
use model::otlp::{ExportMetricsServiceRequest, Metric, ResourceMetrics, ScopeMetrics};
use model::series::{METRIC_NAME, Metadata, MetricKind, Sample, Symbol, TooMuchText};
use model::{Request, SeriesBuilder};

use super::delta::{Accumulator, Explicit, Exponential, Limits, Refused};
use super::from_otlp_labels::{
    LabelWriter, Pairs, SERVICE_INSTANCE, SERVICE_NAME, SERVICE_NAMESPACE, set, sort,
};
use super::names::{NameKind, Translation, metric_name, unit};
use super::native::Sparse;

/// Between two samples of `target_info` for points of one resource that lie far apart: half of the time that Prometheus looks back.
const TARGET_INFO_EVERY_MS: i64 = 150_000;
/// Most samples of `target_info` for one resource in one request.
const MAX_TARGET_INFO: i64 = 64;
/// Most resources whose last `target_info` is remembered.
const MAX_TARGETS: usize = 100_000;

/// Why points are refused, as the `reason` of a metric. See also [`super::delta`].
pub mod reasons {
    /// Delta temporality, which Prometheus has not; `delta: accumulate` makes it cumulative.
    pub const DELTA: &str = "delta_temporality";
    /// Neither delta nor cumulative.
    pub const TEMPORALITY: &str = "unknown_temporality";
    /// No name, or nothing of it is left after escaping.
    pub const NAME: &str = "no_metric_name";
    /// A series has two points of one time.
    pub const DUPLICATE: &str = "duplicate_point";
    /// An exponential histogram with a scale below -4.
    pub const SCALE: &str = "unsupported_scale";
    /// Bounds and counts that do not fit each other.
    pub const BUCKETS: &str = "unsupported_buckets";
    /// No value.
    pub const VALUE: &str = "no_value";
    /// A metric of a kind that is not known.
    pub const KIND: &str = "unknown_metric_kind";
}

/// How metrics become series.
#[derive(Clone, Debug)]
pub struct FromOtlpOptions {
    /// What becomes of names.
    pub translation: Translation,
    /// Resource attributes that every series gets as labels, `*` for all. Default: none.
    pub resource_labels: Vec<String>,
    /// Whether series get the labels `otel_scope_...`. Default: yes.
    pub scope_labels: bool,
    /// Whether there is a `target_info`. Default: yes.
    pub target_info: bool,
    /// Whether explicit histograms become native ones with custom buckets. Default: no.
    pub custom_buckets: bool,
    /// Totals of delta streams; `None` refuses them, which is the default.
    pub accumulate: Option<Limits>,
}

impl Default for FromOtlpOptions {
    fn default() -> Self {
        Self {
            translation: Translation::default(),
            resource_labels: Vec::new(),
            scope_labels: true,
            target_info: true,
            custom_buckets: false,
            accumulate: None,
        }
    }
}

/// What was not converted as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Points refused, by reason.
    pub refused: BTreeMap<Refused, u64>,
    /// Which they are: their numbers, from 0, among the points of all requests of the call in their order. Ascending.
    pub refused_points: Vec<(Refused, Range<u64>)>,
    /// Labels whose names met after escaping and whose values were joined.
    pub joined_labels: u64,
}

/// Converts. See the module.
#[derive(Debug)]
pub struct FromOtlp {
    pub(super) options: FromOtlpOptions,
    pub(super) labels: LabelWriter,
    pub(super) accumulator: Option<Accumulator>,
    targets: HashMap<u128, i64>,
    hashers: [DefaultHashBuilder; 2],
    seen: HashSet<(u128, i64)>,
    pub(super) report: Report,
    /// Points of this call that were looked at, the one at hand among them.
    pub(super) looked_at: u64,
    pub(super) scratch: Scratch,
}

/// Memory that is used again for every point.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) base: Pairs,
    pub(super) series: Pairs,
    pub(super) exemplar: Pairs,
    pub(super) name: String,
    pub(super) explicit: Explicit,
    pub(super) exponential: Exponential,
    pub(super) positive: Sparse,
    pub(super) negative: Sparse,
}

/// Symbols of one builder that every point needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) name: Symbol,
    pub(super) le: Symbol,
    pub(super) quantile: Symbol,
    pub(super) job: Symbol,
    pub(super) instance: Symbol,
    pub(super) trace_id: Symbol,
    pub(super) span_id: Symbol,
}

/// Labels of the resource and the scope that points stand in.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// `job`, `instance`.
    identity: Pairs,
    /// Chosen resource attributes: a point's own label wins.
    promoted: Pairs,
    scope: Pairs,
    /// Earliest and latest time of its points, milliseconds.
    times: Option<(i64, i64)>,
}

/// The metric that points belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) metadata: Metadata,
    pub(super) name: Symbol,
    pub(super) sum: Symbol,
    pub(super) count: Symbol,
    pub(super) bucket: Symbol,
}

impl FromOtlp {
    /// A converter without state yet.
    pub fn new(options: FromOtlpOptions) -> Self {
        Self {
            labels: LabelWriter::new(options.translation),
            accumulator: options.accumulate.map(Accumulator::new),
            options,
            targets: HashMap::new(),
            hashers: [DefaultHashBuilder::default(), DefaultHashBuilder::default()],
            seen: HashSet::new(),
            report: Report::default(),
            looked_at: 0,
            scratch: Scratch::default(),
        }
    }

    /// Delta streams that are accumulated.
    pub fn accumulated_series(&self) -> usize {
        self.accumulator.as_ref().map_or(0, Accumulator::len)
    }

    /// Adds the series of requests to `out`. `now_ms` (Unix) is the time of points that have none, and what idle streams are
    /// measured by. Requests of other signals add nothing.
    ///
    /// # Errors
    /// When the texts would pass 4 GiB.
    pub fn convert<'r>(
        &mut self,
        requests: impl IntoIterator<Item = &'r Request>,
        now_ms: i64,
        out: &mut SeriesBuilder,
    ) -> Result<Report, TooMuchText> {
        self.seen.clear();
        self.looked_at = 0;
        let known = Known {
            name: out.intern(METRIC_NAME)?,
            le: out.intern("le")?,
            quantile: out.intern("quantile")?,
            job: out.intern("job")?,
            instance: out.intern("instance")?,
            trace_id: out.intern("trace_id")?,
            span_id: out.intern("span_id")?,
        };
        for request in requests.into_iter().filter(|r| r.signal() == model::Signal::Metrics) {
            for resource in ExportMetricsServiceRequest::of(request.bytes()).resource_metrics() {
                self.resource(resource, &known, now_ms, out)?;
            }
        }
        self.report.joined_labels = std::mem::take(&mut self.labels.joined);
        Ok(std::mem::take(&mut self.report))
    }

    fn resource(
        &mut self,
        resource: ResourceMetrics<'_>,
        known: &Known,
        now_ms: i64,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let mut around = Around::default();
        self.identity(resource, known, &mut around, out)?;
        for scope in resource.scope_metrics() {
            self.scope(scope, &mut around.scope, out)?;
            for metric in scope.metrics() {
                self.metric(metric, known, &mut around, now_ms, out)?;
            }
        }
        self.target_info(resource, known, &around, out)
    }

    fn identity(
        &mut self,
        resource: ResourceMetrics<'_>,
        known: &Known,
        around: &mut Around,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let Some(resource) = resource.resource() else { return Ok(()) };
        let (mut service, mut namespace, mut instance) = (None, None, None);
        for attribute in resource.attributes() {
            let place = match attribute.key() {
                SERVICE_NAME => &mut service,
                SERVICE_NAMESPACE => &mut namespace,
                SERVICE_INSTANCE => &mut instance,
                _ => continue,
            };
            *place = attribute.value().map(|value| self.labels.text(value)).filter(|text| !text.is_empty());
        }
        if let Some(service) = service {
            let job = match namespace {
                Some(namespace) => out.intern(&format!("{namespace}/{service}"))?,
                None => out.intern(&service)?,
            };
            around.identity.push((known.job, job));
        }
        if let Some(instance) = instance {
            around.identity.push((known.instance, out.intern(&instance)?));
        }
        let chosen = &self.options.resource_labels;
        if !chosen.is_empty() {
            let all = chosen.iter().any(|name| name == "*");
            let keep = |key: &str| {
                key != METRIC_NAME
                    && if all { !is_identity(key) } else { chosen.iter().any(|name| name == key) }
            };
            self.labels.attributes(resource.attributes(), "", keep, out, &mut around.promoted)?;
        }
        Ok(())
    }

    fn scope(
        &mut self,
        scope: ScopeMetrics<'_>,
        pairs: &mut Pairs,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        pairs.clear();
        let Some(inner) = scope.scope().filter(|_| self.options.scope_labels) else { return Ok(()) };
        self.labels.attributes(inner.attributes(), "otel_scope_", |_| true, out, pairs)?;
        for (name, value) in [
            ("otel_scope_name", inner.name()),
            ("otel_scope_version", inner.version()),
            ("otel_scope_schema_url", scope.schema_url()),
        ] {
            if !value.is_empty() {
                let (name, value) = (out.intern(name)?, out.intern(value)?);
                set(pairs, name, value);
            }
        }
        Ok(())
    }

    fn metric(
        &mut self,
        metric: Metric<'_>,
        known: &Known,
        around: &mut Around,
        now_ms: i64,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let (kind, name_kind) = kind(metric);
        let mut name = std::mem::take(&mut self.scratch.name);
        metric_name(self.options.translation, metric.name(), metric.unit(), name_kind, &mut name);
        let family = self.family(metric, kind, &mut name, out);
        let usable = !name.is_empty();
        self.scratch.name = name;
        self.points(metric, known, (family?, usable), around, now_ms, out)
    }

    fn family(
        &mut self,
        metric: Metric<'_>,
        kind: MetricKind,
        name: &mut String,
        out: &mut SeriesBuilder,
    ) -> Result<Family, TooMuchText> {
        let whole = out.intern(name)?;
        let mut family =
            Family { metadata: Metadata::default(), name: whole, sum: whole, count: whole, bucket: whole };
        if matches!(kind, MetricKind::Histogram | MetricKind::Summary) {
            let len = name.len();
            for (suffix, symbol) in
                [("_sum", &mut family.sum), ("_count", &mut family.count), ("_bucket", &mut family.bucket)]
            {
                name.push_str(suffix);
                *symbol = out.intern(name)?;
                name.truncate(len);
            }
        }
        let mut unit_text = String::new();
        unit(metric.unit(), &mut unit_text);
        family.metadata = out.metadata(kind, metric.description(), &unit_text)?;
        Ok(family)
    }

    /// Refuses the last so many points that were looked at.
    pub(super) fn refuse(&mut self, reason: Refused, points: u64) {
        if points == 0 {
            return;
        }
        *self.report.refused.entry(reason).or_default() += points;
        let refused = self.looked_at - points..self.looked_at;
        match self.report.refused_points.last_mut() {
            Some((last, range)) if *last == reason && range.end == refused.start => range.end = refused.end,
            _ => self.report.refused_points.push((reason, refused)),
        }
    }

    /// Collects the labels of a point in `scratch.base`, sorted, and says which series it is.
    pub(super) fn point_labels<'a>(
        &mut self,
        attributes: model::Messages<'a, model::otlp::KeyValue<'a>>,
        name: Symbol,
        around: &Around,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let mut base = std::mem::take(&mut self.scratch.base);
        base.clear();
        let written = self.labels.attributes(attributes, "", |key| key != METRIC_NAME, out, &mut base);
        for (label, value) in &around.promoted {
            if !base.iter().any(|(known, _)| known == label) {
                base.push((*label, *value));
            }
        }
        around.scope.iter().chain(&around.identity).for_each(|(label, value)| set(&mut base, *label, *value));
        sort(&mut base, out);
        self.scratch.base = base;
        debug_assert!(name != Symbol::EMPTY);
        written
    }

    /// Whether the series of this name with the labels in `scratch.base` has a point of this time already.
    pub(super) fn is_duplicate(&mut self, name: Symbol, time_ms: i64) -> bool {
        let lanes = [0, 1].map(|lane: usize| self.hashers[lane].hash_one((name, &self.scratch.base)));
        !self.seen.insert((u128::from(lanes[0]) << 64 | u128::from(lanes[1]), time_ms))
    }

    /// A number for the series that holds across requests.
    pub(super) fn stream_key(&self, name: Symbol, pairs: &Pairs, out: &SeriesBuilder) -> u128 {
        let text = |symbol: &Symbol| out.symbols().get(*symbol);
        let lanes = [0, 1].map(|lane: usize| {
            use std::hash::{Hash as _, Hasher as _};
            let mut hasher = self.hashers[lane].build_hasher();
            text(&name).hash(&mut hasher);
            pairs.iter().for_each(|(name, value)| (text(name), text(value)).hash(&mut hasher));
            hasher.finish()
        });
        u128::from(lanes[0]) << 64 | u128::from(lanes[1])
    }

    /// `target_info` holds the attributes of a resource that are not in `job` and `instance`. It is given at the time of the
    /// latest point and every 150 s before that back to the earliest, but never before one already given.
    fn target_info(
        &mut self,
        resource: ResourceMetrics<'_>,
        known: &Known,
        around: &Around,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let (Some(resource), Some((earliest, latest))) = (resource.resource(), around.times) else {
            return Ok(());
        };
        if !self.options.target_info || around.identity.is_empty() {
            return Ok(());
        }
        let mut pairs = Pairs::new();
        let keep = |key: &str| key != METRIC_NAME && !is_identity(key);
        self.labels.attributes(resource.attributes(), "", keep, out, &mut pairs)?;
        if pairs.is_empty() {
            return Ok(());
        }
        around.identity.iter().for_each(|(name, value)| set(&mut pairs, *name, *value));
        set(&mut pairs, known.name, out.intern("target_info")?);
        sort(&mut pairs, out);
        let key = self.stream_key(known.name, &pairs, out);
        let last = self.targets.get(&key).copied().unwrap_or(i64::MIN);
        if latest < last {
            return Ok(());
        }
        if self.targets.len() >= MAX_TARGETS {
            self.targets.clear();
        }
        self.targets.insert(key, latest);
        let metadata = out.metadata(MetricKind::Info, "Target metadata", "")?;
        if out.series_of(&pairs, metadata).is_err() {
            return Ok(());
        }
        out.uncounted();
        let earliest = earliest.max(last).max(latest.saturating_sub(MAX_TARGET_INFO * TARGET_INFO_EVERY_MS));
        let mut at = earliest;
        while at < latest {
            out.sample(Sample { value: 1.0, timestamp_ms: at, start_ms: 0 });
            at += TARGET_INFO_EVERY_MS;
        }
        out.sample(Sample { value: 1.0, timestamp_ms: latest, start_ms: 0 });
        Ok(())
    }
}

impl Around {
    pub(super) fn saw(&mut self, time_ms: i64) {
        let (first, last) = self.times.unwrap_or((time_ms, time_ms));
        self.times = Some((first.min(time_ms), last.max(time_ms)));
    }
}

fn is_identity(key: &str) -> bool {
    [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE].contains(&key)
}

/// What a metric is to Prometheus. `prometheus.type` in its metadata says what it was before it became OTLP.
fn kind(metric: Metric<'_>) -> (MetricKind, NameKind) {
    let was = metric
        .metadata()
        .find(|pair| pair.key() == "prometheus.type")
        .and_then(|pair| pair.value())
        .and_then(|value| value.string_value())
        .unwrap_or_default();
    if metric.gauge().is_some() {
        let kind = if was == "unknown" { MetricKind::Unknown } else { MetricKind::Gauge };
        return (kind, NameKind::Gauge);
    }
    if let Some(sum) = metric.sum() {
        return match (sum.is_monotonic(), was) {
            (true, _) => (MetricKind::Counter, NameKind::Counter),
            (_, "info") => (MetricKind::Info, NameKind::Other),
            (_, "stateset") => (MetricKind::StateSet, NameKind::Other),
            _ => (MetricKind::Gauge, NameKind::Other),
        };
    }
    let kind = if metric.summary().is_some() { MetricKind::Summary } else { MetricKind::Histogram };
    (kind, NameKind::Other)
}
