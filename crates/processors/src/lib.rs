//! Every synchronous step between a receiver and an exporter queue.
//!
//! A processor reads a request through its wire format and records edits; what it does not touch is neither decoded nor
//! copied. Adding one takes a folder and a line in [`PROCESSORS`].
//!
//! Invariant: no processor waits, locks or does I/O while a request passes; files are read when the graph is built.

mod collisions;
pub mod redact;
pub mod relabel;
pub mod sample;
mod value;

use engine::ProcessorFactory;

/// The processors that a configuration can name.
pub const PROCESSORS: &[ProcessorFactory] = &[
    ProcessorFactory::of::<redact::RedactConfig>(),
    ProcessorFactory::of::<sample::SampleConfig>(),
    ProcessorFactory::of::<relabel::RelabelConfig>(),
];

/// Registers the help texts of the processors' own metrics. Call it once, after the recorder is installed.
pub fn describe_all() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!("floodway_redact_findings_total", "Identifiers replaced, by class and action.");
    describe_counter!("floodway_redact_partial_total", "Of these, identifiers that were cut off or garbled.");
    describe_counter!("floodway_redact_candidates_total", "Places that looked like an identifier.");
    describe_counter!("floodway_redact_bytes_scanned_total", Unit::Bytes, "Bytes searched for identifiers.");
    describe_counter!(
        "floodway_redact_unknown_fields_dropped_total",
        "Fields unknown to this version that were deleted because an identifier stood in them."
    );
    describe_counter!(
        "floodway_relabel_refused_writes_total",
        "Labels that relabel rules could not write: too large, or not writable for this signal."
    );
    describe_counter!(
        "floodway_relabel_cache_hits_total",
        "Series for which the verdict of the rules was known."
    );
    describe_counter!("floodway_relabel_cache_misses_total", "Series over which the rules had to run.");
    describe_gauge!("floodway_relabel_cache_entries", "Series whose verdict is known.");
    describe_counter!(
        "floodway_series_merged_total",
        "Series that were merged into another of the same request, since their labels became the same."
    );
}
