//! Redaction on decoded messages, field by field and by hand: the oracle of the walk by tables; and on lists of series, text by
//! text: the oracle of redaction by symbols.
#![allow(dead_code, reason = "every test binary uses its own part")]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use redact::{Counts, Redactor};

pub(crate) struct Naive<'a>(pub(crate) &'a Redactor);

type NaiveLabels = Vec<(String, String)>;

/// A series with everything that is written out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NaiveSeries {
    pub(crate) labels: NaiveLabels,
    pub(crate) samples: Vec<(i64, f64)>,
    pub(crate) exemplars: Vec<(i64, NaiveLabels)>,
    pub(crate) help: String,
    pub(crate) unit: String,
}

impl Naive<'_> {
    fn text(&self, text: &mut String) {
        let redacted = self.0.redact_line(text.as_bytes(), &mut Counts::default()).into_owned();
        *text = String::from_utf8(redacted).expect("still UTF-8");
    }

    fn texts(&self, texts: &mut [String]) {
        texts.iter_mut().for_each(|text| self.text(text));
    }

    fn bytes(&self, bytes: &mut Vec<u8>) {
        let mut out = Vec::new();
        let mut at = 0;
        self.0.redact_binary(bytes, &mut Counts::default(), &mut |found| {
            out.extend_from_slice(&bytes[at..found.range.start]);
            out.extend_from_slice(found.bytes);
            at = found.range.end;
        });
        out.extend_from_slice(&bytes[at..]);
        *bytes = out;
    }

    fn value(&self, value: &mut AnyValue) {
        match value.value.as_mut() {
            Some(Value::StringValue(text)) => self.text(text),
            Some(Value::BytesValue(bytes)) => self.bytes(bytes),
            Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(|v| self.value(v)),
            Some(Value::KvlistValue(map)) => self.attributes(&mut map.values),
            _ => {}
        }
    }

    fn attributes(&self, attributes: &mut [KeyValue]) {
        for attribute in attributes {
            self.text(&mut attribute.key);
            attribute.value.iter_mut().for_each(|value| self.value(value));
        }
    }

    fn resource(&self, resource: &mut Option<Resource>) {
        if let Some(resource) = resource {
            self.attributes(&mut resource.attributes);
            for entity in &mut resource.entity_refs {
                self.text(&mut entity.schema_url);
                self.text(&mut entity.r#type);
                self.texts(&mut entity.id_keys);
                self.texts(&mut entity.description_keys);
            }
        }
    }

    fn scope(&self, scope: &mut Option<InstrumentationScope>) {
        if let Some(scope) = scope {
            self.text(&mut scope.name);
            self.text(&mut scope.version);
            self.attributes(&mut scope.attributes);
        }
    }

    pub(crate) fn traces(&self, request: &mut ExportTraceServiceRequest) {
        for group in &mut request.resource_spans {
            self.resource(&mut group.resource);
            self.text(&mut group.schema_url);
            for scope in &mut group.scope_spans {
                self.scope(&mut scope.scope);
                self.text(&mut scope.schema_url);
                for span in &mut scope.spans {
                    self.bytes(&mut span.trace_id);
                    self.bytes(&mut span.span_id);
                    self.text(&mut span.trace_state);
                    self.bytes(&mut span.parent_span_id);
                    self.text(&mut span.name);
                    self.attributes(&mut span.attributes);
                    for event in &mut span.events {
                        self.text(&mut event.name);
                        self.attributes(&mut event.attributes);
                    }
                    for link in &mut span.links {
                        self.bytes(&mut link.trace_id);
                        self.bytes(&mut link.span_id);
                        self.text(&mut link.trace_state);
                        self.attributes(&mut link.attributes);
                    }
                    span.status.iter_mut().for_each(|status| self.text(&mut status.message));
                }
            }
        }
    }

    pub(crate) fn logs(&self, request: &mut ExportLogsServiceRequest) {
        for group in &mut request.resource_logs {
            self.resource(&mut group.resource);
            self.text(&mut group.schema_url);
            for scope in &mut group.scope_logs {
                self.scope(&mut scope.scope);
                self.text(&mut scope.schema_url);
                for record in &mut scope.log_records {
                    self.text(&mut record.severity_text);
                    record.body.iter_mut().for_each(|body| self.value(body));
                    self.attributes(&mut record.attributes);
                    self.bytes(&mut record.trace_id);
                    self.bytes(&mut record.span_id);
                    self.text(&mut record.event_name);
                }
            }
        }
    }

    pub(crate) fn metrics(&self, request: &mut ExportMetricsServiceRequest) {
        for group in &mut request.resource_metrics {
            self.resource(&mut group.resource);
            self.text(&mut group.schema_url);
            for scope in &mut group.scope_metrics {
                self.scope(&mut scope.scope);
                self.text(&mut scope.schema_url);
                for metric in &mut scope.metrics {
                    self.text(&mut metric.name);
                    self.text(&mut metric.description);
                    self.text(&mut metric.unit);
                    self.attributes(&mut metric.metadata);
                    metric.data.iter_mut().for_each(|data| self.data(data));
                }
            }
        }
    }

    fn data(&self, data: &mut Data) {
        match data {
            Data::Gauge(gauge) => gauge.data_points.iter_mut().for_each(|p| {
                self.attributes(&mut p.attributes);
                self.exemplars(&mut p.exemplars);
            }),
            Data::Sum(sum) => sum.data_points.iter_mut().for_each(|p| {
                self.attributes(&mut p.attributes);
                self.exemplars(&mut p.exemplars);
            }),
            Data::Histogram(histogram) => histogram.data_points.iter_mut().for_each(|p| {
                self.attributes(&mut p.attributes);
                self.exemplars(&mut p.exemplars);
            }),
            Data::ExponentialHistogram(histogram) => histogram.data_points.iter_mut().for_each(|p| {
                self.attributes(&mut p.attributes);
                self.exemplars(&mut p.exemplars);
            }),
            Data::Summary(summary) => {
                summary.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes));
            }
        }
    }

    fn exemplars(&self, exemplars: &mut [Exemplar]) {
        for exemplar in exemplars {
            self.attributes(&mut exemplar.filtered_attributes);
            self.bytes(&mut exemplar.span_id);
            self.bytes(&mut exemplar.trace_id);
        }
    }

    /// Redacts, drops what lost its name, merges what became equal. `lenient` is for values of labels in `keep_keys`.
    /// Batches in which nothing changes stay as they are.
    pub(crate) fn series(
        &self,
        lenient: &Naive<'_>,
        keep_keys: &[&str],
        series: Vec<NaiveSeries>,
    ) -> Vec<NaiveSeries> {
        let has_name = |labels: &NaiveLabels| labels.iter().any(|(name, _)| name == "__name__");
        let mut redacted = series.clone();
        for one in &mut redacted {
            self.labels(lenient, keep_keys, &mut one.labels);
            one.exemplars.iter_mut().for_each(|(_, labels)| self.labels(lenient, keep_keys, labels));
            self.text(&mut one.help);
            self.text(&mut one.unit);
        }
        if redacted == series {
            return series;
        }
        let kept = redacted.into_iter().zip(&series);
        let kept = kept.filter(|(after, before)| has_name(&after.labels) || !has_name(&before.labels));
        let mut merged: Vec<NaiveSeries> = Vec::new();
        for (one, _) in kept {
            let same = |first: &&mut NaiveSeries| {
                first.labels == one.labels && first.samples.is_empty() == one.samples.is_empty()
            };
            match merged.iter_mut().find(same) {
                Some(first) => {
                    for (time, value) in one.samples {
                        if first.samples.iter().all(|(known, _)| *known != time) {
                            first.samples.push((time, value));
                        }
                    }
                    first.samples.sort_by_key(|(time, _)| *time);
                    first.exemplars.extend(one.exemplars);
                    first.exemplars.sort_by_key(|(time, _)| *time);
                }
                None => merged.push(one),
            }
        }
        merged
    }

    fn labels(&self, lenient: &Naive<'_>, keep_keys: &[&str], labels: &mut NaiveLabels) {
        for (name, value) in labels.iter_mut() {
            if keep_keys.contains(&name.as_str()) {
                lenient.text(value)
            } else {
                self.text(value)
            }
            self.text(name);
        }
        labels.retain(|(name, value)| !name.is_empty() && !value.is_empty());
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|b, a| a.0 == b.0);
    }
}
