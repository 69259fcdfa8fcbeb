//! Writing grouped series as OTLP. Field numbers are those of `metrics.proto`.

use std::collections::HashMap;

use model::Writer;
use model::series::{Count, Exemplar, Histogram, MetricKind, STALE_NAN_BITS, Sample, SeriesRef};
use model::wire::{Wire, varint_len};

use super::names::otlp_unit;
use super::native::{Dense, dense, each_bucket};
use super::to_otlp::is_attribute;
use super::to_otlp_group::{Data, Entry, Role};
use crate::json_text::parse_hex;

const CUMULATIVE: u64 = 2;
const DELTA: u64 = 1;
const NO_RECORDED_VALUE: u64 = 1;
const SCOPE_ATTRIBUTE: &str = "otel_scope_";

/// Writes `resource_metrics` of sorted entries; how many points there are.
pub(super) fn write(entries: &[Entry<'_>], targets: &HashMap<u128, SeriesRef<'_>>, w: &mut Writer) -> usize {
    let mut points = 0;
    for resource in entries.chunk_by(|a, b| a.ids.0 == b.ids.0) {
        w.message(1, |w| {
            write_resource(&resource[0], targets.get(&resource[0].resource), w);
            for scope in resource.chunk_by(|a, b| a.ids.1 == b.ids.1) {
                w.message(2, |w| {
                    let url = write_scope(&scope[0].series, w);
                    for metric in scope.chunk_by(|a, b| a.ids.2 == b.ids.2) {
                        points += w.message(2, |w| write_metric(metric, w));
                    }
                    if let Some(url) = url {
                        w.string(3, url);
                    }
                });
            }
        });
    }
    points
}

fn attribute(w: &mut Writer, number: u32, key: &str, value: &str) {
    w.message(number, |w| {
        w.string(1, key);
        w.message(2, |w| w.string(1, value));
    });
}

fn write_resource(entry: &Entry<'_>, target: Option<&SeriesRef<'_>>, w: &mut Writer) {
    if entry.resource == 0 {
        return;
    }
    let labels = entry.series.labels();
    w.message(1, |w| {
        for (label, key) in [("job", "service.name"), ("instance", "service.instance.id")] {
            if let Some(value) = labels.get(label) {
                attribute(w, 1, key, value);
            }
        }
        let more = target.into_iter().flat_map(|target| target.labels().iter());
        more.filter(|(name, _)| is_attribute(name)).for_each(|(name, value)| attribute(w, 1, name, value));
    });
}

fn write_scope<'b>(series: &SeriesRef<'b>, w: &mut Writer) -> Option<&'b str> {
    let labels = series.labels();
    if !labels.iter().any(|(name, _)| name.starts_with(SCOPE_ATTRIBUTE)) {
        return None;
    }
    let mut url = None;
    w.message(1, |w| {
        for (name, value) in labels.iter() {
            match name.strip_prefix(SCOPE_ATTRIBUTE) {
                Some("name") => w.string(1, value),
                Some("version") => w.string(2, value),
                Some("schema_url") => url = Some(value),
                Some(key) => attribute(w, 3, key, value),
                None => {}
            }
        }
    });
    url
}

fn write_metric(entries: &[Entry<'_>], w: &mut Writer) -> usize {
    let first = &entries[0];
    let (kind, help, unit) = first.about;
    w.string(1, first.family);
    if !help.is_empty() {
        w.string(2, help);
    }
    if !unit.is_empty() {
        w.string(3, &otlp_unit(unit));
    }
    let (field, temporality, monotonic) = match first.data {
        Data::Gauge => (5, None, false),
        Data::Sum { monotonic } => (7, Some(CUMULATIVE), monotonic),
        Data::Histogram | Data::Custom => (9, Some(CUMULATIVE), false),
        Data::Exponential => (10, Some(CUMULATIVE), false),
        Data::ExponentialDelta => (10, Some(DELTA), false),
        Data::Summary => (11, None, false),
    };
    let points = w.message(field, |w| {
        let mut points = 0;
        for point in entries.chunk_by(|a, b| a.ids.3 == b.ids.3) {
            points += match first.data {
                Data::Gauge | Data::Sum { .. } => write_numbers(point, w),
                Data::Histogram | Data::Summary => write_parts(point, w),
                native => write_natives(point, native, w),
            };
        }
        if let Some(temporality) = temporality {
            w.uint(2, temporality);
        }
        if monotonic {
            w.bool(3, true);
        }
        points
    });
    attribute(w, 12, "prometheus.type", kind_name(kind));
    points
}

fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "unknown",
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
        MetricKind::GaugeHistogram => "gaugehistogram",
        MetricKind::Summary => "summary",
        MetricKind::Info => "info",
        MetricKind::StateSet => "stateset",
    }
}

fn nanos(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}

