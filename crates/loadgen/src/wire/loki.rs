//! The messages of Loki's push API that the sink counts: `logproto`.

/// `PushRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    /// Streams.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

/// `StreamAdapter`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stream {
    /// Its labels as text.
    #[prost(string, tag = "1")]
    pub labels: String,
    /// Lines.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
}

/// `EntryAdapter`, without its time and metadata.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The line.
    #[prost(string, tag = "2")]
    pub line: String,
}
