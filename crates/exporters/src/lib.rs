//! Every way out, one folder each, and the table that lists them.
//!
//! An exporter encodes and sends one request. Queue, merging, retry, back-off and acknowledgement are the engine's; an
//! exporter says by its error whether trying again may help. Adding one touches its folder and a line of [`EXPORTERS`].

mod debug;
mod elasticsearch;
mod file;
mod forms;
mod http_shared;
mod kafka;
mod loki;
mod otlp;
mod prometheus_remote_write;
mod tempo;

use engine::ExporterFactory;

/// All exporters.
pub const EXPORTERS: &[ExporterFactory] = &[
    ExporterFactory::of::<otlp::OtlpConfig>(),
    ExporterFactory::of::<tempo::TempoConfig>(),
    ExporterFactory::of::<loki::LokiConfig>(),
    ExporterFactory::of::<file::FileConfig>(),
    ExporterFactory::of::<elasticsearch::ElasticsearchConfig>(),
    ExporterFactory::of::<prometheus_remote_write::PrometheusRemoteWriteConfig>(),
    ExporterFactory::of::<debug::DebugConfig>(),
    ExporterFactory::of::<kafka::KafkaConfig>(),
];

/// Registers the help texts of the exporters' own metrics. Call it once, after the recorder is installed.
pub fn describe_all() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!(
        "floodway_reduced_labels_total",
        "Log records that lost a label because there were too many streams."
    );
    describe_counter!(
        "floodway_kafka_producer_restarts_total",
        "Times that a Kafka producer was broken for good and made anew."
    );
    describe_counter!(
        "floodway_prometheus_joined_labels_total",
        "Attributes of OTLP metrics that became the same label and were joined."
    );
    describe_gauge!("floodway_prometheus_accumulated_series", "Delta series whose totals are kept.");
}
