//! Serving: HTTP/1.1 and HTTP/2 on one port, and plain TCP sessions.
//!
//! A listener is bound first ([`crate::listen`]), then served until its shutdown future resolves:
//! ```text
//! stop accepting -> tell every connection (GOAWAY, `connection: close`) -> in-flight requests finish
//!                -> drain_timeout: what is left is cut
//! ```
//! Dropping the future of `serve` cuts every connection at once.
//!
//! Limits: connections, header bytes, header time, streams a connection, HTTP/2 windows, resets. Bodies are
//! limited where they are read ([`crate::body`]).

mod accept;
mod http;
mod read_ahead;
mod tcp;

pub use self::accept::{Drained, Hooks, NoHooks, Refusal, Shutdown};
pub use self::http::{Handler, HttpOptions, serve};
pub use self::tcp::serve_tcp;
