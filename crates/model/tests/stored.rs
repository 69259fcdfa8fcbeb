//! Series to bytes and back.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use model::fuzzing;
use model::series::{
    BucketSpan, Buckets, Count, Histogram, LabelError, Metadata, MetricKind, NotSeries, ResetHint,
    STALE_NAN_BITS, Sample, SeriesBatch, SeriesBuilder,
};
use proptest::prelude::*;

/// A generator of choices, so that one number makes a whole batch.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn float(&mut self) -> f64 {
        match self.below(6) {
            0 => f64::from_bits(STALE_NAN_BITS),
            1 => f64::from_bits(self.next()),
            2 => f64::NAN,
            3 => -0.0,
            _ => self.below(1000) as f64,
        }
    }

    fn time(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 0,
            3 => self.next() as i64,
            _ => 1_772_366_400_000 + self.below(60_000) as i64,
        }
    }

    fn count(&mut self) -> Count {
        if self.below(2) == 0 {
            Count::Int(self.next() >> self.below(64))
        } else {
            Count::Float(self.float())
        }
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = ["", "a", "job", "é", "\u{0}", "p2p", "x y", "\u{10ffff}"];
        match self.below(9) {
            8 => "long ".repeat(self.below(40) as usize),
            n => TEXTS[n as usize].to_owned(),
        }
    }

    fn floats(&mut self) -> Vec<f64> {
        (0..self.below(4)).map(|_| self.float()).collect()
    }

    fn side(&mut self) -> (Vec<BucketSpan>, Vec<i64>, Vec<f64>) {
        let spans = (0..self.below(3))
            .map(|_| BucketSpan { offset: self.next() as i32, length: self.next() as u32 })
            .collect();
        let deltas = (0..self.below(4)).map(|_| (self.next() >> self.below(64)) as i64).collect();
        (spans, deltas, self.floats())
    }

    fn metadata(&mut self, builder: &mut SeriesBuilder) -> Metadata {
        let (help, unit) = (self.text(), self.text());
        let kind = MetricKind::from_number(self.below(8) as i32);
        if self.below(2) == 0 { builder.metadata(kind, &help, &unit).unwrap() } else { Metadata::default() }
    }

    fn histogram(&mut self, builder: &mut SeriesBuilder) {
        let (negative, positive, bounds) = (self.side(), self.side(), self.floats());
        let buckets = |(spans, deltas, counts)| Buckets { spans, deltas, counts };
        let hints = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];
        builder.histogram(&Histogram {
            count: self.count(),
            sum: self.float(),
            schema: self.next() as i32,
            zero_threshold: self.float(),
            zero_count: self.count(),
            negative: buckets((&negative.0[..], &negative.1[..], &negative.2[..])),
            positive: buckets((&positive.0[..], &positive.1[..], &positive.2[..])),
            reset_hint: hints[self.below(4) as usize],
            timestamp_ms: self.time(),
            custom_values: &bounds,
            start_ms: self.time(),
        });
    }

    /// A batch, with things in it that nothing refers to.
    fn batch(&mut self) -> SeriesBatch {
        let mut builder = SeriesBuilder::new();
        for _ in 0..self.below(6) {
            let labels: std::collections::BTreeMap<_, _> =
                (0..self.below(5)).map(|_| (self.text(), self.text())).collect();
            let metadata = self.metadata(&mut builder);
            let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            builder.series(labels, |_| metadata).unwrap();
            if self.below(4) == 0 {
                builder.uncounted();
            }
            for _ in 0..self.below(4) {
                let (value, timestamp_ms, start_ms) = (self.float(), self.time(), self.time());
                builder.sample(Sample { value, timestamp_ms, start_ms });
            }
            for _ in 0..self.below(3).saturating_sub(1) {
                self.histogram(&mut builder);
            }
            for _ in 0..self.below(3).saturating_sub(1) {
                let text = [self.text(), self.text()].map(|text| builder.intern(&text).unwrap());
                builder.exemplar(&[(text[0], text[1])], self.float(), self.time()).unwrap();
            }
        }
        for _ in 0..self.below(3) {
            let name = self.text();
            let name = builder.intern(&name).unwrap();
            let metadata = self.metadata(&mut builder);
            builder.family(name, metadata);
        }
        let mut batch = builder.finish();
        if self.below(2) == 0 {
            let kept = self.next();
            batch.retain(|index| kept >> index & 1 == 1);
            batch.push_symbol("nobody refers to this").unwrap();
        }
        batch
    }
}

