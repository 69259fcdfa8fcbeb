//! What of a request was refused, and why.

use std::fmt;

/// Why a series, or a value of it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No `__name__`.
    NoName,
    /// A label without a name.
    EmptyLabelName,
    /// A label name stands twice.
    DuplicateLabel,
    /// A label is not UTF-8.
    InvalidUtf8,
    /// An odd number of label references.
    OddReferences,
    /// A reference leads past the end of the symbols.
    NoSymbol,
    /// 2.0: a series with neither samples nor histograms nor exemplars.
    NoValues,
    /// A time before 1677 or after 2262, which nanoseconds in 64 bits do not reach.
    TimestampRange,
    /// A histogram of an unknown schema.
    HistogramSchema,
    /// Spans and buckets of a histogram do not fit each other, or lie where no bucket can be.
    HistogramBuckets,
    /// The counts of a histogram do not fit each other, or are negative.
    HistogramCounts,
    /// The bounds of custom buckets do not rise, or stand where they have no meaning.
    HistogramBounds,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoName,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::InvalidUtf8,
        Self::OddReferences,
        Self::NoSymbol,
        Self::NoValues,
        Self::TimestampRange,
        Self::HistogramSchema,
        Self::HistogramBuckets,
        Self::HistogramCounts,
        Self::HistogramBounds,
    ];

    /// A fixed name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::OddReferences => "odd_references",
            Self::NoSymbol => "no_symbol",
            Self::NoValues => "no_values",
            Self::TimestampRange => "timestamp_range",
            Self::HistogramSchema => "histogram_schema",
            Self::HistogramBuckets => "histogram_buckets",
            Self::HistogramCounts => "histogram_counts",
            Self::HistogramBounds => "histogram_bounds",
        }
    }

    /// What is wrong, for a sender to read.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoName => "no __name__ label",
            Self::EmptyLabelName => "a label without a name",
            Self::DuplicateLabel => "a label name that stands twice",
            Self::InvalidUtf8 => "labels that are not UTF-8",
            Self::OddReferences => "an odd number of label references",
            Self::NoSymbol => "a reference past the end of the symbols",
            Self::NoValues => "no samples",
            Self::TimestampRange => "a timestamp before the year 1677 or after 2262 (is it in milliseconds?)",
            Self::HistogramSchema => "a histogram schema that is neither -4 to 8 nor -53",
            Self::HistogramBuckets => "histogram spans that do not fit the buckets",
            Self::HistogramCounts => "histogram counts that do not add up",
            Self::HistogramBounds => "custom histogram bounds that do not rise, or are out of place",
        }
    }
}

/// A kind of value in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Sample,
    Histogram,
    Exemplar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    series: u64,
    samples: u64,
    histograms: u64,
    exemplars: u64,
    /// Position of the first series that it happened in.
    first: u64,
}

/// What was refused, by reason. `Display` is the message for the sender; it has positions and counts, and no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    counts: [Count; Reason::ALL.len()],
}

impl Refused {
    fn at(&mut self, reason: Reason, position: u64) -> &mut Count {
        let count = &mut self.counts[reason as usize];
        if count.series + count.samples + count.histograms + count.exemplars == 0 {
            count.first = position;
        }
        count
    }

    /// A series as a whole; its values are counted one by one beside it.
    #[cold]
    pub(super) fn series(&mut self, reason: Reason, position: u64) {
        self.at(reason, position).series += 1;
    }

    #[cold]
    pub(super) fn value(&mut self, reason: Reason, position: u64, value: Value) {
        let count = self.at(reason, position);
        match value {
            Value::Sample => count.samples += 1,
            Value::Histogram => count.histograms += 1,
            Value::Exemplar => count.exemplars += 1,
        }
    }

    /// Whether anything was.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// The reasons that there were, each with the samples and histograms that it cost.
    pub fn items(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = Reason::ALL.iter().zip(&self.counts);
        counts
            .filter(|(_, count)| **count != Count::default())
            .map(|(reason, count)| (*reason, count.samples + count.histograms))
    }

    /// Refused exemplars.
    pub fn exemplars(&self) -> u64 {
        self.counts.iter().map(|count| count.exemplars).sum()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, count) in Reason::ALL.iter().zip(&self.counts) {
            if *count == Count::default() {
                continue;
            }
            write!(f, "{separator}{}: ", reason.text())?;
            let parts = [
                (count.series, "series"),
                (count.samples, "samples"),
                (count.histograms, "histograms"),
                (count.exemplars, "exemplars"),
            ];
            let mut comma = "";
            for (n, what) in parts.iter().filter(|(n, _)| *n > 0) {
                write!(f, "{comma}{n} {what}")?;
                comma = ", ";
            }
            write!(f, ", first at timeseries[{}]", count.first)?;
            separator = "; ";
        }
        Ok(())
    }
}
