//! Records as lines of text. Control characters are escaped, so that no record can write to the terminal.

use std::fmt::Write as _;

use model::otlp::{
    AnyValue, ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, KeyValue,
    LogRecord, Metric, Resource, Span,
};
use model::{Request, Signal};

/// Longest text of one value.
const MAX_VALUE: usize = 500;
/// How deep nested values are followed.
const MAX_DEPTH: usize = 8;

/// Appends a line a record to `out`.
pub(super) fn records(request: &Request, detailed: bool, out: &mut String) {
    let bytes = request.bytes();
    let mut text = Text { detailed, out };
    match request.signal() {
        Signal::Traces => {
            for resource in ExportTraceServiceRequest::of(bytes).resource_spans() {
                let service = service(resource.resource());
                let spans = resource.scope_spans().flat_map(|s| s.spans());
                spans.for_each(|span| text.span(service, span));
            }
        }
        Signal::Logs => {
            for resource in ExportLogsServiceRequest::of(bytes).resource_logs() {
                let service = service(resource.resource());
                let records = resource.scope_logs().flat_map(|s| s.log_records());
                records.for_each(|record| text.log(service, record));
            }
        }
        Signal::Metrics => {
            for resource in ExportMetricsServiceRequest::of(bytes).resource_metrics() {
                let service = service(resource.resource());
                let metrics = resource.scope_metrics().flat_map(|s| s.metrics());
                metrics.for_each(|metric| text.metric(service, metric));
            }
        }
    }
}

fn service<'a>(resource: Option<Resource<'a>>) -> &'a str {
    resource
        .and_then(|r| r.attributes().find(|a| a.key() == "service.name"))
        .and_then(|a| a.value()?.string_value())
        .unwrap_or("-")
}

struct Text<'o> {
    detailed: bool,
    out: &'o mut String,
}

