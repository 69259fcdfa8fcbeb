//! Tables and borrowed views of every message of the OTLP protocol, generated from `proto/`.

use crate::descriptor::MessageDescriptor;
use crate::request::Signal;

mod collector_logs;
mod collector_metrics;
mod collector_trace;
mod common;
mod logs;
mod metrics;
mod resource;
mod trace;

pub use collector_logs::*;
pub use collector_metrics::*;
pub use collector_trace::*;
pub use common::*;
pub use logs::*;
pub use metrics::*;
pub use resource::*;
pub use trace::*;

/// The table of the export request of a signal.
pub fn request_descriptor(signal: Signal) -> &'static MessageDescriptor {
    match signal {
        Signal::Traces => &EXPORT_TRACE_SERVICE_REQUEST,
        Signal::Logs => &EXPORT_LOGS_SERVICE_REQUEST,
        Signal::Metrics => &EXPORT_METRICS_SERVICE_REQUEST,
    }
}
