//! Prometheus series: to and from OTLP, and as remote-write requests. prost builds the requests and reads them back.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod encode;
mod from_otlp;
mod otlp;
mod round_trip;
mod to_otlp;
mod wire;
