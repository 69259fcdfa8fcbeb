//! Plain TCP sessions, for line and frame protocols, with the limits and the shutdown of the HTTP server.

use super::accept::{self, Drained, Hooks, Shutdown};
use crate::listen::Bound;
use crate::stream::Stream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Serves `bound` until `shutdown` resolves; then sessions have `drain_timeout` to end.
///
/// A session is told by its [`Shutdown`]; it should stop reading, finish what it holds and return. Read
/// timeouts are the session's own: what counts as idle depends on the protocol.
pub async fn serve_tcp<F, Fut>(
    bound: Bound,
    hooks: Arc<dyn Hooks>,
    shutdown: impl Future<Output = ()>,
    drain_timeout: Duration,
    session: F,
) -> Drained
where
    F: Fn(Stream, SocketAddr, Shutdown) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    accept::run(bound, hooks, shutdown, drain_timeout, session).await
}
