//! OTLP/JSON: the JSON form of the export requests, as OTLP/HTTP carries it with `Content-Type: application/json` and as
//! OTLP files hold it, one request a line.
//!
//! Specification: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. It is protobuf's JSON mapping
//! (<https://protobuf.dev/programming-guides/json/>) with these differences:
//!
//! | what | in OTLP/JSON |
//! |---|---|
//! | `trace_id`, `span_id`, `parent_span_id` | hexadecimal, not base64 |
//! | enumerations | the number only; we also read the name |
//! | keys | lowerCamelCase only; we also read the name in the `.proto` file |
//! | unknown keys | ignored |
//!
//! ```text
//! {"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"peer"}}]},
//!   "scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000000","severityNumber":9,"body":{"intValue":"0"}}]}]}]}
//! ```
//!
//! Both directions are driven by the descriptor tables and go straight between text and wire format: there is no decoded
//! form in between, and no code for any one message. [`receive`] refuses what readers could see differently: keys that
//! stand twice in one object, two members of one oneof.

mod decode;
mod encode;
mod mend;

pub use decode::{DecodeLimits, JsonError, decode, receive};
pub use encode::encode;

/// Whether a `bytes` field is an identifier, which OTLP/JSON spells in hexadecimal: how many bytes it has.
fn id_len(field: &model::descriptor::FieldDescriptor) -> Option<usize> {
    match field.name {
        "trace_id" => Some(16),
        "span_id" | "parent_span_id" => Some(8),
        _ => None,
    }
}
