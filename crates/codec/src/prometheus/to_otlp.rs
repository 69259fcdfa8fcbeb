//! Prometheus series as OTLP metrics.
//!
//! ```text
//! job, instance      -> resource with service.name, service.instance.id, and the labels of target_info
//! otel_scope_...     -> scope
//! counter            -> monotonic sum      gauge, unknown -> gauge      info, stateset -> sum that is not monotonic
//! _bucket _sum _count of a histogram -> histogram        quantiles, _sum, _count of a summary -> summary
//! native histogram   -> exponential histogram (custom buckets: explicit; gauge: delta, which is what Prometheus makes of delta)
//! ```
//! Specification: <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>. What a series is, its metadata
//! says, or that of its family; names and labels are not altered. A stale marker becomes the flag `no recorded value`.
//!
//! Invariant: no sample is lost. Parts of a histogram without its count, which the specification drops, become numbers under
//! their own names: the count may be in another request. So does `target_info` if nothing else of its target is there.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use model::series::{LabelHasher, METRIC_NAME, MetricKind, SeriesBatch, SeriesRef, Symbol, SymbolHashes};
use model::{Payload, Request, Signal, Writer};

use super::to_otlp_group::{Data, Entry, Role};
use super::to_otlp_write::write;

/// A payload as OTLP: requests as they are, series converted.
pub fn otlp_form(payload: &Payload) -> Cow<'_, Request> {
    match payload {
        Payload::Otlp(request) => Cow::Borrowed(request),
        Payload::Series(series) => Cow::Owned(to_otlp(series)),
    }
}

/// A batch of series as a metrics request.
pub fn to_otlp(batch: &SeriesBatch) -> Request {
    let mut grouping = Grouping::of(batch);
    grouping.classify();
    grouping.settle_orphans();
    let (mut entries, targets) = grouping.finish();
    // Stable: the order of samples holds within a group.
    entries.sort_by_key(|entry| entry.ids);
    let mut writer = Writer::with_capacity(batch.size());
    let points = write(&entries, &targets, &mut writer);
    Request::written(Signal::Metrics, points, writer)
}

/// What is known of a family that came without a series.
#[derive(Clone, Copy, Debug)]
struct About<'b> {
    kind: MetricKind,
    help: &'b str,
    unit: &'b str,
}

struct Grouping<'b> {
    batch: &'b SeriesBatch,
    hashes: SymbolHashes,
    families: HashMap<&'b str, About<'b>>,
    entries: Vec<Entry<'b>>,
    targets: Vec<Entry<'b>>,
}

impl<'b> Grouping<'b> {
    fn of(batch: &'b SeriesBatch) -> Self {
        let mut hashes = SymbolHashes::default();
        LabelHasher::new().symbols(batch.symbols(), &mut hashes);
        let text = |symbol: Symbol| batch.symbols().get(symbol);
        let families = batch.families().iter().map(|family| {
            let metadata = family.metadata;
            let about = About { kind: metadata.kind, help: text(metadata.help), unit: text(metadata.unit) };
            (text(family.name), about)
        });
        Self { batch, hashes, families: families.collect(), entries: Vec::new(), targets: Vec::new() }
    }

