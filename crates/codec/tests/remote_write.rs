//! Remote-write requests, held against prost and a naive reading of what it decodes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "common/prometheus.rs"]
mod prometheus;

use codec::prometheus::remote_write::{DecodeError, Decoded, Reason, Version, Written, decode};
use model::series::{self, Labels, METRIC_NAME, MetricKind, STALE_NAN_BITS};
use prometheus::{Count, Histogram, Span, ZeroCount, histogram, v1, v2};
use proptest::prelude::*;
use prost::Message as _;

const MAX_MS: i64 = i64::MAX / 1_000_000;

fn read(version: Version, buf: &[u8]) -> Result<Decoded, DecodeError> {
    decode(version, buf, &mut |_| true)
}

type Pairs = Vec<(String, String)>;

/// A series as tests compare it; floats by their bits, histograms by their bytes.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    labels: Pairs,
    samples: Vec<(u64, i64, i64)>,
    histograms: Vec<Vec<u8>>,
    exemplars: Vec<(Pairs, u64, i64)>,
    metadata: (i32, String, String),
}

fn plain(decoded: &Decoded) -> Vec<Plain> {
    let texts = |labels: Labels<'_>| -> Pairs { labels.iter().map(|(n, v)| (n.into(), v.into())).collect() };
    let symbols = decoded.batch.symbols();
    decoded
        .batch
        .iter()
        .map(|series| Plain {
            labels: texts(series.labels()),
            samples: series
                .samples()
                .iter()
                .map(|s| (s.value.to_bits(), s.timestamp_ms, s.start_ms))
                .collect(),
            histograms: series.histograms().map(|h| as_prost(&h).encode_to_vec()).collect(),
            exemplars: series
                .exemplars()
                .map(|e| (texts(e.labels), e.value.to_bits(), e.timestamp_ms))
                .collect(),
            metadata: (
                series.metadata().kind as i32,
                symbols.get(series.metadata().help).into(),
                symbols.get(series.metadata().unit).into(),
            ),
        })
        .collect()
}

fn as_prost(h: &series::Histogram<'_>) -> Histogram {
    let spans = |side: &series::Buckets<'_>| {
        side.spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
    };
    Histogram {
        count: Some(match h.count {
            series::Count::Int(n) => Count::Int(n),
            series::Count::Float(n) => Count::Float(n),
        }),
        sum: h.sum,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        zero_count: Some(match h.zero_count {
            series::Count::Int(n) => ZeroCount::Int(n),
            series::Count::Float(n) => ZeroCount::Float(n),
        }),
        negative_spans: spans(&h.negative),
        negative_deltas: h.negative.deltas.to_vec(),
        negative_counts: h.negative.counts.to_vec(),
        positive_spans: spans(&h.positive),
        positive_deltas: h.positive.deltas.to_vec(),
        positive_counts: h.positive.counts.to_vec(),
        reset_hint: h.reset_hint as i32,
        timestamp: h.timestamp_ms,
        custom_values: h.custom_values.to_vec(),
        start_timestamp: h.start_ms,
    }
}

// ---- the naive reading ----

fn spans_fit(spans: &[Span], buckets: usize, lowest: f64, highest: f64) -> bool {
    let (mut at, mut total) = (0.0, 0.0);
    for (n, span) in spans.iter().enumerate() {
        let first = at + f64::from(span.offset);
        at = first + f64::from(span.length);
        total += f64::from(span.length);
        if (n > 0 && span.offset < 0) || first < lowest || at < lowest || first > highest || at > highest {
            return false;
        }
    }
    total == buckets as f64
}

fn sound(h: &Histogram) -> bool {
    let floats = matches!(h.count, Some(Count::Float(_)));
    let (negative, positive) = if floats {
        (h.negative_counts.len(), h.positive_counts.len())
    } else {
        (h.negative_deltas.len(), h.positive_deltas.len())
    };
    let others = if floats {
        h.negative_deltas.len() + h.positive_deltas.len()
    } else {
        h.negative_counts.len() + h.positive_counts.len()
    };
    let buckets = match h.schema {
        -4..=8 => {
            let reach = (1075.0 * 2f64.powi(h.schema)).floor() + 2.0;
            h.custom_values.is_empty()
                && spans_fit(&h.negative_spans, negative, -reach, reach)
                && spans_fit(&h.positive_spans, positive, -reach, reach)
        }
        -53 => {
            let rise = h.custom_values.windows(2).all(|pair| pair[0] < pair[1]);
            let numbers = h.custom_values.iter().all(|bound| !bound.is_nan());
            rise && numbers
                && h.custom_values.last().is_none_or(|last| *last < f64::INFINITY)
                && h.zero_threshold == 0.0
                && matches!(h.zero_count, None | Some(ZeroCount::Int(0)) | Some(ZeroCount::Float(0.0)))
                && h.negative_spans.is_empty()
                && negative == 0
                && spans_fit(&h.positive_spans, positive, 0.0, h.custom_values.len() as f64 + 1.0)
        }
        _ => false,
    };
    buckets && others == 0 && counts_add_up(h)
}