impl Text<'_> {
    fn span(&mut self, service: &str, span: Span<'_>) {
        let micros = span.end_time_unix_nano().saturating_sub(span.start_time_unix_nano()) / 1000;
        self.words("  span", &[service, span.name()]);
        self.put(format_args!(" {micros}us trace={}", Hex(span.trace_id())));
        self.put(format_args!(" span={}", Hex(span.span_id())));
        if let Some(status) = span.status().filter(|s| s.code() == 2) {
            self.words(" error", &[status.message()]);
        }
        self.end(span.attributes());
    }

    fn log(&mut self, service: &str, record: LogRecord<'_>) {
        let severity = if record.severity_text().is_empty() { "-" } else { record.severity_text() };
        self.words("  log", &[service, severity]);
        self.out.push(' ');
        if let Some(body) = record.body() {
            self.value(body, MAX_DEPTH);
        }
        self.end(record.attributes());
    }

    fn metric(&mut self, service: &str, metric: Metric<'_>) {
        let gauge = metric.gauge().into_iter().flat_map(|g| g.data_points());
        let sum = metric.sum().into_iter().flat_map(|s| s.data_points());
        for point in gauge.chain(sum) {
            self.words("  point", &[service, metric.name()]);
            match (point.as_int(), point.as_double()) {
                (Some(int), _) => self.put(format_args!(" {int}")),
                (_, Some(double)) => self.put(format_args!(" {double}")),
                _ => self.out.push_str(" no value"),
            }
            self.words("", &[metric.unit()]);
            self.end(point.attributes());
        }
        for point in metric.histogram().into_iter().flat_map(|h| h.data_points()) {
            self.words("  histogram", &[service, metric.name()]);
            self.put(format_args!(" count={} sum={}", point.count(), point.sum().unwrap_or_default()));
            self.end(point.attributes());
        }
        for point in metric.exponential_histogram().into_iter().flat_map(|h| h.data_points()) {
            self.words("  exponential histogram", &[service, metric.name()]);
            self.put(format_args!(" count={} sum={}", point.count(), point.sum().unwrap_or_default()));
            self.end(point.attributes());
        }
        for point in metric.summary().into_iter().flat_map(|s| s.data_points()) {
            self.words("  summary", &[service, metric.name()]);
            self.put(format_args!(" count={} sum={}", point.count(), point.sum()));
            self.end(point.attributes());
        }
    }

    fn end<'a>(&mut self, attributes: impl Iterator<Item = KeyValue<'a>>) {
        self.out.push('\n');
        if !self.detailed {
            return;
        }
        for attribute in attributes {
            self.words("   ", &[attribute.key()]);
            self.out.push_str(" = ");
            if let Some(value) = attribute.value() {
                self.value(value, MAX_DEPTH);
            }
            self.out.push('\n');
        }
    }

    fn value(&mut self, value: AnyValue<'_>, depth: usize) {
        if depth == 0 {
            return self.out.push('…');
        }
        if let Some(text) = value.string_value() {
            self.text(text);
        } else if let Some(int) = value.int_value() {
            self.put(format_args!("{int}"));
        } else if let Some(double) = value.double_value() {
            self.put(format_args!("{double}"));
        } else if let Some(truth) = value.bool_value() {
            self.put(format_args!("{truth}"));
        } else if let Some(bytes) = value.bytes_value() {
            self.put(format_args!("0x{}", Hex(bytes.get(..MAX_VALUE).unwrap_or(bytes))));
        } else if let Some(array) = value.array_value() {
            self.out.push('[');
            array.values().for_each(|v| {
                self.value(v, depth - 1);
                self.out.push(' ');
            });
            self.out.push(']');
        } else if let Some(list) = value.kvlist_value() {
            self.out.push('{');
            for pair in list.values() {
                self.text(pair.key());
                self.out.push('=');
                if let Some(v) = pair.value() {
                    self.value(v, depth - 1);
                }
                self.out.push(' ');
            }
            self.out.push('}');
        }
    }

    fn words(&mut self, first: &str, words: &[&str]) {
        self.out.push_str(first);
        for word in words.iter().filter(|w| !w.is_empty()) {
            self.out.push(' ');
            self.text(word);
        }
    }

    fn text(&mut self, text: &str) {
        for c in text.chars().take(MAX_VALUE) {
            if c.is_control() { self.out.extend(c.escape_default()) } else { self.out.push(c) }
        }
        if text.chars().nth(MAX_VALUE).is_some() {
            self.out.push('…');
        }
    }

    fn put(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(arguments);
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Writer;

    fn attribute(w: &mut Writer, number: u32, key: &str, value: &str) {
        w.message(number, |w| {
            w.string(1, key);
            w.message(2, |w| w.string(1, value));
        });
    }

    #[test]
    fn a_span_says_how_long_and_what_failed() {
        let mut writer = Writer::new();
        writer.message(1, |w| {
            w.message(2, |w| {
                w.message(2, |w| {
                    w.bytes(1, &[0xab; 16]);
                    w.bytes(2, &[1; 8]);
                    w.string(5, "dial");
                    w.fixed64(7, 1_000_000);
                    w.fixed64(8, 3_500_000);
                    attribute(w, 9, "peer", "x");
                    w.message(15, |w| {
                        w.string(2, "refused");
                        w.int(3, 2);
                    });
                })
            })
        });
        let request = Request::written(Signal::Traces, 1, writer);
        let mut out = String::new();
        records(&request, false, &mut out);
        let (trace, span) = ("ab".repeat(16), "01".repeat(8));
        assert_eq!(out, format!("  span - dial 2500us trace={trace} span={span} error refused\n"));
        out.clear();
        records(&request, true, &mut out);
        assert!(out.ends_with("\n    peer = x\n"), "{out}");
    }

    #[test]
    fn each_kind_of_point_has_a_line() {
        let mut writer = Writer::new();
        let point = |w: &mut Writer| {
            w.message(1, |w| {
                w.fixed64(4, 7);
                w.double(5, 1.5);
            })
        };
        writer.message(1, |w| {
            w.message(2, |w| {
                w.message(2, |w| {
                    w.string(1, "peers");
                    w.string(3, "{peer}");
                    w.message(5, |w| w.message(1, |w| w.fixed64(6, 42)));
                });
                for field in [9, 10, 11] {
                    w.message(2, |w| {
                        w.string(1, "rtt");
                        w.message(field, point);
                    });
                }
            })
        });
        let request = Request::written(Signal::Metrics, 4, writer);
        let mut out = String::new();
        records(&request, false, &mut out);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "  point - peers 42 {peer}");
        assert_eq!(lines[1], "  histogram - rtt count=7 sum=1.5");
        assert!(lines[2].starts_with("  exponential histogram - rtt count="));
        assert!(lines[3].starts_with("  summary - rtt count=7 sum=1.5"));
    }

    #[test]
    fn a_log_record_is_a_line_and_cannot_touch_the_terminal() {
        let mut writer = Writer::new();
        writer.message(1, |w| {
            w.message(1, |w| {
                w.message(1, |w| {
                    w.string(1, "service.name");
                    w.message(2, |w| w.string(1, "node"));
                })
            });
            w.message(2, |w| {
                w.message(2, |w| {
                    w.string(3, "WARN");
                    w.message(5, |w| w.string(1, "evil \x1b[2J\ntext"));
                    w.message(6, |w| {
                        w.string(1, "n");
                        w.message(2, |w| w.int(3, 7));
                    });
                })
            });
        });
        let request = Request::written(Signal::Logs, 1, writer);
        let mut out = String::new();
        records(&request, true, &mut out);
        assert_eq!(out, "  log node WARN evil \\u{1b}[2J\\ntext\n    n = 7\n");
    }
}
