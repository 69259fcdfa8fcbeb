//! Unary gRPC over HTTP/2, without generated code: messages are bytes on both sides.
//!
//! One message on the wire (gRPC over HTTP/2, "Length-Prefixed-Message"):
//! ```text
//! +------------+------------------+-----------------+
//! | compressed | length, 4 bytes, | message         |
//! | 0 or 1     | big endian       | `length` bytes  |
//! +------------+------------------+-----------------+
//! ```
//! It may be cut into DATA frames anywhere. A response ends with `grpc-status` in trailers, or in the header
//! when there is no message ("Trailers-Only").
//!
//! Deliberately not here: streaming calls, reflection, gRPC-Web.

mod client;
mod driver;
pub(crate) mod frame;
mod status;
mod unary;

pub use client::{CallError, Client, ClientOptions};
pub(crate) use frame::PREFIX_LEN;
pub use status::{Code, Status};
pub(crate) use unary::timeout;
pub use unary::{Request, Unary, UnaryService};
