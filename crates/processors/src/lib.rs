//! Every synchronous step between a receiver and an exporter queue.
//!
//! A processor reads a request through its wire format and records edits; what it does not touch is neither decoded nor
//! copied. Adding one takes a folder and a line in [`PROCESSORS`].
//!
//! Invariant: no processor waits, locks or does I/O while a request passes; files are read when the graph is built.

pub mod redact;
pub mod relabel;
pub mod sample;
mod value;
mod walk;

use engine::ProcessorFactory;

/// The processors that a configuration can name.
pub const PROCESSORS: &[ProcessorFactory] = &[
    ProcessorFactory::of::<redact::RedactConfig>(),
    ProcessorFactory::of::<sample::SampleConfig>(),
    ProcessorFactory::of::<relabel::RelabelConfig>(),
];