/// Start and time stand in fields 2 and 3 of every kind of point.
fn write_times(w: &mut Writer, start_ms: i64, time_ms: i64) {
    if start_ms != 0 {
        w.fixed64(2, nanos(start_ms));
    }
    w.fixed64(3, nanos(time_ms));
}

fn write_attributes(w: &mut Writer, number: u32, entry: &Entry<'_>) {
    let own = entry.role.own_label();
    for (name, value) in entry.series.labels().iter() {
        if is_attribute(name) && Some(name) != own {
            attribute(w, number, name, value);
        }
    }
}

fn write_exemplar(w: &mut Writer, number: u32, exemplar: &Exemplar<'_>) {
    w.message(number, |w| {
        w.fixed64(2, nanos(exemplar.timestamp_ms));
        w.double(3, exemplar.value);
        for (name, value) in exemplar.labels.iter() {
            // An id that is none stays a label.
            match (name, parse_hex::<8>(value), parse_hex::<16>(value)) {
                ("span_id", Some(id), _) => w.bytes(4, &id),
                ("trace_id", _, Some(id)) => w.bytes(5, &id),
                _ => attribute(w, 7, name, value),
            }
        }
    });
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

fn write_numbers(entries: &[Entry<'_>], w: &mut Writer) -> usize {
    let mut points = 0;
    for entry in entries {
        let last = entry.series.samples().len().saturating_sub(1);
        for (n, sample) in entry.series.samples().iter().enumerate() {
            w.message(1, |w| {
                write_times(w, sample.start_ms, sample.timestamp_ms);
                match is_stale(sample.value) {
                    true => w.uint(8, NO_RECORDED_VALUE),
                    false => w.double(4, sample.value),
                }
                // Exemplars have times of their own and come with the last sample.
                if n == last {
                    entry.series.exemplars().for_each(|exemplar| write_exemplar(w, 5, &exemplar));
                }
                write_attributes(w, 7, entry);
            });
            points += 1;
        }
    }
    points
}

/// Joins the parts of one histogram or summary: one point for each time at which any of them has a sample.
fn write_parts(entries: &[Entry<'_>], w: &mut Writer) -> usize {
    let mut parts: Vec<(Sample, &Entry<'_>)> =
        entries.iter().flat_map(|entry| entry.series.samples().iter().map(move |s| (*s, entry))).collect();
    parts.sort_by(|a, b| a.0.timestamp_ms.cmp(&b.0.timestamp_ms).then(a.1.edge.total_cmp(&b.1.edge)));
    let last = parts.last().map(|(sample, _)| sample.timestamp_ms);
    let mut points = 0;
    for point in parts.chunk_by(|a, b| a.0.timestamp_ms == b.0.timestamp_ms) {
        let exemplars = if Some(point[0].0.timestamp_ms) == last { entries } else { &[] };
        w.message(1, |w| match point[0].1.data {
            Data::Summary => write_summary(point, w),
            _ => write_histogram(point, exemplars, w),
        });
        points += 1;
    }
    points
}

fn part(parts: &[(Sample, &Entry<'_>)], role: Role) -> Option<f64> {
    parts.iter().find(|(_, entry)| entry.role == role).map(|(sample, _)| sample.value)
}

fn whole(value: f64) -> u64 {
    // Saturates, and NaN is 0.
    value.round() as u64
}

fn write_histogram(parts: &[(Sample, &Entry<'_>)], exemplars: &[Entry<'_>], w: &mut Writer) {
    let stale = parts.iter().any(|(sample, _)| is_stale(sample.value));
    let start_ms = parts.iter().map(|(sample, _)| sample.start_ms).find(|start| *start != 0).unwrap_or(0);
    write_times(w, start_ms, parts[0].0.timestamp_ms);
    if stale {
        w.uint(10, NO_RECORDED_VALUE);
    } else {
        let buckets = || parts.iter().filter(|(_, entry)| entry.role == Role::Bucket);
        let most = buckets().map(|(sample, _)| sample.value).fold(0.0, f64::max);
        let count = whole(part(parts, Role::Count).unwrap_or(most));
        w.fixed64(4, count);
        if let Some(sum) = part(parts, Role::Sum).filter(|sum| !sum.is_nan()) {
            w.double(5, sum);
        }
        let bounds: Vec<f64> = buckets().map(|(_, e)| e.edge).filter(|edge| *edge < f64::INFINITY).collect();
        if buckets().next().is_some() {
            let mut below = 0;
            let mut counts: Vec<u64> = Vec::with_capacity(bounds.len() + 1);
            for (sample, _) in buckets().take(bounds.len()) {
                let value = whole(sample.value);
                counts.push(value.saturating_sub(below));
                below = below.max(value);
            }
            counts.push(count.saturating_sub(below));
            write_fixed(w, 6, counts.into_iter());
            write_fixed(w, 7, bounds.iter().map(|bound| bound.to_bits()));
        }
    }
    for entry in exemplars {
        entry.series.exemplars().for_each(|exemplar| write_exemplar(w, 8, &exemplar));
    }
    write_attributes(w, 9, parts[0].1);
}

fn write_fixed(w: &mut Writer, number: u32, values: impl ExactSizeIterator<Item = u64>) {
    if values.len() > 0 {
        w.tag(number, Wire::Len);
        w.varint(8 * values.len() as u64);
        values.for_each(|value| w.raw(&value.to_le_bytes()));
    }
}

fn write_summary(parts: &[(Sample, &Entry<'_>)], w: &mut Writer) {
    let start_ms = parts.iter().map(|(sample, _)| sample.start_ms).find(|start| *start != 0).unwrap_or(0);
    write_times(w, start_ms, parts[0].0.timestamp_ms);
    if parts.iter().any(|(sample, _)| is_stale(sample.value)) {
        w.uint(8, NO_RECORDED_VALUE);
    } else {
        w.fixed64(4, whole(part(parts, Role::Count).unwrap_or(0.0)));
        w.double(5, part(parts, Role::Sum).unwrap_or(0.0));
        for (sample, entry) in parts.iter().filter(|(_, entry)| entry.role == Role::Quantile) {
            w.message(6, |w| {
                w.double(1, entry.edge);
                w.double(2, sample.value);
            });
        }
    }
    write_attributes(w, 7, parts[0].1);
}

fn write_natives(entries: &[Entry<'_>], data: Data, w: &mut Writer) -> usize {
    let mut points = 0;
    for entry in entries {
        let histograms = entry.series.histograms().filter(|h| Data::of_native(h) == data);
        let last = entry.series.histograms().filter(|h| Data::of_native(h) == data).count().saturating_sub(1);
        for (n, histogram) in histograms.enumerate() {
            let with_exemplars = (n == last).then_some(entry);
            w.message(1, |w| match data {
                Data::Custom => write_custom(&histogram, entry, with_exemplars, w),
                _ => write_exponential(&histogram, entry, with_exemplars, w),
            });
            points += 1;
        }
    }
    points
}

fn count(count: Count) -> u64 {
    match count {
        Count::Int(n) => n,
        Count::Float(n) => whole(n),
    }
}

fn write_exponential(
    histogram: &Histogram<'_>,
    entry: &Entry<'_>,
    with_exemplars: Option<&Entry<'_>>,
    w: &mut Writer,
) {
    write_attributes(w, 1, entry);
    write_times(w, histogram.start_ms, histogram.timestamp_ms);
    if is_stale(histogram.sum) {
        w.uint(10, NO_RECORDED_VALUE);
    } else {
        let (scale, positive, negative) = dense(histogram.schema, &histogram.positive, &histogram.negative);
        w.fixed64(4, count(histogram.count));
        if !histogram.sum.is_nan() {
            w.double(5, histogram.sum);
        }
        w.sint(6, i64::from(scale));
        w.fixed64(7, count(histogram.zero_count));
        write_dense(w, 8, &positive);
        write_dense(w, 9, &negative);
        w.double(14, histogram.zero_threshold);
    }
    let exemplars = with_exemplars.into_iter().flat_map(|entry| entry.series.exemplars());
    exemplars.for_each(|exemplar| write_exemplar(w, 11, &exemplar));
}

fn write_dense(w: &mut Writer, number: u32, side: &Dense) {
    if side.counts.is_empty() {
        return;
    }
    w.message(number, |w| {
        w.sint(1, side.offset);
        w.tag(2, Wire::Len);
        w.varint(side.counts.iter().map(|n| varint_len(*n) as u64).sum());
        side.counts.iter().for_each(|n| w.varint(*n));
    });
}

fn write_custom(
    histogram: &Histogram<'_>,
    entry: &Entry<'_>,
    with_exemplars: Option<&Entry<'_>>,
    w: &mut Writer,
) {
    write_times(w, histogram.start_ms, histogram.timestamp_ms);
    if is_stale(histogram.sum) {
        w.uint(10, NO_RECORDED_VALUE);
    } else {
        w.fixed64(4, count(histogram.count));
        if !histogram.sum.is_nan() {
            w.double(5, histogram.sum);
        }
        let mut counts = vec![0u64; histogram.custom_values.len() + 1];
        each_bucket(&histogram.positive, |bucket, n| {
            // A bucket beyond the bounds is the last.
            let at = usize::try_from(bucket).unwrap_or(0).min(counts.len() - 1);
            counts[at] = counts[at].saturating_add(n);
        });
        write_fixed(w, 6, counts.into_iter());
        write_fixed(w, 7, histogram.custom_values.iter().map(|bound| bound.to_bits()));
    }
    let exemplars = with_exemplars.into_iter().flat_map(|entry| entry.series.exemplars());
    exemplars.for_each(|exemplar| write_exemplar(w, 8, &exemplar));
    write_attributes(w, 9, entry);
}
