//! One file a backend: version, ports, where it comes from, how it is started. Listed in `catalog::BACKENDS`.

pub(crate) mod kafka;
pub(crate) mod logger;
pub(crate) mod loki;
pub(crate) mod opensearch;
pub(crate) mod otelcol;
pub mod prometheus;
pub(crate) mod rsyslog;
pub(crate) mod telemetrygen;
pub mod tempo;
