//! Every way in, one folder each, and the table that lists them.
//!
//! A receiver splits into its configuration (`mod.rs`), what it makes of bytes (sync, over `codec` or `model`), and the loop
//! that owns the socket. Adding one touches its folder and a line of [`RECEIVERS`].

mod admission;
mod http_answer;
mod kafka;
mod logstash;
mod loki_push;
mod otlp;
mod remote_write;
mod stream_session;
mod syslog;

use engine::ReceiverFactory;

/// All receivers.
pub const RECEIVERS: &[ReceiverFactory] = &[
    ReceiverFactory::of::<otlp::OtlpConfig>(),
    ReceiverFactory::of::<logstash::LogstashConfig>(),
    ReceiverFactory::of::<syslog::SyslogConfig>(),
    ReceiverFactory::of::<loki_push::LokiPushConfig>(),
    ReceiverFactory::of::<kafka::KafkaConfig>(),
    ReceiverFactory::of::<remote_write::RemoteWriteConfig>(),
];

/// Registers the help texts of the receivers' own metrics. Call it once, after the recorder is installed.
pub fn describe_all() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("floodway_open_connections", "Connections open now.");
    describe_counter!("floodway_refused_connections_total", "Connections that were not served, by reason.");
    describe_counter!("floodway_repairs_total", "Things mended in requests at receipt, by kind.");
    describe_counter!(
        "floodway_line_problems_total",
        "Lines and messages that were not as they should be, by problem."
    );
    describe_counter!(
        "floodway_udp_dropped_datagrams_total",
        "Datagrams that were lost, by reason; `kernel` are those that the socket's buffer had no room for."
    );
    describe_gauge!("floodway_kafka_assigned_partitions", "Partitions that this member of the group reads.");
    describe_counter!("floodway_kafka_rebalances_total", "Times that partitions were taken on or given up.");
    describe_counter!(
        "floodway_kafka_partitions_given_up_late_total",
        "Partitions given up before all that was read was delivered; the rest is delivered twice."
    );
    describe_counter!(
        "floodway_refused_exemplars_total",
        "Exemplars of remote-write requests that were not sound."
    );
}