fn counts_add_up(h: &Histogram) -> bool {
    if let Some(Count::Float(count)) = h.count {
        let zero = match h.zero_count {
            None => 0.0,
            Some(ZeroCount::Float(zero)) => zero,
            Some(ZeroCount::Int(_)) => return false,
        };
        let all = h.negative_counts.iter().chain(&h.positive_counts).chain([&count, &zero]);
        return !all.copied().any(|n| n < 0.0);
    }
    let count = if let Some(Count::Int(count)) = h.count { count } else { 0 };
    let mut observed = match h.zero_count {
        None => 0,
        Some(ZeroCount::Int(zero)) => i128::from(zero),
        Some(ZeroCount::Float(_)) => return false,
    };
    for deltas in [&h.negative_deltas, &h.positive_deltas] {
        let mut bucket = 0_i128;
        for delta in deltas {
            bucket += i128::from(*delta);
            if !(0..=i128::from(i64::MAX)).contains(&bucket) {
                return false;
            }
            observed += bucket;
        }
    }
    observed == i128::from(count) || (h.sum.is_nan() && observed < i128::from(count))
}

/// What is left of a series: `None` if nothing.
struct Values {
    samples: Vec<(f64, i64, i64)>,
    histograms: Vec<Histogram>,
    exemplars: Vec<(Option<Pairs>, f64, i64)>,
}

fn keep(labels: Option<Pairs>, metadata: (i32, String, String), values: Values) -> Option<Plain> {
    let mut labels = labels?;
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    let named = labels.iter().any(|(name, _)| name == METRIC_NAME);
    if !named || labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    let fits = |ms: i64| (-MAX_MS..=MAX_MS).contains(&ms);
    let histogram = |h: &Histogram| {
        let float = matches!(h.count, Some(Count::Float(_)));
        let zero = if float { ZeroCount::Float(0.0) } else { ZeroCount::Int(0) };
        let hint = if (0..4).contains(&h.reset_hint) { h.reset_hint } else { 0 };
        let filled = Histogram {
            count: Some(h.count.clone().unwrap_or(Count::Int(0))),
            zero_count: Some(h.zero_count.clone().unwrap_or(zero)),
            reset_hint: hint,
            ..h.clone()
        };
        (sound(h) && fits(h.timestamp) && fits(h.start_timestamp)).then(|| filled.encode_to_vec())
    };
    let plain = Plain {
        labels,
        samples: values
            .samples
            .iter()
            .filter(|(_, time, start)| fits(*time) && fits(*start))
            .map(|(value, time, start)| (value.to_bits(), *time, *start))
            .collect(),
        histograms: values.histograms.iter().filter_map(histogram).collect(),
        exemplars: values
            .exemplars
            .into_iter()
            .filter(|(labels, _, time)| labels.is_some() && fits(*time))
            .map(|(labels, value, time)| {
                let labels = labels.unwrap().into_iter().filter(|(_, value)| !value.is_empty());
                (labels.collect(), value.to_bits(), time)
            })
            .collect(),
        metadata: (MetricKind::from_number(metadata.0) as i32, metadata.1, metadata.2),
    };
    (plain.samples.len() + plain.histograms.len() + plain.exemplars.len() > 0).then_some(plain)
}

fn naive_v2(request: &v2::Request) -> Option<Vec<Plain>> {
    let first = request.symbols.first().map(String::as_str);
    let nothing = request.timeseries.is_empty() && first.is_none();
    if !nothing && first != Some("") {
        return None;
    }
    let pairs = |refs: &[u32]| -> Option<Pairs> {
        let text = |n: u32| request.symbols.get(n as usize).cloned();
        let pairs: Option<Pairs> =
            refs.chunks(2).map(|pair| Some((text(pair[0])?, text(*pair.get(1)?)?))).collect();
        pairs.filter(|pairs| pairs.iter().all(|(name, _)| !name.is_empty()))
    };
    let start = |own: i64, created: i64| if own == 0 { created } else { own };
    let series = request.timeseries.iter().filter_map(|series| {
        let created = series.created_timestamp;
        let metadata = series.metadata.clone().unwrap_or_default();
        let text = |n: u32| request.symbols.get(n as usize).cloned();
        let help = (text(metadata.help_ref)?, text(metadata.unit_ref)?);
        let values = Values {
            samples: series
                .samples
                .iter()
                .map(|s| (s.value, s.timestamp, start(s.start_timestamp, created)))
                .collect(),
            histograms: series
                .histograms
                .iter()
                .map(|h| Histogram { start_timestamp: start(h.start_timestamp, created), ..h.clone() })
                .collect(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| (pairs(&e.labels_refs), e.value, e.timestamp))
                .collect(),
        };
        keep(pairs(&series.labels_refs), (metadata.kind, help.0, help.1), values)
    });
    Some(series.collect())
}

