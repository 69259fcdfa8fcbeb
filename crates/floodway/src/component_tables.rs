//! The one place that knows every crate of components.

use config::Registry;

/// Every component of this program.
pub(crate) const ALL: Registry<'static> = Registry {
    receivers: receivers::RECEIVERS,
    processors: processors::PROCESSORS,
    exporters: exporters::EXPORTERS,
};

/// The processor type that takes peer ids out; the start summary says where it is missing.
pub(crate) const REDACTION: &str = "redact";
