//! Listeners, TLS, HTTP and gRPC plumbing, capped decompression.
//!
//! Everything that owns a socket goes through this crate, so that limits on connections, headers, bodies,
//! inflated sizes and time are set in one place. It sits on hyper and h2 directly: a request body is taken as
//! raw bytes, after the memory budget has agreed ([`Admission`]) and with at most one copy.
//!
//! | module | what it holds |
//! |---|---|
//! | [`listen`] | bind first, serve later; errors that say what to do |
//! | [`share`] | sockets that pass from a receiver to its successor |
//! | [`server`] | HTTP/1.1 and HTTP/2 on one port, plain TCP sessions, graceful shutdown |
//! | [`body`] | response bodies, request bodies read under a budget |
//! | [`encoding`] | gzip, deflate and zstd, both ways, capped |
//! | [`grpc`] | unary gRPC: server layer, client, status codes, framing |
//! | [`client`] | targets, TLS connector, HTTP client, `Retry-After` |
//! | [`udp`] | datagrams in batches, and how many the kernel dropped |
//! | [`config`] | the serde structs that receivers and exporters share |
//!
//! Invariant: nothing here knows what the bytes mean. No OTLP, no pipeline, no metrics registry: counting is
//! done by the caller through [`server::Hooks`].

pub mod body;
pub mod client;
pub mod config;
pub mod encoding;
pub mod fuzzing;
pub mod grpc;
pub mod listen;
pub mod server;
pub mod share;
mod stream;
pub mod tls;
pub mod udp;

pub use body::{Admission, Body, Full, Unlimited};
pub use encoding::Encoding;
pub use listen::{Bound, Listen};
pub use stream::Stream;

/// A boxed error, for bodies and callbacks whose error type is the caller's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
