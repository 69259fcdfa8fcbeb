//! Load generator, sink and benchmark: an independent oracle for Floodway.
//!
//! It makes OTLP requests before a run starts ([`payload`]), sends them ([`driver`]), receives what comes out at the other
//! end ([`sink`]), and reads from the kernel what the program in between has cost ([`procfs`]). [`mod@bench`] does so for
//! several programs in turn and compares them in one run.
//!
//! Invariant: nothing here uses code of the engine (`model`, `codec`, `redact`, `net`, ...). Payloads are encoded by prost from
//! the published `.proto` files, gRPC is spoken over plain hyper, records are counted by a walk of its own ([`wire`]), and
//! sampled requests are decoded by prost. A mistake in Floodway's reading of protobuf is thus not repeated here.
//!
//! It deliberately does no TLS and never retries: a refused request is counted as refused.

pub mod bench;
mod client;
pub mod driver;
mod error;
pub mod grpc;
pub mod latency;
pub mod payload;
pub mod peers;
pub mod procfs;
mod rng;
pub mod sink;
pub mod wire;

pub use error::{Error, Result};
