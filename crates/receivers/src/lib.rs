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
