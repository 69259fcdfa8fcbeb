//! Every way in, one folder each, and the table that lists them.
//!
//! A receiver splits into its configuration (`mod.rs`), what it makes of bytes (sync, over `codec` or `model`), and the loop
//! that owns the socket. Adding one touches its folder and a line of [`RECEIVERS`].

mod admission;
mod logstash;
mod otlp;

use engine::ReceiverFactory;

/// All receivers.
pub const RECEIVERS: &[ReceiverFactory] =
    &[ReceiverFactory::of::<otlp::OtlpConfig>(), ReceiverFactory::of::<logstash::LogstashConfig>()];

/// Registers the help texts of the receivers' own metrics. Call it once, after the recorder is installed.
pub fn describe_all() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("floodway_open_connections", "Connections open now.");
    describe_counter!("floodway_refused_connections_total", "Connections that were not served, by reason.");
    describe_counter!("floodway_repairs_total", "Things mended in requests at receipt, by kind.");
    describe_counter!("floodway_line_problems_total", "Lines that were not as they should be, by problem.");
}
