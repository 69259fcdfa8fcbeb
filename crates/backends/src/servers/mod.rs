//! One file a backend: version, ports, where it comes from, how it is started. Listed in `catalog::BACKENDS`.

pub mod kafka;
pub(crate) mod logger;
pub mod loki;
pub(crate) mod opensearch;
pub(crate) mod otelcol;
pub mod prometheus;
pub(crate) mod promrelabel;
pub(crate) mod promtail;
pub(crate) mod rsyslog;
pub(crate) mod telemetrygen;
pub mod tempo;
