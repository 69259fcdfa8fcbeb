//! Log records as lines: syslog messages with octet counting, and JSON as Logstash's clients send it.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// RFC 5424 in RFC 6587 octet counting: `LENGTH SP <PRI>1 TIME HOST APP PROCID MSGID [SD] MSG`.
pub(super) fn syslog(records: impl Iterator<Item = LogRecord>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut message = String::new();
    for record in records {
        message.clear();
        // local0, and the severity of RFC 5424 for the record's.
        let severity = if record.severity_number >= 13 { 4 } else { 6 };
        let millis = record.time_unix_nano / 1_000_000;
        let _ = write!(
            message,
            "<{}>1 2026-05-28T{:02}:{:02}:{:02}.{:03}Z relay-0 kubo {} swarm [floodway@32473",
            16 * 8 + severity,
            millis / 3_600_000 % 24,
            millis / 60_000 % 60,
            millis / 1_000 % 60,
            millis % 1_000,
            millis % 30_000,
        );
        for attribute in &record.attributes {
            let _ = write!(message, " {}=\"", attribute.key);
            push_value(attribute.value.as_ref().and_then(|value| value.value.as_ref()), &mut message);
            message.push('"');
        }
        message.push_str("] ");
        push_value(record.body.as_ref().and_then(|body| body.value.as_ref()), &mut message);
        out.extend_from_slice(format!("{} ", message.len()).as_bytes());
        out.extend_from_slice(message.as_bytes());
    }
    out
}

/// One JSON object a line: `@timestamp`, `level`, `message`, and every attribute by its name.
pub(super) fn json(records: impl Iterator<Item = LogRecord>) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let mut event = serde_json::Map::new();
        let millis = record.time_unix_nano / 1_000_000;
        let time = format!(
            "2026-05-28T{:02}:{:02}:{:02}.{:03}Z",
            millis / 3_600_000 % 24,
            millis / 60_000 % 60,
            millis / 1_000 % 60,
            millis % 1_000
        );
        event.insert("@timestamp".into(), time.into());
        event.insert("level".into(), record.severity_text.to_lowercase().into());
        event.insert("service".into(), "relay".into());
        let mut text = String::new();
        push_value(record.body.as_ref().and_then(|body| body.value.as_ref()), &mut text);
        event.insert("message".into(), text.into());
        for attribute in record.attributes {
            let value = match attribute.value.and_then(|value| value.value) {
                Some(Value::IntValue(number)) => number.into(),
                Some(Value::BoolValue(truth)) => truth.into(),
                Some(Value::StringValue(text)) => text.into(),
                _ => serde_json::Value::Null,
            };
            event.insert(attribute.key, value);
        }
        // A map of texts and numbers always has a JSON form.
        out.extend_from_slice(serde_json::Value::Object(event).to_string().as_bytes());
        out.push(b'\n');
    }
    out
}

fn push_value(value: Option<&Value>, out: &mut String) {
    let _ = match value {
        Some(Value::StringValue(text)) => write!(out, "{text}"),
        Some(Value::IntValue(number)) => write!(out, "{number}"),
        Some(Value::BoolValue(truth)) => write!(out, "{truth}"),
        _ => Ok(()),
    };
}