fn naive_v1(request: &v1::WriteRequest) -> Vec<Plain> {
    let pairs = |labels: &[v1::Label]| -> Option<Pairs> {
        let named = labels.iter().all(|label| !label.name.is_empty());
        named.then(|| labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect())
    };
    let series = request.timeseries.iter().filter_map(|series| {
        let values = Values {
            samples: series.samples.iter().map(|s| (s.value, s.timestamp, 0)).collect(),
            histograms: series
                .histograms
                .iter()
                .map(|h| Histogram { start_timestamp: 0, ..h.clone() })
                .collect(),
            exemplars: series.exemplars.iter().map(|e| (pairs(&e.labels), e.value, e.timestamp)).collect(),
        };
        keep(pairs(&series.labels), (0, String::new(), String::new()), values)
    });
    series.collect()
}

// ---- requests at random ----

fn label() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![8 => "[a-e]", 1 => Just(METRIC_NAME.to_owned()), 1 => Just(String::new())];
    (name, "[xyä]{0,2}")
}

fn labels() -> impl Strategy<Value = Pairs> {
    let named =
        ("m[ab]", prop::collection::btree_map("[a-e]", "[xyä]{1,2}", 0..4)).prop_map(|(name, rest)| {
            let mut labels: Pairs = rest.into_iter().collect();
            labels.push((METRIC_NAME.to_owned(), name));
            labels.sort();
            labels
        });
    prop_oneof![6 => named, 2 => prop::collection::vec(label(), 0..5)]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::from_bits(STALE_NAN_BITS)), Just(0.0), Just(-0.0), 0.0..9.0]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0_i64..2_000_000_000_000, 1 => Just(0), 1 => any::<i64>()]
}

fn a_histogram() -> impl Strategy<Value = Histogram> {
    let integers = (-4..9_i32, prop::collection::vec((0..5_i32, 1..3_u32), 0..4), 0..9_u64, any::<bool>());
    let integers = integers.prop_map(|(schema, spans, zero, stale)| {
        let buckets: u32 = spans.iter().map(|(_, length)| length).sum();
        Histogram {
            count: Some(Count::Int(u64::from(buckets) + zero)),
            sum: if stale { f64::from_bits(STALE_NAN_BITS) } else { 3.5 },
            schema,
            zero_count: Some(ZeroCount::Int(zero)),
            negative_spans: spans.into_iter().map(|(offset, length)| Span { offset, length }).collect(),
            negative_deltas: (0..buckets).map(|n| i64::from(n == 0)).collect(),
            ..Histogram::default()
        }
    });
    let custom = prop::collection::vec(0.0..4.0, 0..5).prop_map(|counts| Histogram {
        count: Some(Count::Float(7.0)),
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
        custom_values: (0..counts.len()).map(|n| n as f64).collect(),
        positive_counts: counts,
        ..Histogram::default()
    });
    let broken =
        (integers.clone(), -60..60_i32, any::<i64>(), -3..3_i32).prop_map(|(h, schema, delta, offset)| {
            let mut broken = Histogram { schema, ..h };
            broken.negative_deltas.extend((delta % 3 == 0).then_some(delta));
            broken.negative_spans.push(Span { offset, length: 1 });
            broken
        });
    let hinted = prop_oneof![4 => integers, 2 => custom, 1 => broken];
    (hinted, 0..4_i32, time(), time()).prop_map(|(h, reset_hint, timestamp, start_timestamp)| Histogram {
        reset_hint,
        timestamp,
        start_timestamp,
        ..h
    })
}

#[derive(Clone, Debug)]
struct Random {
    labels: Pairs,
    samples: Vec<(f64, i64, i64)>,
    histograms: Vec<Histogram>,
    exemplars: Vec<(Pairs, f64, i64)>,
    metadata: Option<(i32, String, String)>,
    created: i64,
}

fn random() -> impl Strategy<Value = Vec<Random>> {
    let series = (
        labels(),
        prop::collection::vec((value(), time(), time()), 0..3),
        prop::collection::vec(a_histogram(), 0..2),
        prop::collection::vec((prop::collection::vec(label(), 0..3), value(), time()), 0..2),
        prop::option::of((0..9_i32, "[hü]{0,3}", "[u]{0,2}")),
        prop_oneof![3 => Just(0), 1 => time()],
    );
    let series = series.prop_map(|(labels, samples, histograms, exemplars, metadata, created)| Random {
        labels,
        samples,
        histograms,
        exemplars,
        metadata,
        created,
    });
    prop::collection::vec(series, 0..5)
}