    fn about(&self, series: &SeriesRef<'b>, name: &'b str) -> About<'b> {
        let (kind, help, unit) = series.metadata_text();
        if kind != MetricKind::Unknown || self.families.is_empty() {
            return About { kind, help, unit };
        }
        let base = || {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
            let grouped = |about: &&About<'_>| {
                matches!(about.kind, MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary)
            };
            self.families.get(base).filter(grouped)
        };
        let total =
            || self.families.get(name.strip_suffix("_total")?).filter(|a| a.kind == MetricKind::Counter);
        let known = self.families.get(name).or_else(base).or_else(total);
        known.copied().unwrap_or(About { kind, help, unit })
    }

    /// Says of each series what it is a part of.
    fn classify(&mut self) {
        for series in self.batch.iter() {
            let name = series.name();
            let about = self.about(&series, name);
            if series.samples().is_empty() && series.histograms().len() == 0 {
                continue;
            }
            let mut entry = Entry::new(series, name, (about.kind, about.help, about.unit));
            let native = series.histograms().len() > 0;
            if native {
                for data in native_kinds(&series) {
                    let mut native = Entry { role: Role::Native, data, ..entry.clone() };
                    self.identify(&mut native);
                    self.entries.push(native);
                }
            }
            if series.samples().is_empty() {
                continue;
            }
            if !native {
                entry.find_role();
            }
            self.identify(&mut entry);
            if name == "target_info" && entry.resource != 0 {
                self.targets.push(entry);
            } else {
                self.entries.push(entry);
            }
        }
    }

    /// Hashes of the labels that say which resource, scope and point a series belongs to.
    fn identify(&self, entry: &mut Entry<'b>) {
        let labels = entry.series.labels();
        let part = |salt: u64, keep: &dyn Fn(&str) -> bool| {
            let kept = labels.symbols().zip(labels.iter()).filter(|(_, (name, _))| keep(name));
            self.hashes.symbols(salt, kept.flat_map(|((name, value), _)| [name, value]))
        };
        let has_target = labels.iter().any(|(name, _)| is_target(name));
        entry.resource = if has_target { part(1, &is_target) | 1 } else { 0 };
        entry.scope = part(2, &|name| name.starts_with("otel_scope_"));
        let own = entry.role.own_label();
        entry.point = part(3, &|name| is_attribute(name) && Some(name) != own);
    }

    /// Makes numbers of parts whose whole is not there.
    fn settle_orphans(&mut self) {
        let key = |e: &Entry<'b>| (e.resource, e.scope, e.point, e.family, e.data);
        let whole: HashSet<_> = self.entries.iter().filter(|e| e.role.makes_whole(e.edge)).map(key).collect();
        let mut orphans = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if matches!(entry.data, Data::Histogram | Data::Summary) && !whole.contains(&key(entry)) {
                orphans.push(index);
            }
        }
        for index in orphans {
            let mut entry = self.entries[index].clone();
            entry.orphan();
            self.identify(&mut entry);
            self.entries[index] = entry;
        }
        let resources: HashSet<u128> = self.entries.iter().map(|e| e.resource).collect();
        let (used, alone) =
            std::mem::take(&mut self.targets).into_iter().partition(|t| resources.contains(&t.resource));
        self.targets = used;
        let alone: Vec<Entry<'b>> = alone;
        self.entries
            .extend(alone.into_iter().map(|target| Entry { data: Data::Sum { monotonic: false }, ..target }));
    }

    /// Numbers the groups in the order in which they are first seen.
    fn finish(mut self) -> (Vec<Entry<'b>>, HashMap<u128, SeriesRef<'b>>) {
        let mut resources = HashMap::new();
        let mut scopes = HashMap::new();
        let mut metrics = HashMap::new();
        let mut points = HashMap::new();
        for entry in &mut self.entries {
            let next = resources.len() as u32;
            let resource = *resources.entry(entry.resource).or_insert(next);
            let next = scopes.len() as u32;
            let scope = *scopes.entry((resource, entry.scope)).or_insert(next);
            let next = metrics.len() as u32;
            let metric = *metrics.entry((scope, entry.family, entry.data)).or_insert(next);
            let next = points.len() as u32;
            let point = *points.entry((metric, entry.point)).or_insert(next);
            entry.ids = (resource, scope, metric, point);
        }
        let targets = self.targets.iter().map(|target| (target.resource, target.series)).collect();
        (self.entries, targets)
    }
}

/// The data that the native histograms of a series become: one kind, mostly.
fn native_kinds(series: &SeriesRef<'_>) -> impl Iterator<Item = Data> + use<> {
    let mut found = [false; 3];
    for histogram in series.histograms() {
        found[Data::of_native(&histogram).native_index()] = true;
    }
    [Data::Exponential, Data::ExponentialDelta, Data::Custom]
        .into_iter()
        .enumerate()
        .filter(move |(n, _)| found[*n])
        .map(|(_, data)| data)
}

fn is_target(name: &str) -> bool {
    matches!(name, "job" | "instance")
}

/// Whether a label becomes an attribute of the point.
pub(super) fn is_attribute(name: &str) -> bool {
    name != METRIC_NAME && !is_target(name) && !name.starts_with("otel_scope_")
}
