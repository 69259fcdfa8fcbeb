//! Telemetry in wire format: what flows between a receiver and an exporter.
//!
//! A [`Payload`] is one of two forms: OTLP, or Prometheus series ([`series`]).
//! A [`Request`] is the protobuf bytes of an OTLP export request, checked once at receipt and never decoded. Processors read
//! it through borrowed [`otlp`] views and record edits in a [`Splice`]; exporters send the bytes as they are.
//! This crate knows no runtime, no socket and no clock.

mod ack;
mod check;
pub mod descriptor;
#[doc(hidden)]
pub mod fuzzing;
mod normalize;
pub mod otlp;
mod payload;
mod request;
pub mod series;
mod splice;
mod sync;
mod view;
pub mod walk;
pub mod wire;
mod writer;

pub use ack::{Ack, AckMode, AckWaiter, Stage, Verdict};
pub use check::Problem;
pub use payload::Payload;
pub use request::{Malformed, Repairs, Request, Signal};
pub use series::{SeriesBatch, SeriesBuilder};
pub use splice::Splice;
pub use view::{Message, Messages, Scalar, View, Zigzag};
pub use writer::Writer;