fn as_refs(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn as_v2(random: &[Random]) -> v2::Request {
    let mut request = v2::Request::new();
    for series in random {
        let exemplars = series.exemplars.iter().map(|(labels, value, timestamp)| v2::Exemplar {
            labels_refs: request.refs(&as_refs(labels)),
            value: *value,
            timestamp: *timestamp,
        });
        let exemplars = exemplars.collect();
        let metadata = series.metadata.as_ref().map(|(kind, help, unit)| v2::Metadata {
            kind: *kind,
            help_ref: request.symbol(help),
            unit_ref: request.symbol(unit),
        });
        let sample = |(value, timestamp, start_timestamp)| v2::Sample { value, timestamp, start_timestamp };
        *request.series(&as_refs(&series.labels)) = v2::TimeSeries {
            labels_refs: request.timeseries.last().map(|s| s.labels_refs.clone()).unwrap_or_default(),
            samples: series.samples.iter().copied().map(sample).collect(),
            histograms: series.histograms.clone(),
            exemplars,
            metadata,
            created_timestamp: series.created,
        };
        let refs = request.refs(&as_refs(&series.labels));
        request.timeseries.last_mut().unwrap().labels_refs = refs;
    }
    request
}

fn as_v1(random: &[Random]) -> v1::WriteRequest {
    let series = |series: &Random| v1::TimeSeries {
        labels: v1::labels(&as_refs(&series.labels)),
        samples: series
            .samples
            .iter()
            .map(|(value, timestamp, _)| v1::Sample { value: *value, timestamp: *timestamp })
            .collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|(labels, value, timestamp)| v1::Exemplar {
                labels: v1::labels(&as_refs(labels)),
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        histograms: series.histograms.clone(),
    };
    let family =
        |(kind, help, unit): (i32, String, String)| v1::Metadata { kind, name: "m".into(), help, unit };
    v1::WriteRequest {
        timeseries: random.iter().map(series).collect(),
        metadata: random.iter().filter_map(|series| series.metadata.clone()).map(family).collect(),
    }
}

/// What may happen to bytes on their way: cut, doubled, moved and flipped.
fn mangled() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, prop::sample::Index, u8)>> {
    prop::collection::vec(
        (0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
        0..4,
    )
}

fn mangle(mut bytes: Vec<u8>, edits: &[(u8, prop::sample::Index, prop::sample::Index, u8)]) -> Vec<u8> {
    for (kind, from, to, byte) in edits {
        if bytes.is_empty() {
            break;
        }
        let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
        match kind {
            0 => bytes[a] = *byte,
            1 => drop(bytes.remove(a)),
            2 => bytes.insert(a, *byte),
            _ => {
                let piece = bytes[a.min(b)..=a.max(b)].to_vec();
                bytes.splice(b..b, piece);
            }
        }
    }
    bytes
}

/// Totals of what was read, by the counts that senders get.
fn written(plain: &[Plain]) -> Written {
    Written {
        samples: plain.iter().map(|series| series.samples.len() as u64).sum(),
        histograms: plain.iter().map(|series| series.histograms.len() as u64).sum(),
        exemplars: plain.iter().map(|series| series.exemplars.len() as u64).sum(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_v2_request_reads_as_prost_reads_it(one in random(), two in random(), edits in mangled()) {
        // Two requests in a row are one in which the lists are longer: every list is then in two pieces.
        let bytes = [as_v2(&one).encode_to_vec(), as_v2(&two).encode_to_vec()].concat();
        let bytes = mangle(bytes, &edits);
        match (read(Version::V2, &bytes), v2::Request::decode(&bytes[..])) {
            (Ok(decoded), Ok(oracle)) => {
                let got = plain(&decoded);
                prop_assert_eq!(&got, &naive_v2(&oracle).unwrap());
                prop_assert_eq!(decoded.written, written(&got));
                prop_assert_eq!(decoded.batch.items() as u64, decoded.written.samples + decoded.written.histograms);
            }
            // Without any field of 2.0 it may be a request of 1.0, which is told.
            (Err(_), Ok(oracle)) => prop_assert!(naive_v2(&oracle).is_none() || oracle == v2::Request::default()),
            // prost refuses text that is not UTF-8; here it costs its series alone.
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("UTF-8"), "{}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn a_v1_request_reads_as_prost_reads_it(one in random(), two in random(), edits in mangled()) {
        let bytes = [as_v1(&one).encode_to_vec(), as_v1(&two).encode_to_vec()].concat();
        let bytes = mangle(bytes, &edits);
        match (read(Version::V1, &bytes), v1::WriteRequest::decode(&bytes[..])) {
            (Ok(decoded), Ok(oracle)) => {
                let got = plain(&decoded);
                prop_assert_eq!(&got, &naive_v1(&oracle));
                prop_assert_eq!(decoded.written, written(&got));
                let symbols = decoded.batch.symbols();
                let families: Vec<_> = decoded.batch.families().iter().map(|family| v1::Metadata {
                    kind: family.metadata.kind as i32,
                    name: symbols.get(family.name).into(),
                    help: symbols.get(family.metadata.help).into(),
                    unit: symbols.get(family.metadata.unit).into(),
                }).collect();
                let mut wanted = oracle.metadata;
                wanted.retain(|family| !family.name.is_empty());
                wanted.iter_mut().for_each(|family| family.kind = MetricKind::from_number(family.kind) as i32);
                prop_assert_eq!(families, wanted);
            }
            (Err(error), Ok(oracle)) => prop_assert!(
                oracle.timeseries.is_empty() && oracle.metadata.is_empty() && error.to_string().contains("other remote-write version"),
                "{}", error
            ),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("UTF-8"), "{}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn noise_is_refused_or_read(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read(Version::V1, &data), read(Version::V2, &data));
    }
}

// ---- single cases ----

fn v2_with(build: impl FnOnce(&mut v2::Request)) -> Decoded {
    let mut request = v2::Request::new();
    build(&mut request);
    read(Version::V2, &request.encode_to_vec()).unwrap()
}

/// The only reason for which something was refused, with the samples and histograms that it cost.
fn only(decoded: &Decoded) -> (Reason, u64) {
    let all: Vec<_> = decoded.refused.items().collect();
    assert_eq!(all.len(), 1, "{}", decoded.refused);
    all[0]
}

#[test]
fn what_is_wrong_with_a_series_costs_that_series_alone() {
    type Build = fn(&mut v2::Request);
    let cases: [(Reason, Build); 6] = [
        (Reason::NoName, |r| r.sample(&[("job", "x")], 1.0, 1)),
        (Reason::NoName, |r| r.sample(&[(METRIC_NAME, "")], 1.0, 1)),
        (Reason::EmptyLabelName, |r| r.sample(&[("", "x"), (METRIC_NAME, "bad")], 1.0, 1)),
        (Reason::DuplicateLabel, |r| r.sample(&[("a", "1"), (METRIC_NAME, "bad"), ("a", "2")], 1.0, 1)),
        (Reason::NoSymbol, |r| {
            r.sample(&[(METRIC_NAME, "bad")], 1.0, 1);
            r.timeseries.last_mut().unwrap().labels_refs[1] = 999;
        }),
        (Reason::OddReferences, |r| {
            r.sample(&[(METRIC_NAME, "bad")], 1.0, 1);
            r.timeseries.last_mut().unwrap().labels_refs.push(0);
        }),
    ];
    for (reason, bad) in cases {
        let decoded = v2_with(|request| {
            request.sample(&[(METRIC_NAME, "good")], 1.0, 1);
            bad(request);
            request.sample(&[(METRIC_NAME, "better")], 2.0, 2);
        });
        assert_eq!(only(&decoded), (reason, 1));
        assert_eq!(decoded.batch.iter().map(|s| s.name().to_owned()).collect::<Vec<_>>(), ["good", "better"]);
        assert_eq!(decoded.written, Written { samples: 2, ..Written::default() });
        let message = decoded.refused.to_string();
        assert!(message.ends_with(": 1 series, 1 samples, first at timeseries[1]"), "{message}");
        assert!(message.starts_with(reason.text()) && !message.contains("bad"), "{message}");
    }
}

#[test]
fn labels_in_any_order_are_sorted_and_empty_ones_left_out() {
    let decoded = v2_with(|r| r.sample(&[("z", "1"), ("b", ""), (METRIC_NAME, "m"), ("A", "2")], 1.0, 1));
    assert!(!decoded.refused.any());
    let got = plain(&decoded);
    let want = [("A", "2"), (METRIC_NAME, "m"), ("z", "1")];
    assert_eq!(as_refs(&got[0].labels), want);
}

#[test]
fn a_table_that_does_not_begin_with_the_empty_string_refuses_the_request() {
    for symbols in [vec![], vec!["__name__".to_owned(), "m".to_owned()]] {
        let mut request = v2::Request { symbols, timeseries: Vec::new() };
        request.timeseries.push(v2::TimeSeries { labels_refs: vec![0, 1], ..v2::TimeSeries::default() });
        let error = read(Version::V2, &request.encode_to_vec()).unwrap_err();
        assert!(error.to_string().contains("must begin with the empty string"), "{error}");
    }
}

#[test]
fn the_symbols_may_stand_behind_the_series() {
    let mut request = v2::Request::new();
    request.sample(&[(METRIC_NAME, "m")], 7.0, 1);
    let symbols = v2::Request { timeseries: Vec::new(), ..request.clone() };
    let series = v2::Request { symbols: Vec::new(), ..request };
    let bytes = [series.encode_to_vec(), symbols.encode_to_vec()].concat();
    assert_eq!(read(Version::V2, &bytes).unwrap().written.samples, 1);
}

#[test]
fn a_request_of_the_other_version_is_told_so() {
    let mut request = v2::Request::new();
    request.sample(&[(METRIC_NAME, "m")], 7.0, 1);
    let error = read(Version::V1, &request.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("content-type must fit the body"), "{error}");
    let labels = v1::labels(&[(METRIC_NAME, "m")]);
    let series = v1::TimeSeries { labels, samples: vec![v1::Sample::default()], ..v1::TimeSeries::default() };
    let request = v1::WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let error = read(Version::V2, &request.encode_to_vec()).unwrap_err().to_string();
    assert!(error.contains("content-type must fit the body"), "{error}");
    for version in [Version::V1, Version::V2] {
        assert!(read(version, b"").unwrap().batch.is_empty());
    }
}

#[test]
fn start_times_of_older_and_of_newer_senders() {
    let decoded = v2_with(|request| {
        request.sample(&[(METRIC_NAME, "m")], 1.0, 500);
        let series = request.timeseries.last_mut().unwrap();
        series.created_timestamp = 100;
        series.samples.push(v2::Sample { value: 2.0, timestamp: 600, start_timestamp: 400 });
        series.histograms.push(histogram(500));
    });
    let series = decoded.batch.get(0).unwrap();
    assert_eq!(series.samples().iter().map(|s| s.start_ms).collect::<Vec<_>>(), [100, 400]);
    assert_eq!(series.histograms().next().unwrap().start_ms, 100);
}

#[test]
fn times_that_nanoseconds_do_not_reach_cost_the_value_alone() {
    let decoded = v2_with(|request| {
        request.sample(&[(METRIC_NAME, "m")], 1.0, 1_700_000_000_000);
        let microseconds = v2::Sample { value: 1.0, timestamp: 1_700_000_000_000_000, start_timestamp: 0 };
        request.timeseries.last_mut().unwrap().samples.push(microseconds);
        request.sample(&[(METRIC_NAME, "only")], 1.0, i64::MIN);
    });
    assert_eq!(only(&decoded), (Reason::TimestampRange, 2));
    assert_eq!(decoded.written.samples, 1);
    assert_eq!(decoded.batch.len(), 1, "a series without values is left");
}

#[test]
fn histograms_that_do_not_hold_together() {
    use Reason::{HistogramBounds, HistogramBuckets, HistogramCounts, HistogramSchema};
    type Break = fn(&mut Histogram);
    let cases: [(Reason, Break); 14] = [
        (HistogramSchema, |h| h.schema = 9),
        (HistogramSchema, |h| h.schema = -5),
        (HistogramBuckets, |h| h.positive_spans[1].length = 3),
        (HistogramBuckets, |h| h.positive_spans[1].offset = -1),
        (HistogramBuckets, |h| h.positive_spans[1].offset = i32::MAX),
        (HistogramBuckets, |h| h.negative_deltas.push(1)),
        (HistogramBuckets, |h| {
            h.positive_counts = vec![1.0, 3.0, 2.0];
            h.positive_deltas.clear();
        }),
        (HistogramCounts, |h| h.count = Some(Count::Int(9))),
        (HistogramCounts, |h| h.positive_deltas = vec![1, -2, 6]),
        (HistogramCounts, |h| h.positive_deltas = vec![i64::MAX, 1, 0]),
        (HistogramCounts, |h| h.zero_count = Some(ZeroCount::Float(4.0))),
        (HistogramBounds, |h| h.custom_values = vec![1.0]),
        (HistogramBounds, |h| (h.schema, h.custom_values) = (-53, vec![1.0, 1.0])),
        (HistogramBounds, |h| (h.schema, h.custom_values) = (-53, vec![1.0, f64::INFINITY])),
    ];
    for (reason, damage) in cases {
        let decoded = v2_with(|request| {
            let series = request.series(&[(METRIC_NAME, "m")]);
            let mut bad = histogram(2);
            damage(&mut bad);
            series.histograms = vec![histogram(1), bad, histogram(3)];
        });
        assert_eq!(only(&decoded), (reason, 1));
        let times: Vec<_> = decoded.batch.get(0).unwrap().histograms().map(|h| h.timestamp_ms).collect();
        assert_eq!(times, [1, 3]);
    }
}

#[test]
fn stale_markers_keep_their_bits() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let decoded = v2_with(|request| {
        request.sample(&[(METRIC_NAME, "m")], stale, 1);
        let histogram = Histogram { sum: stale, timestamp: 1, ..Histogram::default() };
        request.series(&[(METRIC_NAME, "h")]).histograms.push(histogram);
    });
    assert_eq!(decoded.batch.get(0).unwrap().samples()[0].value.to_bits(), STALE_NAN_BITS);
    let histogram = decoded.batch.get(1).unwrap().histograms().next().unwrap();
    assert_eq!(histogram.sum.to_bits(), STALE_NAN_BITS);
}

/// Replaces a text in the bytes of a message by one of the same length.
fn with_bytes(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to);
    bytes
}

#[test]
fn text_that_is_not_utf8_refuses_a_label_and_mends_a_help_text() {
    let mut request = v2::Request::new();
    request.sample(&[(METRIC_NAME, "bad"), ("job", "LABEL")], 1.0, 1);
    request.sample(&[(METRIC_NAME, "good")], 1.0, 1);
    let help_ref = request.symbol("HELP!");
    request.timeseries[1].metadata = Some(v2::Metadata { kind: 1, help_ref, unit_ref: 0 });
    let bytes = with_bytes(request.encode_to_vec(), b"LABEL", b"LA\xffEL");
    let decoded = read(Version::V2, &with_bytes(bytes, b"HELP!", b"HEL\xff!")).unwrap();
    assert_eq!(only(&decoded), (Reason::InvalidUtf8, 1));
    assert_eq!(decoded.invalid_utf8, 2);
    let series = decoded.batch.get(0).unwrap();
    assert_eq!(
        (series.name(), decoded.batch.symbols().get(series.metadata().help)),
        ("good", "HEL\u{fffd}!")
    );

    let labels = v1::labels(&[(METRIC_NAME, "bad"), ("job", "LABEL")]);
    let series = v1::TimeSeries { labels, samples: vec![v1::Sample::default()], ..v1::TimeSeries::default() };
    let request = v1::WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let decoded = read(Version::V1, &with_bytes(request.encode_to_vec(), b"LABEL", b"LA\xffEL")).unwrap();
    assert_eq!(only(&decoded), (Reason::InvalidUtf8, 1));
}

#[test]
fn memory_is_asked_for_before_it_is_used_and_has_a_limit() {
    let mut request = v2::Request::new();
    for n in 0..500 {
        request.sample(&[(METRIC_NAME, "m"), ("n", &n.to_string())], 1.0, 1_700_000_000_000);
    }
    let bytes = request.encode_to_vec();
    let mut asked = 0;
    let decoded = decode(Version::V2, &bytes, &mut |more| {
        asked += more;
        true
    });
    let size = decoded.unwrap().batch.size();
    assert!(size <= asked && asked < 4 * size, "{size} bytes used, {asked} asked for");
    let mut left = asked - 1;
    let refused = decode(Version::V2, &bytes, &mut |more| match left.checked_sub(more) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    assert_eq!(refused.unwrap_err(), DecodeError::NoRoom);

    // Empty histograms are two bytes each on the wire.
    let series = request.series(&[(METRIC_NAME, "bomb")]);
    series.histograms = vec![Histogram::default(); 100_000];
    let error = read(Version::V2, &request.encode_to_vec()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn the_messages_are_those_of_the_proto_files() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/prometheus");
    let files = ["remote_write_v1.proto", "remote_write_v2.proto"];
    let set = protox::compile(files, [root]).unwrap();
    let number = |package: &str, message: &str, field: &str| {
        let file = set.file.iter().find(|file| file.package() == package).unwrap();
        let message = file.message_type.iter().find(|m| m.name() == message).unwrap();
        let field = message.field.iter().find(|f| f.name() == field).unwrap();
        (field.number(), field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase())
    };
    // As written in tests/common/prometheus.rs.
    let source = include_str!("common/prometheus.rs");
    let mut checked = 0;
    let (mut package, mut message) = ("", "");
    let mut lines = source.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if let Some(module) = line.strip_prefix("pub mod v") {
            package = if module.starts_with('1') { "prometheus" } else { "io.prometheus.write.v2" };
        }
        if let Some(name) = line.strip_prefix("pub struct ") {
            message = name.trim_end_matches(" {");
        }
        let Some(attribute) = line.strip_prefix("#[prost(").filter(|a| !a.starts_with("oneof")) else {
            continue;
        };
        let Some(field) = lines.peek().and_then(|next| next.strip_prefix("pub ")) else { continue };
        let field = field.split(':').next().unwrap();
        let packages: &[&str] = match (package, field) {
            ("", "start_timestamp") => &["io.prometheus.write.v2"],
            ("", _) => &["prometheus", "io.prometheus.write.v2"],
            (one, _) => &[one],
        };
        for package in packages {
            let (message, field) = match (message, field) {
                ("Span", field) => ("BucketSpan", field),
                ("Metadata", field) if *package == "prometheus" => {
                    ("MetricMetadata", if field == "name" { "metric_family_name" } else { field })
                }
                other => other,
            };
            let field = if field == "kind" { "type" } else { field };
            let (number, kind) = number(package, message, field);
            assert!(attribute.contains(&format!("tag = \"{number}\"")), "{message}.{field}: {attribute}");
            let kind = if kind == "enum" && attribute.starts_with("int32") { "int32" } else { &kind };
            let kind = if kind == "enum" { "enumeration" } else { kind };
            assert!(attribute.starts_with(kind), "{message}.{field}: {attribute} {kind}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

proptest! {
    #[test]
    fn the_fuzz_target_holds_on_mangled_requests(random in random(), edits in mangled()) {
        codec::fuzzing::remote_write(&mangle(as_v2(&random).encode_to_vec(), &edits));
        codec::fuzzing::remote_write(&mangle(as_v1(&random).encode_to_vec(), &edits));
    }
}

/// The seeds in `fuzz/corpus/remote_write`; `UPDATE_GENERATED=1` writes them anew.
#[test]
fn the_corpus_has_a_request_of_every_kind() {
    let mut whole = v2::Request::new();
    whole.sample(
        &[(METRIC_NAME, "up"), ("job", "p2p"), ("instance", "10.0.0.1:9090")],
        1.0,
        1_700_000_000_000,
    );
    let (help_ref, unit_ref) = (whole.symbol("Peers connected now."), whole.symbol("peers"));
    let labels_refs = whole.refs(&[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]);
    let series = whole.series(&[(METRIC_NAME, "dial_seconds"), ("job", "p2p")]);
    series.histograms = vec![histogram(1_700_000_000_000)];
    series.exemplars = vec![v2::Exemplar { labels_refs, value: 0.25, timestamp: 1_700_000_000_000 }];
    series.metadata = Some(v2::Metadata { kind: 3, help_ref, unit_ref });
    series.created_timestamp = 1_600_000_000_000;
    let mut custom = v2::Request::new();
    custom.series(&[(METRIC_NAME, "h")]).histograms = vec![Histogram {
        count: Some(Count::Float(3.0)),
        schema: -53,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_counts: vec![1.0, 2.0],
        custom_values: vec![0.1, 1.0],
        reset_hint: 3,
        ..Histogram::default()
    }];
    let mut stale = v2::Request::new();
    stale.sample(&[(METRIC_NAME, "gone")], f64::from_bits(STALE_NAN_BITS), 1_700_000_000_000);
    let mut bad = v2::Request::new();
    bad.sample(&[("z", "1"), (METRIC_NAME, "unsorted"), ("empty", "")], 1.0, i64::MAX);
    bad.sample(&[(METRIC_NAME, "twice"), ("a", "1"), ("a", "2")], 1.0, 1);
    bad.series(&[(METRIC_NAME, "none")]);
    bad.timeseries[0].labels_refs.push(77);
    let labels = v1::labels(&[(METRIC_NAME, "up"), ("job", "p2p")]);
    let one = v1::WriteRequest {
        timeseries: vec![v1::TimeSeries {
            labels,
            samples: vec![v1::Sample { value: 1.5, timestamp: 1_700_000_000_000 }],
            exemplars: vec![v1::Exemplar {
                labels: v1::labels(&[("trace_id", "4bf9")]),
                value: 1.0,
                timestamp: 1,
            }],
            histograms: vec![histogram(1_700_000_000_001)],
        }],
        metadata: vec![v1::Metadata { kind: 2, name: "up".into(), help: "Up.".into(), unit: "1".into() }],
    };
    let seeds = [
        ("v2", whole.encode_to_vec()),
        ("v2_custom_buckets", custom.encode_to_vec()),
        ("v2_stale", stale.encode_to_vec()),
        ("v2_refused", bad.encode_to_vec()),
        ("v2_in_two_pieces", [whole.encode_to_vec(), stale.encode_to_vec()].concat()),
        ("v2_no_symbols", v2::Request { symbols: Vec::new(), ..whole.clone() }.encode_to_vec()),
        ("v2_not_utf8", with_bytes(whole.encode_to_vec(), b"p2p", b"p\xffp")),
        ("v2_cut", whole.encode_to_vec()[..60].to_vec()),
        ("v1", one.encode_to_vec()),
        ("v1_cut", one.encode_to_vec()[..40].to_vec()),
        ("empty", Vec::new()),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/remote_write");
    for (name, bytes) in seeds {
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), &bytes).unwrap();
        }
        assert!(
            std::fs::read(folder.join(name)).unwrap() == bytes,
            "{name} has drifted: UPDATE_GENERATED=1 writes it"
        );
    }
}

/// What Prometheus 3.15 sent, scraping a counter with an exemplar and a start, and a gauge; then the target was gone.
#[test]
fn requests_of_prometheus_itself() {
    let captured = |version, name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/remote_write");
        let decoded = read(version, &std::fs::read(folder.join(name)).unwrap()).unwrap();
        assert!(!decoded.refused.any(), "{name}: {}", decoded.refused);
        decoded
    };
    for (version, name) in [(Version::V1, "prometheus_v1"), (Version::V2, "prometheus_v2")] {
        let decoded = captured(version, name);
        let find =
            |metric: &str| decoded.batch.iter().filter(|series| series.name() == metric).collect::<Vec<_>>();
        let dials = find("p2p_dials_total");
        assert_eq!(dials[0].labels().get("outcome"), Some("ok"), "{name}");
        assert_eq!(dials[0].samples()[0].value, 7.0);
        let start_ms = if version == Version::V2 { 1_700_000_000_500 } else { 0 };
        assert_eq!(dials[0].samples()[0].start_ms, start_ms, "{name}");
        // In a series of its own, without a sample.
        let exemplar = dials.iter().flat_map(|series| series.exemplars()).next().unwrap();
        assert_eq!(exemplar.labels.get("trace_id"), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(find("p2p_peers")[0].samples()[0].value, 42.0);
        assert_eq!(find("up")[0].samples()[0].value, 1.0);
    }
    for (version, name) in [(Version::V1, "prometheus_v1_stale"), (Version::V2, "prometheus_v2_stale")] {
        let decoded = captured(version, name);
        let stale =
            decoded.batch.iter().filter(|series| series.samples()[0].value.to_bits() == STALE_NAN_BITS);
        let stale: Vec<_> = stale.map(|series| series.name()).collect();
        assert!(stale.contains(&"p2p_dials_total") && stale.contains(&"p2p_peers"), "{name}: {stale:?}");
    }
    let metadata = captured(Version::V1, "prometheus_v1_metadata");
    let family = metadata.batch.families()[0];
    assert_eq!(metadata.batch.symbols().get(family.name), "p2p_dials");
    assert_eq!(family.metadata.kind, MetricKind::Counter);
}
