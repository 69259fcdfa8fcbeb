//! Records as JSON, one a line, and the summary of a folder.
//!
//! ```text
//! {"entered":"2026-03-01T12:00:00.000Z","form":"logs","items":3,"seq":7,"payload":{"resourceLogs":[...]}}
//! {...,"form":"series","message":"...","reason":"rejected","seq":8,"payload":{"series":[{"labels":{...},"samples":[...]}]}}
//! {"segment":"seg-...","offset":4096,"bytes":120,"damage":"a record with a damaged payload"}
//! ```
//! OTLP is OTLP/JSON. Numbers that JSON does not have are texts: `NaN`, `Infinity`, `-Infinity`, and `stale` for the value that says
//! that a series has ended.

use std::path::Path;

use ::buffer::{Report, Tally};
use engine::stored;
use model::series::{Buckets, Count, Exemplar, Histogram, Labels, STALE_NAN_BITS, Sample, SeriesRef};
use model::{Payload, SeriesBatch};
use serde_json::{Map, Value, json};

use super::folder::{Contents, Found, Share, What, time};

/// Appends one line without its end.
pub(super) fn line(found: &Found, out: &mut Vec<u8>) {
    let (header, done, what) = match found {
        Found::Record { header, done, what } => (header, *done, what),
        Found::Damage { segment, offset, bytes, what } => {
            let damage = json!({"segment": segment, "offset": offset, "bytes": bytes, "damage": what});
            out.extend_from_slice(damage.to_string().as_bytes());
            return;
        }
    };
    let mut fields = Map::new();
    fields.insert("seq".to_owned(), header.seq.into());
    fields.insert("entered".to_owned(), time(header.entered_ms).into());
    fields.insert("form".to_owned(), stored::form(header.tag).into());
    fields.insert("items".to_owned(), header.items.into());
    if done {
        fields.insert("done".to_owned(), true.into());
    }
    let payload = match what {
        What::Payload(payload) => Some(payload),
        What::Letter(letter) => {
            fields.insert("reason".to_owned(), letter.reason.as_str().into());
            fields.insert("message".to_owned(), letter.message.as_str().into());
            Some(&letter.payload)
        }
        What::Unknown(error) => {
            fields.insert("unreadable".to_owned(), error.to_string().into());
            None
        }
        What::Gone => {
            fields.insert("unreadable".to_owned(), "its segment is gone".into());
            None
        }
    };
    out.extend_from_slice(Value::Object(fields).to_string().as_bytes());
    if let Some(payload) = payload {
        // Within the braces of the object.
        out.pop();
        out.extend_from_slice(b",\"payload\":");
        self::payload(payload, out);
        out.push(b'}');
    }
}

fn payload(payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        Payload::Otlp(request) => codec::otlp_json::encode(request, out),
        Payload::Series(series) => out.extend_from_slice(batch(series).to_string().as_bytes()),
    }
}

fn batch(batch: &SeriesBatch) -> Value {
    let text = |symbol| batch.symbols().get(symbol);
    let family = |family: &model::series::Family| {
        let metadata = family.metadata;
        json!({"name": text(family.name), "kind": format!("{:?}", metadata.kind), "help": text(metadata.help), "unit": text(metadata.unit)})
    };
    let series: Vec<Value> = batch.iter().map(|of| series(&of)).collect();
    let families: Vec<Value> = batch.families().iter().map(family).collect();
    let mut value = json!({"series": series});
    if !families.is_empty() {
        value["families"] = families.into();
    }
    value
}

fn series(series: &SeriesRef<'_>) -> Value {
    let (kind, help, unit) = series.metadata_text();
    let mut value = json!({"labels": labels(&series.labels()), "samples": series.samples().iter().map(sample).collect::<Vec<_>>()});
    if series.histograms().len() > 0 {
        value["histograms"] = series.histograms().map(|of| histogram(&of)).collect();
    }
    if series.exemplars().len() > 0 {
        value["exemplars"] = series.exemplars().map(|of| exemplar(&of)).collect();
    }
    if kind != model::series::MetricKind::Unknown {
        value["kind"] = format!("{kind:?}").into();
    }
    for (name, text) in [("help", help), ("unit", unit)] {
        if !text.is_empty() {
            value[name] = text.into();
        }
    }
    value
}

fn labels(labels: &Labels<'_>) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn sample(sample: &Sample) -> Value {
    with_start(json!({"time_ms": sample.timestamp_ms, "value": number(sample.value)}), sample.start_ms)
}

fn with_start(mut value: Value, start_ms: i64) -> Value {
    if start_ms != 0 {
        value["start_ms"] = start_ms.into();
    }
    value
}

fn exemplar(exemplar: &Exemplar<'_>) -> Value {
    json!({"labels": labels(&exemplar.labels), "time_ms": exemplar.timestamp_ms, "value": number(exemplar.value)})
}

fn histogram(histogram: &Histogram<'_>) -> Value {
    let count = |count| match count {
        Count::Int(count) => count.into(),
        Count::Float(count) => number(count),
    };
    let numbers = |values: &[f64]| values.iter().copied().map(number).collect::<Vec<_>>();
    let side = |side: &Buckets<'_>| {
        let spans: Vec<_> = side.spans.iter().map(|span| json!([span.offset, span.length])).collect();
        json!({"spans": spans, "deltas": side.deltas, "counts": numbers(side.counts)})
    };
    let value = json!({
        "time_ms": histogram.timestamp_ms, "count": count(histogram.count), "sum": number(histogram.sum),
        "schema": histogram.schema, "zero_threshold": number(histogram.zero_threshold),
        "zero_count": count(histogram.zero_count), "negative": side(&histogram.negative),
        "positive": side(&histogram.positive), "bounds": numbers(histogram.custom_values),
        "reset": format!("{:?}", histogram.reset_hint),
    });
    with_start(value, histogram.start_ms)
}

fn number(value: f64) -> Value {
    if value.to_bits() == STALE_NAN_BITS {
        return "stale".into();
    }
    match value {
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        // JSON has no NaN, and serde_json writes null for it.
        value if value.is_nan() => "NaN".into(),
        value => value.into(),
    }
}

/// The summary of a folder, for programs.
pub(super) fn contents(directory: &Path, contents: &Contents) -> Value {
    let Contents { report, forms, reasons, unknown } = contents;
    let Report { segments, file_bytes, undelivered, done, oldest_ms, damaged, damaged_bytes, .. } = report;
    let tally =
        |tally: &Tally| json!({"requests": tally.records, "items": tally.items, "bytes": tally.bytes});
    let share = |share: &Share| json!({"requests": share.requests, "items": share.items});
    let forms: Map<String, Value> = forms.iter().map(|(form, of)| ((*form).to_owned(), share(of))).collect();
    let reasons: Map<String, Value> =
        reasons.iter().map(|(reason, of)| (reason.clone(), share(of))).collect();
    json!({
        "directory": directory.display().to_string(), "sound": contents.is_sound(), "segments": segments, "file_bytes": file_bytes,
        "waiting": tally(undelivered), "oldest": oldest_ms.map(time), "forms": forms, "dead_letters": reasons,
        "delivered": tally(done), "unknown": share(unknown), "damaged": tally(damaged),
        "damaged_bytes": damaged_bytes, "lost_bytes": report.lost_bytes, "tail_bytes": report.tail_bytes,
        "unreadable_bytes": report.unreadable_bytes, "unopened_segments": report.unopened,
        "missing_numbers": report.missing,
    })
}