/// Everything that a reader can see, NaNs by their bits.
fn meaning(batch: &SeriesBatch) -> String {
    let mut text = format!("{} items\n", batch.items());
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let count = |count: Count| match count {
        Count::Int(n) => format!("{n}"),
        Count::Float(n) => format!("f{}", n.to_bits()),
    };
    let side = |side: &Buckets<'_>| format!("{:?} {:?} {:?}", side.spans, side.deltas, bits(side.counts));
    for series in batch.iter() {
        let labels: Vec<_> = series.labels().iter().collect();
        text += &format!("{labels:?} {:?} {}\n", series.metadata_text(), series.is_uncounted());
        for sample in series.samples() {
            text += &format!("{} {} {}\n", sample.value.to_bits(), sample.timestamp_ms, sample.start_ms);
        }
        for h in series.histograms() {
            let sides = (side(&h.negative), side(&h.positive), bits(&[h.sum, h.zero_threshold]));
            text += &format!(
                "{} {} {sides:?} {:?}\n",
                count(h.count),
                count(h.zero_count),
                bits(h.custom_values)
            );
            text += &format!("{} {:?} {} {}\n", h.schema, h.reset_hint, h.timestamp_ms, h.start_ms);
        }
        for exemplar in series.exemplars() {
            let labels: Vec<_> = exemplar.labels.iter().collect();
            text += &format!("{labels:?} {} {}\n", exemplar.value.to_bits(), exemplar.timestamp_ms);
        }
    }
    for family in batch.families() {
        let texts = [family.name, family.metadata.help, family.metadata.unit].map(|s| batch.symbols().get(s));
        text += &format!("{texts:?} {:?}\n", family.metadata.kind);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_with_all_its_meaning(seed: u64) {
        let batch = Choices(seed).batch();
        let bytes = batch.to_bytes();
        let again = SeriesBatch::from_bytes(&bytes).unwrap();
        prop_assert_eq!(meaning(&again), meaning(&batch));
        prop_assert!(again.symbols().iter().all(|text| text != "nobody refers to this"));
        prop_assert_eq!(again.to_bytes(), bytes.clone());
        fuzzing::stored_series(&bytes);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_sound_batch(seed: u64, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = Choices(seed).batch().to_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzzing::stored_series(&bytes);
        bytes.truncate(bytes.len() / 2);
        fuzzing::stored_series(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::stored_series(&[&[1], &bytes[..]].concat());
        fuzzing::stored_series(&bytes);
    }
}

fn one_series() -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    builder.series([("__name__", "up"), ("job", "p2p")], |_| Metadata::default()).unwrap();
    builder.sample(Sample { value: f64::from_bits(STALE_NAN_BITS), timestamp_ms: -3, start_ms: 64 });
    builder.finish()
}

#[test]
fn the_first_version_is_read_for_ever() {
    let bytes = one_series().to_bytes();
    let pinned = b"\x01\x01\x01\x04\x00\x02\x01\x08__name__\x02\x02up\x03\x03job\x04\x03p2p\x01\x02\0\0\0\0\0\xf0\x7f\x05\x80\x01\0";
    assert_eq!(&bytes[..], &pinned[..]);
}

#[test]
fn each_piece_cut_off_is_noticed() {
    let bytes = Choices(77).batch().to_bytes();
    assert!(bytes.len() > 100);
    for end in 0..bytes.len() {
        assert!(SeriesBatch::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    let more = [&bytes[..], &[0]].concat();
    assert_eq!(SeriesBatch::from_bytes(&more), Err(NotSeries::Excess));
}

#[test]
fn what_cannot_be_is_refused() {
    let edited = |at: usize, byte: u8| {
        let mut bytes = one_series().to_bytes().to_vec();
        bytes[at] = byte;
        SeriesBatch::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(edited(0, 2), NotSeries::Version(2));
    assert_eq!(edited(1, 200), NotSeries::Cut);
    assert_eq!(edited(4, 0x80), NotSeries::Number);
    assert_eq!(edited(8, 0xff), NotSeries::Text);
    // The second name refers to the first: the label stands twice.
    let twice = b"\x01\x01\x00\x04\x00\x02\x01\x01a\x01\x01\x01\x00\x00";
    assert_eq!(SeriesBatch::from_bytes(twice), Err(LabelError::Duplicate.into()));
    let unsorted = b"\x01\x01\x00\x04\x00\x02\x01\x01b\x01\x02\x01a\x02\x00\x00";
    assert_eq!(SeriesBatch::from_bytes(unsorted), Err(LabelError::Unsorted.into()));
    // Four thousand million series in five bytes.
    assert_eq!(SeriesBatch::from_bytes(b"\x01\xff\xff\xff\xff\x0f\0\0"), Err(NotSeries::Cut));
}

#[test]
fn a_scrape_is_smaller_than_in_memory() {
    let mut builder = SeriesBuilder::new();
    for n in 0..500 {
        let peer = format!("peer-{n}");
        let labels =
            [("__name__", "p2p_bytes_total"), ("instance", "10.0.0.1:9090"), ("job", "p2p"), ("peer", &peer)];
        builder.series(labels, |_| Metadata::default()).unwrap();
        builder.sample(Sample { value: f64::from(n), timestamp_ms: 1_772_366_400_000, start_ms: 0 });
    }
    let batch = builder.finish();
    assert!(batch.to_bytes().len() * 2 < batch.size(), "{} {}", batch.to_bytes().len(), batch.size());
}
