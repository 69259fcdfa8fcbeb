//! The sending side: where to connect ([`Target`]), how ([`Connector`]), and an HTTP client on top of it.
//!
//! gRPC has its own client in [`crate::grpc`], on the same connector.

mod chunks;
mod coalesce;
mod connect;
mod http;
mod retry_after;

pub use self::chunks::Chunks;
pub(crate) use self::coalesce::{Coalesce, Flusher, coalesce};
pub use self::connect::{ConnectError, Connector, Target, TargetError};
pub(crate) use self::http::USER_AGENT;
pub use self::http::{HttpClient, HttpClientOptions, HttpError, HttpResponse, SetupError};
pub use self::retry_after::retry_after;
