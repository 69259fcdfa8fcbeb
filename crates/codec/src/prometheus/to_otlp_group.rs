//! What a series is a part of, on its way to OTLP.

use model::series::{Histogram, MetricKind, ResetHint, SeriesRef};

/// The schema of custom buckets.
const CUSTOM_SCHEMA: i32 = -53;

/// The kind of metric that samples go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Data {
    Gauge,
    Sum { monotonic: bool },
    Histogram,
    Summary,
    Exponential,
    ExponentialDelta,
    Custom,
}

impl Data {
    pub(super) fn of_native(histogram: &Histogram<'_>) -> Self {
        match histogram.schema {
            CUSTOM_SCHEMA => Self::Custom,
            _ if histogram.reset_hint == ResetHint::Gauge => Self::ExponentialDelta,
            _ => Self::Exponential,
        }
    }

    /// Its place among the three that native histograms become.
    pub(super) fn native_index(self) -> usize {
        match self {
            Self::ExponentialDelta => 1,
            Self::Custom => 2,
            _ => 0,
        }
    }
}

/// What part of a point the samples of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Number,
    Bucket,
    Sum,
    Count,
    Quantile,
    Native,
}

impl Role {
    /// The label that tells the parts of a point apart.
    pub(super) fn own_label(self) -> Option<&'static str> {
        match self {
            Self::Bucket => Some("le"),
            Self::Quantile => Some("quantile"),
            _ => None,
        }
    }

    /// Whether a point can be made where this part is: the bucket of all observations is a count.
    pub(super) fn makes_whole(self, edge: f64) -> bool {
        self == Self::Count || self == Self::Bucket && edge == f64::INFINITY
    }
}

/// A series, what it is, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Entry<'b> {
    pub(super) series: SeriesRef<'b>,
    /// The name of the metric: that of the series, without what a part adds.
    pub(super) family: &'b str,
    pub(super) about: (MetricKind, &'b str, &'b str),
    pub(super) data: Data,
    pub(super) role: Role,
    /// The value of `le` or `quantile`.
    pub(super) edge: f64,
    /// Hashes of the labels that say where it goes; 0 for no resource.
    pub(super) resource: u128,
    pub(super) scope: u128,
    pub(super) point: u128,
    /// The numbers of those groups: resource, scope, metric, point.
    pub(super) ids: (u32, u32, u32, u32),
}

impl<'b> Entry<'b> {
    pub(super) fn new(series: SeriesRef<'b>, name: &'b str, about: (MetricKind, &'b str, &'b str)) -> Self {
        let data = number(about.0);
        let (resource, scope, point, ids) = (0, 0, 0, (0, 0, 0, 0));
        Self { series, family: name, about, data, role: Role::Number, edge: 0.0, resource, scope, point, ids }
    }

    /// Finds what part of a histogram or a summary the samples are.
    pub(super) fn find_role(&mut self) {
        let label = |name| self.series.labels().get(name).and_then(|text| text.parse::<f64>().ok());
        let (data, whole) = match self.about.0 {
            MetricKind::Histogram => (Data::Histogram, ("le", "_bucket", Role::Bucket)),
            MetricKind::Summary => (Data::Summary, ("quantile", "", Role::Quantile)),
            _ => return,
        };
        let (own, suffix, part) = whole;
        let found = match (self.family.strip_suffix(suffix), label(own)) {
            (Some(family), Some(edge)) if !edge.is_nan() => Some((family, part, edge)),
            _ => [("_sum", Role::Sum), ("_count", Role::Count)]
                .into_iter()
                .find_map(|(suffix, role)| Some((self.family.strip_suffix(suffix)?, role, 0.0))),
        };
        if let Some((family, role, edge)) = found {
            (self.family, self.role, self.edge, self.data) = (family, role, edge, data);
        }
    }

    /// Makes a number of it: the rest of its point is not there.
    pub(super) fn orphan(&mut self) {
        // Buckets, sums of what is mostly positive, and counts grow; quantiles do not.
        self.data = match self.role {
            Role::Quantile => Data::Gauge,
            _ => Data::Sum { monotonic: true },
        };
        (self.role, self.family) = (Role::Number, self.series.name());
    }
}

fn number(kind: MetricKind) -> Data {
    match kind {
        MetricKind::Counter => Data::Sum { monotonic: true },
        MetricKind::Info | MetricKind::StateSet => Data::Sum { monotonic: false },
        _ => Data::Gauge,
    }
}
