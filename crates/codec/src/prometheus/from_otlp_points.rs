//! Data points as samples.

use model::SeriesBuilder;
use model::otlp::{
    Exemplar, ExponentialHistogramDataPoint, ExponentialHistogramDataPointBuckets, HistogramDataPoint,
    KeyValue, Metric, NumberDataPoint, SummaryDataPoint,
};
use model::series::{Count, Histogram, METRIC_NAME, STALE_NAN_BITS, Sample, Symbol, TooMuchText};
use model::{Message, Messages};

use super::delta::{MAX_SCALE, MIN_SCALE, Number, Place, Refused};
use super::from_otlp::{Around, Family, FromOtlp, Known, reasons};
use super::from_otlp_labels::number_text;
use super::native::Dense;

/// `AGGREGATION_TEMPORALITY_DELTA`, `AGGREGATION_TEMPORALITY_CUMULATIVE`
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;
/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`
const NO_RECORDED_VALUE: u32 = 1;
/// OpenMetrics: the names and values of an exemplar's labels have at most so many characters together.
const MAX_EXEMPLAR_CHARS: usize = 128;
/// The specification's, for an exponential histogram that says nothing.
const ZERO_THRESHOLD: f64 = 1e-128;
/// The schema of custom buckets.
const CUSTOM_SCHEMA: i32 = -53;

/// What is known of a point before its value.
#[derive(Clone, Copy, Debug)]
struct Head {
    family: Family,
    delta: bool,
    stale: bool,
    start_ns: u64,
    time_ns: u64,
    now_ms: i64,
}

impl Head {
    fn time_ms(&self) -> i64 {
        // A point without a time is of now.
        if self.time_ns == 0 { self.now_ms } else { (self.time_ns / 1_000_000) as i64 }
    }

    fn sample(&self, value: f64) -> Sample {
        let value = if self.stale { f64::from_bits(STALE_NAN_BITS) } else { value };
        Sample { value, timestamp_ms: self.time_ms(), start_ms: (self.start_ns / 1_000_000) as i64 }
    }
}

/// What the points of one metric share.
struct Points<'c> {
    known: &'c Known,
    around: &'c mut Around,
    out: &'c mut SeriesBuilder,
}

impl FromOtlp {
    pub(super) fn points(
        &mut self,
        metric: Metric<'_>,
        known: &Known,
        (family, usable): (Family, bool),
        around: &mut Around,
        now_ms: i64,
        out: &mut SeriesBuilder,
    ) -> Result<(), TooMuchText> {
        let head = Head { family, delta: false, stale: false, start_ns: 0, time_ns: 0, now_ms };
        let to = &mut Points { known, around, out };
        if let Some(gauge) = metric.gauge() {
            let Some(head) = self.admit(usable, CUMULATIVE, head, gauge.data_points()) else { return Ok(()) };
            return gauge.data_points().try_for_each(|point| self.number(point, head, false, to));
        }
        if let Some(sum) = metric.sum() {
            let temporality = sum.aggregation_temporality();
            let Some(head) = self.admit(usable, temporality, head, sum.data_points()) else { return Ok(()) };
            let monotonic = sum.is_monotonic();
            return sum.data_points().try_for_each(|point| self.number(point, head, monotonic, to));
        }
        if let Some(histogram) = metric.histogram() {
            let temporality = histogram.aggregation_temporality();
            let Some(head) = self.admit(usable, temporality, head, histogram.data_points()) else {
                return Ok(());
            };
            return histogram.data_points().try_for_each(|point| self.explicit(point, head, to));
        }
        if let Some(histogram) = metric.exponential_histogram() {
            let temporality = histogram.aggregation_temporality();
            let Some(head) = self.admit(usable, temporality, head, histogram.data_points()) else {
                return Ok(());
            };
            return histogram.data_points().try_for_each(|point| self.exponential(point, head, to));
        }
        if let Some(summary) = metric.summary() {
            let Some(head) = self.admit(usable, CUMULATIVE, head, summary.data_points()) else {
                return Ok(());
            };
            return summary.data_points().try_for_each(|point| self.summary(point, head, to));
        }
        Ok(())
    }

    /// Refuses all points of a metric that Prometheus cannot have.
    fn admit<'a, M: Message<'a>>(
        &mut self,
        usable: bool,
        temporality: i32,
        head: Head,
        points: Messages<'a, M>,
    ) -> Option<Head> {
        let reason = match temporality {
            _ if !usable => reasons::NAME,
            CUMULATIVE => return Some(head),
            DELTA if self.accumulator.is_some() => return Some(Head { delta: true, ..head }),
            DELTA => reasons::DELTA,
            _ => reasons::TEMPORALITY,
        };
        let points = points.count() as u64;
        self.looked_at += points;
        self.refuse(reason, points);
        None
    }

    /// Labels and time of a point; `None` if its series has one of this time.
    fn enter<'a>(
        &mut self,
        attributes: Messages<'a, KeyValue<'a>>,
        (start_ns, time_ns, flags): (u64, u64, u32),
        head: Head,
        to: &mut Points<'_>,
    ) -> Result<Option<Head>, TooMuchText> {
        self.looked_at += 1;
        self.point_labels(attributes, head.family.name, to.around, to.out)?;
        let head = Head { start_ns, time_ns, stale: flags & NO_RECORDED_VALUE != 0, ..head };
        if self.is_duplicate(head.family.name, head.time_ms()) {
            self.refuse(reasons::DUPLICATE, 1);
            return Ok(None);
        }
        to.around.saw(head.time_ms());
        Ok(Some(head))
    }

    /// Adds a delta point to its total by `add` and gives the head the start of the total. A stale point ends its stream.
    fn accumulate(
        &mut self,
        head: &mut Head,
        to: &Points<'_>,
        add: impl FnOnce(&mut super::delta::Accumulator, &mut Place) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if !head.delta {
            return Ok(());
        }
        let key = self.stream_key(head.family.name, &self.scratch.base, to.out);
        let Some(accumulator) = &mut self.accumulator else { return Err(reasons::DELTA) };
        if head.stale {
            accumulator.forget(key);
            return Ok(());
        }
        // The time as it comes out, so that a point without one is not older than itself.
        let now_ns = u64::try_from(head.now_ms).unwrap_or(0).saturating_mul(1_000_000);
        let time_ns = if head.time_ns == 0 { now_ns } else { head.time_ns };
        let mut place = Place { key, start_ns: head.start_ns, time_ns, now_ms: head.now_ms };
        add(accumulator, &mut place)?;
        head.start_ns = place.start_ns;
        Ok(())
    }

    /// Begins the series of the point called `name`, with a label more or none.
    fn begin(
        &mut self,
        name: Symbol,
        head: &Head,
        more: Option<(Symbol, Symbol)>,
        to: &mut Points<'_>,
    ) -> bool {
        let series = &mut self.scratch.series;
        series.clear();
        series.extend_from_slice(&self.scratch.base);
        for (label, value) in more.into_iter().chain([(to.known.name, name)]) {
            let symbols = to.out.symbols();
            let text = symbols.get(label);
            match series.binary_search_by(|(known, _)| symbols.get(*known).cmp(text)) {
                Ok(at) => series[at].1 = value,
                Err(at) => series.insert(at, (label, value)),
            }
        }
        to.out.series_of(series, head.family.metadata).is_ok()
    }

    fn number(
        &mut self,
        point: NumberDataPoint<'_>,
        head: Head,
        has_exemplars: bool,
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        let times = (point.start_time_unix_nano(), point.time_unix_nano(), point.flags());
        let Some(mut head) = self.enter(point.attributes(), times, head, to)? else { return Ok(()) };
        let value = match (point.as_double(), point.as_int()) {
            (Some(value), _) => Number::Double(value),
            (_, Some(value)) => Number::Int(value),
            _ if head.stale => Number::Int(0),
            _ => {
                self.refuse(reasons::VALUE, 1);
                return Ok(());
            }
        };
        let mut sum = value.as_f64();
        let added = self.accumulate(&mut head, to, |totals, place| {
            sum = totals.number(place, value)?;
            Ok(())
        });
        if let Err(reason) = added {
            self.refuse(reason, 1);
            return Ok(());
        }
        if self.begin(head.family.name, &head, None, to) {
            to.out.sample(head.sample(sum));
            if has_exemplars {
                let exemplars = sorted_exemplars(point.exemplars());
                self.exemplars(&exemplars, to)?;
            }
        }
        Ok(())
    }

    fn explicit(
        &mut self,
        point: HistogramDataPoint<'_>,
        head: Head,
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        let times = (point.start_time_unix_nano(), point.time_unix_nano(), point.flags());
        let Some(mut head) = self.enter(point.attributes(), times, head, to)? else { return Ok(()) };
        let mut value = std::mem::take(&mut self.scratch.explicit);
        (value.count, value.sum) = (point.count(), point.sum());
        value.bounds.clear();
        value.bounds.extend(point.explicit_bounds());
        value.counts.clear();
        value.counts.extend(point.bucket_counts());
        let fit = value.counts.len() == value.bounds.len() + 1
            || value.counts.is_empty() && value.bounds.is_empty()
            || head.stale && value.counts.is_empty();
        let rising = value.bounds.is_sorted_by(|a, b| a < b) && !value.bounds.iter().any(|b| b.is_nan());
        let checked = if fit && rising { Ok(()) } else { Err(reasons::BUCKETS) };
        let added = checked.and_then(|()| {
            self.accumulate(&mut head, to, |totals, place| totals.explicit(place, &mut value))
        });
        let exemplars = sorted_exemplars(point.exemplars());
        let written = match added {
            Err(reason) => {
                self.refuse(reason, 1);
                Ok(())
            }
            Ok(()) if self.options.custom_buckets => self.custom(&value, &head, &exemplars, to),
            Ok(()) => self.classic(&value, &head, &exemplars, to),
        };
        self.scratch.explicit = value;
        written
    }

    fn classic(
        &mut self,
        value: &super::delta::Explicit,
        head: &Head,
        exemplars: &[Exemplar<'_>],
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        if let Some(sum) = value.sum.or(head.stale.then_some(0.0)) {
            self.part(head.family.sum, head, sum, to);
        }
        self.one(head.family.count, head, value.count as f64, to);
        let finite = value.bounds.iter().take_while(|bound| **bound < f64::INFINITY).count();
        let (mut below, mut from) = (0u64, f64::NEG_INFINITY);
        for (n, bound) in value.bounds[..finite].iter().chain([&f64::INFINITY]).enumerate() {
            let last = n == finite;
            below = if last {
                value.count
            } else {
                below.saturating_add(value.counts.get(n).copied().unwrap_or(0))
            };
            let le = to.out.intern(&number_text(*bound))?;
            if self.begin(head.family.bucket, head, Some((to.known.le, le)), to) {
                to.out.uncounted();
                to.out.sample(head.sample(below as f64));
                let here = exemplars.iter().copied().filter(|e| {
                    let value = exemplar_value(*e);
                    value > from && value <= *bound || value == f64::NEG_INFINITY && n == 0
                });
                let here: Vec<_> = here.collect();
                self.exemplars(&here, to)?;
            }
            from = *bound;
        }
        Ok(())
    }

    /// A series with one sample.
    fn one(&mut self, name: Symbol, head: &Head, value: f64, to: &mut Points<'_>) {
        if self.begin(name, head, None, to) {
            to.out.sample(head.sample(value));
        }
    }

    /// The same, where the count of the point stands for it in the books.
    fn part(&mut self, name: Symbol, head: &Head, value: f64, to: &mut Points<'_>) {
        if self.begin(name, head, None, to) {
            to.out.uncounted();
            to.out.sample(head.sample(value));
        }
    }

    fn custom(
        &mut self,
        value: &super::delta::Explicit,
        head: &Head,
        exemplars: &[Exemplar<'_>],
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        let finite = value.bounds.iter().take_while(|bound| **bound < f64::INFINITY).count();
        if self.scratch.positive.custom(&value.counts).is_err() {
            self.refuse(reasons::BUCKETS, 1);
            return Ok(());
        }
        self.scratch.negative.clear();
        // Without buckets all observations are in the last one.
        if value.counts.is_empty() && self.scratch.positive.custom(&[value.count]).is_err() {
            return Ok(());
        }
        let native = Histogram {
            schema: CUSTOM_SCHEMA,
            custom_values: &value.bounds[..finite],
            ..native(value.count, value.sum, head)
        };
        self.native(native, head, exemplars, to)
    }

    fn exponential(
        &mut self,
        point: ExponentialHistogramDataPoint<'_>,
        head: Head,
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        let times = (point.start_time_unix_nano(), point.time_unix_nano(), point.flags());
        let Some(mut head) = self.enter(point.attributes(), times, head, to)? else { return Ok(()) };
        let scale = point.scale();
        if scale < MIN_SCALE {
            self.refuse(reasons::SCALE, 1);
            return Ok(());
        }
        let mut value = std::mem::take(&mut self.scratch.exponential);
        (value.count, value.sum, value.zero_count) = (point.count(), point.sum(), point.zero_count());
        (value.scale, value.zero_threshold) = (scale, point.zero_threshold());
        read_buckets(&mut value.positive, point.positive());
        read_buckets(&mut value.negative, point.negative());
        value.downscale_to(scale.min(MAX_SCALE));
        let added = self.accumulate(&mut head, to, |totals, place| totals.exponential(place, &mut value));
        let sparse = added.and_then(|()| {
            let (positive, negative) = (&value.positive, &value.negative);
            let written = self.scratch.positive.exponential(positive.offset, &positive.counts, 0);
            written
                .and_then(|()| self.scratch.negative.exponential(negative.offset, &negative.counts, 0))
                .map_err(|_| reasons::BUCKETS)
        });
        let written = match sparse {
            Err(reason) => {
                self.refuse(reason, 1);
                Ok(())
            }
            Ok(()) => {
                let threshold =
                    if value.zero_threshold > 0.0 { value.zero_threshold } else { ZERO_THRESHOLD };
                let zero_count = Count::Int(if head.stale { 0 } else { value.zero_count });
                let native = native(value.count, value.sum, &head);
                let native =
                    Histogram { schema: value.scale, zero_threshold: threshold, zero_count, ..native };
                self.native(native, &head, &sorted_exemplars(point.exemplars()), to)
            }
        };
        self.scratch.exponential = value;
        written
    }

    /// A native histogram with the buckets in the scratch.
    fn native(
        &mut self,
        native: Histogram<'_>,
        head: &Head,
        exemplars: &[Exemplar<'_>],
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        if !self.begin(head.family.name, head, None, to) {
            return Ok(());
        }
        let (positive, negative) = (self.scratch.positive.buckets(), self.scratch.negative.buckets());
        to.out.histogram(&if head.stale { native } else { Histogram { positive, negative, ..native } });
        self.exemplars(exemplars, to)
    }

    fn summary(
        &mut self,
        point: SummaryDataPoint<'_>,
        head: Head,
        to: &mut Points<'_>,
    ) -> Result<(), TooMuchText> {
        let times = (point.start_time_unix_nano(), point.time_unix_nano(), point.flags());
        let Some(head) = self.enter(point.attributes(), times, head, to)? else { return Ok(()) };
        self.part(head.family.sum, &head, point.sum(), to);
        self.one(head.family.count, &head, point.count() as f64, to);
        for value in point.quantile_values() {
            let quantile = to.out.intern(&number_text(value.quantile()))?;
            if self.begin(head.family.name, &head, Some((to.known.quantile, quantile)), to) {
                to.out.uncounted();
                to.out.sample(head.sample(value.value()));
            }
        }
        Ok(())
    }

    /// Adds exemplars, which are sorted, to the last series.
    fn exemplars(&mut self, exemplars: &[Exemplar<'_>], to: &mut Points<'_>) -> Result<(), TooMuchText> {
        for exemplar in exemplars {
            let mut pairs = std::mem::take(&mut self.scratch.exemplar);
            pairs.clear();
            for (name, id) in
                [(to.known.trace_id, exemplar.trace_id()), (to.known.span_id, exemplar.span_id())]
            {
                if !id.is_empty() {
                    let mut hex = String::with_capacity(2 * id.len());
                    id.iter().for_each(|byte| push_hex(&mut hex, *byte));
                    pairs.push((name, to.out.intern(&hex)?));
                }
            }
            let ids = pairs.len();
            let attributes = exemplar.filtered_attributes();
            self.labels.attributes(attributes, "", |key| key != METRIC_NAME, to.out, &mut pairs)?;
            let symbols = to.out.symbols();
            let chars = |(name, value): &(Symbol, Symbol)| {
                symbols.get(*name).chars().count() + symbols.get(*value).chars().count()
            };
            if pairs.iter().map(chars).sum::<usize>() > MAX_EXEMPLAR_CHARS {
                pairs.truncate(ids);
            }
            let time_ms = (exemplar.time_unix_nano() / 1_000_000) as i64;
            pairs.sort_unstable_by(|a, b| symbols.get(a.0).cmp(symbols.get(b.0)));
            pairs.dedup_by(|b, a| a.0 == b.0);
            // Its labels are in the table: they were just put there.
            let _stored = to.out.exemplar(&pairs, exemplar_value(*exemplar), time_ms);
            self.scratch.exemplar = pairs;
        }
        Ok(())
    }
}

fn native(count: u64, sum: Option<f64>, head: &Head) -> Histogram<'static> {
    // A sum that is not known is not a number; the bits of a stale marker would end the series.
    let sum = if head.stale { f64::from_bits(STALE_NAN_BITS) } else { sum.unwrap_or(f64::NAN) };
    Histogram {
        count: Count::Int(if head.stale { 0 } else { count }),
        sum,
        timestamp_ms: head.time_ms(),
        start_ms: (head.start_ns / 1_000_000) as i64,
        ..Histogram::default()
    }
}

fn read_buckets(side: &mut Dense, buckets: Option<ExponentialHistogramDataPointBuckets<'_>>) {
    side.counts.clear();
    side.offset = 0;
    if let Some(buckets) = buckets {
        side.offset = i64::from(buckets.offset());
        side.counts.extend(buckets.bucket_counts());
    }
}

fn exemplar_value(exemplar: Exemplar<'_>) -> f64 {
    exemplar.as_double().or(exemplar.as_int().map(|n| n as f64)).unwrap_or(0.0)
}

/// By time and value: Prometheus takes no exemplar that is older than the last of its series.
fn sorted_exemplars<'a>(exemplars: Messages<'a, Exemplar<'a>>) -> Vec<Exemplar<'a>> {
    let mut sorted: Vec<_> = exemplars.collect();
    sorted.sort_by(|a, b| {
        (a.time_unix_nano() / 1_000_000)
            .cmp(&(b.time_unix_nano() / 1_000_000))
            .then(exemplar_value(*a).total_cmp(&exemplar_value(*b)))
    });
    sorted
}

fn push_hex(out: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}
