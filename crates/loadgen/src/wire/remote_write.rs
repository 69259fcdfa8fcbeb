//! The messages of remote-write 2.0 that the load generator sends and the sink counts: `io.prometheus.write.v2`.

/// `Request`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Texts; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// `TimeSeries`, without histograms and exemplars.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Names and values in turn, by their place in the table.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// What is known about the metric.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

/// `Sample`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// `Metadata`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    /// Its type.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// Its help text.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// Its unit.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// `prometheus.WriteRequest` of remote-write 1.0, which a sender falls back to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<NamedSeries>,
}

/// `prometheus.TimeSeries`, of which samples are counted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamedSeries {
    /// Samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}
