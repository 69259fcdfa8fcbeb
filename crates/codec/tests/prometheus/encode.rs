//! What the encoders write is what prost reads, and nothing more.

use codec::prometheus::encode::{EncoderV1, EncoderV2, ExternalLabels, FamilyMap, gather};
use codec::snappy::Snappy;
use model::series::{BucketSpan, Buckets, Count, Histogram, Metadata, MetricKind, Sample};
use model::{SeriesBatch, SeriesBuilder};
use prost::Message as _;

use super::wire::{batch, lines, v1, v2};

fn labels(pairs: &[(&str, &str)]) -> ExternalLabels {
    ExternalLabels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn encode_v2(
    batches: &[(&SeriesBatch, &[usize])],
    external: &ExternalLabels,
    families: &FamilyMap,
) -> v2::Request {
    let mut encoder = EncoderV2::new();
    for (batch, chosen) in batches {
        encoder.begin_batch(batch.symbols().len());
        chosen.iter().for_each(|n| encoder.push(&batch.get(*n).unwrap(), external, families));
    }
    let mut out = Vec::new();
    encoder.finish(&mut out);
    v2::Request::decode(&out[..]).unwrap()
}

fn resolved(request: &v2::Request, refs: &[u32]) -> Vec<(String, String)> {
    let text = |n: u32| request.symbols[n as usize].clone();
    refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect()
}

fn sample_batch() -> SeriesBatch {
    batch(&[
        (&[("__name__", "a"), ("secret", "hunter2")], MetricKind::Gauge, 1.0, 10),
        (&[("__name__", "b"), ("job", "x")], MetricKind::Counter, -0.0, 20),
        (&[("__name__", "c"), ("job", "x")], MetricKind::Unknown, f64::NAN, -5),
    ])
}

#[test]
fn only_texts_that_the_chosen_series_refer_to_are_written() {
    let batch = sample_batch();
    let request = encode_v2(&[(&batch, &[1, 2])], &ExternalLabels::default(), &FamilyMap::default());
    assert_eq!(request.symbols, ["", "__name__", "b", "job", "x", "c"]);
    let series = &request.timeseries[0];
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(resolved(&request, &series.labels_refs), [pair("__name__", "b"), pair("job", "x")]);
    assert_eq!(series.samples[0].value.to_bits(), (-0.0f64).to_bits());
    assert_eq!(series.metadata.as_ref().unwrap().r#type, MetricKind::Counter as i32);
    assert!(request.timeseries[1].samples[0].value.is_nan());
    assert_eq!(request.timeseries[1].samples[0].timestamp, -5);
}

#[test]
fn external_labels_are_merged_in_order_and_a_label_that_is_there_wins() {
    let batch = sample_batch();
    let external = labels(&[("zone", "eu"), ("job", "outer"), ("_first", "1"), ("empty", "")]);
    let request = encode_v2(&[(&batch, &[0, 1])], &external, &FamilyMap::default());
    let of = |n: usize| -> Vec<String> {
        let pairs = resolved(&request, &request.timeseries[n].labels_refs);
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!(of(0), ["__name__=a", "_first=1", "job=outer", "secret=hunter2", "zone=eu"]);
    assert_eq!(of(1), ["__name__=b", "_first=1", "job=x", "zone=eu"]);
    let mut encoder = EncoderV1::new();
    batch.iter().for_each(|series| encoder.push(&series, &external));
    let mut out = Vec::new();
    encoder.finish(&mut out);
    let request = v1::WriteRequest::decode(&out[..]).unwrap();
    let names: Vec<_> =
        request.timeseries[1].labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
    assert_eq!(names, of(1));
}

#[test]
fn series_of_several_batches_share_one_table_and_the_next_request_begins_anew() {
    let (one, two) =
        (sample_batch(), batch(&[(&[("__name__", "x"), ("job", "b")], MetricKind::Gauge, 2.0, 1)]));
    let external = ExternalLabels::default();
    let request = encode_v2(&[(&one, &[1]), (&two, &[0])], &external, &FamilyMap::default());
    assert_eq!(request.symbols, ["", "__name__", "b", "job", "x"]);
    assert_eq!(request.timeseries[1].labels_refs, [1, 4, 3, 2]);

    let mut encoder = EncoderV2::new();
    let mut out = Vec::new();
    encoder.begin_batch(one.symbols().len());
    encoder.push(&one.get(0).unwrap(), &external, &FamilyMap::default());
    assert_eq!(encoder.samples(), 1);
    encoder.finish(&mut out);
    out.clear();
    encoder.begin_batch(two.symbols().len());
    encoder.push(&two.get(0).unwrap(), &external, &FamilyMap::default());
    encoder.finish(&mut out);
    let second = v2::Request::decode(&out[..]).unwrap();
    assert_eq!(second.symbols, ["", "__name__", "x", "job", "b"]);
}

fn with_families() -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    for name in ["h_bucket", "h_count", "up", "c_total"] {
        builder.series([("__name__", name)], |_| Metadata::default()).unwrap();
        builder.sample(Sample { value: 1.0, timestamp_ms: 1, start_ms: 0 });
    }
    for (name, kind) in
        [("h", MetricKind::Histogram), ("c", MetricKind::Counter), ("gone", MetricKind::Gauge)]
    {
        let metadata = builder.metadata(kind, "what it says", "s").unwrap();
        let name = builder.intern(name).unwrap();
        builder.family(name, metadata);
    }
    builder.finish()
}

#[test]
fn metadata_of_families_goes_to_their_series_in_2_and_beside_them_in_1() {
    let batch = with_families();
    let mut families = FamilyMap::new(2);
    families.remember(&batch);
    families.remember(&batch);
    assert_eq!(families.len(), 2, "bounded");
    let request = encode_v2(&[(&batch, &[0, 1, 2, 3])], &ExternalLabels::default(), &families);
    let kinds: Vec<_> =
        request.timeseries.iter().map(|s| s.metadata.as_ref().map_or(0, |m| m.r#type)).collect();
    assert_eq!(kinds, [3, 3, 0, 1]);
    let help = request.timeseries[0].metadata.as_ref().unwrap().help_ref;
    assert_eq!(request.symbols[help as usize], "what it says");
    assert!(!request.symbols.iter().any(|s| s == "gone"));

    let mut encoder = EncoderV1::new();
    encoder.families(&batch);
    encoder.families(&batch);
    batch.iter().for_each(|series| encoder.push(&series, &ExternalLabels::default()));
    let mut out = Vec::new();
    encoder.finish(&mut out);
    let request = v1::WriteRequest::decode(&out[..]).unwrap();
    let names: Vec<_> = request.metadata.iter().map(|m| (m.metric_family_name.as_str(), m.r#type)).collect();
    assert_eq!(names, [("h", 3), ("c", 1), ("gone", 2)]);
    assert_eq!((request.metadata[0].help.as_str(), request.metadata[0].unit.as_str()), ("what it says", "s"));
}

#[test]
fn histograms_and_exemplars_are_written_in_full() {
    let span = |offset, length| BucketSpan { offset, length };
    let positive_spans = [span(-2, 1), span(5, 2)];
    let histogram = Histogram {
        count: Count::Int(7),
        sum: -1.5,
        schema: -3,
        zero_threshold: 0.1,
        zero_count: Count::Int(2),
        positive: Buckets { spans: &positive_spans, deltas: &[1, 2, -1], counts: &[] },
        negative: Buckets { spans: &[span(0, 1)], deltas: &[], counts: &[0.5] },
        reset_hint: model::series::ResetHint::Gauge,
        timestamp_ms: 99,
        custom_values: &[0.25, 1.0],
        start_ms: 9,
    };
    let mut builder = SeriesBuilder::new();
    builder.series([("__name__", "n")], |_| Metadata::default()).unwrap();
    builder.histogram(&histogram);
    let id = (builder.intern("trace_id").unwrap(), builder.intern("abc").unwrap());
    builder.exemplar(&[id], 0.5, 98).unwrap();
    let batch = builder.finish();
    let two = encode_v2(&[(&batch, &[0])], &ExternalLabels::default(), &FamilyMap::default());
    let native = &two.timeseries[0].histograms[0];
    assert_eq!((native.count_int, native.sum, native.schema, native.start_timestamp), (Some(7), -1.5, -3, 9));
    assert_eq!((native.zero_threshold, native.zero_count_int, native.reset_hint), (0.1, Some(2), 3));
    assert_eq!(native.positive_deltas, [1, 2, -1]);
    assert_eq!(
        native.positive_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
        [(-2, 1), (5, 2)]
    );
    assert_eq!((&native.negative_counts[..], &native.custom_values[..]), (&[0.5][..], &[0.25, 1.0][..]));
    let exemplar = &two.timeseries[0].exemplars[0];
    let expected = [("trace_id".to_owned(), "abc".to_owned())];
    assert_eq!(resolved(&two, &exemplar.labels_refs), expected);
    assert_eq!((exemplar.value, exemplar.timestamp), (0.5, 98));

    let mut encoder = EncoderV1::new();
    encoder.push(&batch.get(0).unwrap(), &ExternalLabels::default());
    let mut out = Vec::new();
    encoder.finish(&mut out);
    let one = v1::WriteRequest::decode(&out[..]).unwrap();
    assert_eq!(one.timeseries[0].histograms[0].positive_deltas, [1, 2, -1]);
    assert_eq!(one.timeseries[0].histograms[0].start_timestamp, 0, "1.0 has none");
    assert_eq!(one.timeseries[0].exemplars[0].labels[0].value, "abc");
}

#[test]
fn a_series_without_a_sample_is_not_sent() {
    let mut builder = SeriesBuilder::new();
    builder.series([("__name__", "n")], |_| Metadata::default()).unwrap();
    let batch = builder.finish();
    let request = encode_v2(&[(&batch, &[0])], &ExternalLabels::default(), &FamilyMap::default());
    assert!(request.timeseries.is_empty() && request.symbols.is_empty());
}

#[test]
fn gathered_series_are_the_same_series_without_other_texts() {
    let batch = sample_batch();
    let gathered = gather([1, 2].map(|n| batch.get(n).unwrap()));
    assert_eq!(lines(&gathered), lines(&batch)[1..]);
    assert!(!gathered.symbols().iter().any(|text| text == "hunter2"));
    assert_eq!(gathered.items(), 2);
}

#[test]
fn snappy_is_a_plain_block() {
    let compressed = Snappy::default().compress(b"hello hello hello").unwrap();
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed).unwrap(), b"hello hello hello");
}
