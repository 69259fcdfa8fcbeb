//! Sans-io formats: bytes in, OTLP bytes out, and back.
//!
//! | module | format |
//! |---|---|
//! | [`otlp_json`] | OTLP/JSON, both ways, driven by the tables in `model::descriptor` |
//! | [`json_lines`] | Logstash's JSON over TCP: one object a line, into log records |
//! | [`elasticsearch`] | log records to bulk bodies of Elasticsearch and OpenSearch, and their answers |
//! | [`syslog`] | RFC 5424 and RFC 3164 messages, and RFC 6587 framing, into log records |
//! | [`loki`] | Loki's push messages, both ways |
//! | [`snappy`] | the blocks that they are compressed in |
//! | [`json_log`] | log records as plain JSON objects |
//! | [`prometheus`] | Prometheus's wire formats, into and out of `model::series` |
//! | [`logs`] | the batch of log records that line-shaped inputs write into |
//! | [`lines`], [`severity`], [`timestamp`] | what such inputs share: framing, levels, times |
//!
//! Invariant: nothing here knows a socket, a clock or a runtime. Bytes and the current time are passed in, and
//! whatever a peer sends, memory is bounded by the limits passed in, and the result is a sound request or an error.
//! Invariant: no error quotes a value from the input, since errors reach logs that redaction does not.

pub mod elasticsearch;
#[doc(hidden)]
pub mod fuzzing;
mod json;
pub mod json_lines;
pub mod json_log;
mod json_text;
pub mod lines;
pub mod logs;
pub mod loki;
pub mod otlp_json;
pub mod prometheus;
pub mod severity;
pub mod snappy;
pub mod syslog;
pub mod timestamp;
