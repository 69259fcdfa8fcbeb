//! The accept loop that HTTP and plain TCP share: limits, TLS handshake, hooks, graceful shutdown.

use crate::listen::{Bound, Listen};
use crate::stream::Stream;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Pause after `accept` failed for want of file descriptors or memory: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between TCP keepalive probes, once they started.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// At shutdown, what a connection that was accepted has to say something. Without it who connects at the wrong moment is turned
/// away, though a successor may be listening on the same socket.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `max_connections` were open.
    TooMany,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// `accept` failed: most often the process is out of file descriptors.
    Accept,
}

impl Refusal {
    /// The value of a `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "max_connections",
            Self::Handshake => "tls_handshake",
            Self::Accept => "accept",
        }
    }
}

/// Called as connections come and go, so that the caller can count them. Must not block.
pub trait Hooks: Send + Sync + 'static {
    /// A connection is served from now on.
    fn opened(&self) {}
    /// A connection that was opened is gone.
    fn closed(&self) {}
    /// A connection was not served.
    fn refused(&self, reason: Refusal) {
        let _ = reason;
    }
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// How the connections ended at shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Ended by themselves within the deadline.
    pub finished: usize,
    /// Cut at the deadline.
    pub cut: usize,
}

/// Tells a connection that the server wants to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<()>);

impl Shutdown {
    /// Resolves when the server wants to stop. Cancel safe.
    pub async fn requested(&mut self) {
        // The sender sends nothing: it is dropped.
        while self.0.changed().await.is_ok() {}
    }

    /// Resolves a while after [`requested`](Self::requested): when a connection that has said nothing is not waited for any longer.
    /// Cancel safe, though the while then begins again.
    pub async fn last_call(&mut self) {
        self.requested().await;
        tokio::time::sleep(LAST_CALL).await;
    }
}

/// Accepts until `shutdown`, runs `session` for each connection, and drains.
pub(super) async fn run<F, Fut>(
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
    let Bound { listener, lease, tls, listen, .. } = bound;
    let listen = Arc::new(listen);
    let (stop, stopping) = watch::channel(());
    let mut sessions = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sessions.join_next(), if !sessions.is_empty() => continue,
            () = shutdown.as_mut() => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&listen, hooks.as_ref(), &error).await;
                continue;
            }
        };
        while sessions.try_join_next().is_some() {}
        if sessions.len() >= listen.max_connections {
            hooks.refused(Refusal::TooMany);
            tracing::debug!(endpoint = listen.endpoint, %peer, "over max_connections, closed");
            continue;
        }
        let connection = Connection {
            listen: Arc::clone(&listen),
            tls: tls.clone(),
            hooks: Arc::clone(&hooks),
            shutdown: Shutdown(stopping.clone()),
        };
        sessions.spawn(connection.run(socket, peer, session.clone()));
    }
    drop((listener, lease));
    drop(stop);
    drain(sessions, drain_timeout).await
}

async fn accept_failed(listen: &Listen, hooks: &dyn Hooks, error: &io::Error) {
    // The peer left between its handshake and our accept: its business.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    hooks.refused(Refusal::Accept);
    tracing::warn!(endpoint = listen.endpoint, %error, "cannot accept; too many open files? see ulimit -n");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn drain(mut sessions: JoinSet<()>, timeout: Duration) -> Drained {
    let mut drained = Drained::default();
    let all = async {
        while sessions.join_next().await.is_some() {
            drained.finished += 1;
        }
    };
    if tokio::time::timeout(timeout, all).await.is_err() {
        drained.cut = sessions.len();
        sessions.shutdown().await;
    }
    drained
}

struct Connection {
    listen: Arc<Listen>,
    tls: Option<Arc<ServerConfig>>,
    hooks: Arc<dyn Hooks>,
    shutdown: Shutdown,
}

impl Connection {
    async fn run<F, Fut>(mut self, socket: TcpStream, peer: SocketAddr, session: F)
    where
        F: Fn(Stream, SocketAddr, Shutdown) -> Fut,
        Fut: Future<Output = ()>,
    {
        tune(&socket, self.listen.tcp_keepalive);
        let Some(stream) = self.secure(socket, peer).await else {
            return;
        };
        let _open = Open::new(Arc::clone(&self.hooks));
        session(stream, peer, self.shutdown).await;
    }

    /// Does the TLS handshake, if there is one to do.
    async fn secure(&mut self, socket: TcpStream, peer: SocketAddr) -> Option<Stream> {
        let Some(config) = self.tls.take() else {
            return Some(Stream::Plain(socket));
        };
        let handshake = TlsAcceptor::from(config).accept(socket);
        let reason = tokio::select! {
            done = tokio::time::timeout(self.listen.handshake_timeout, handshake) => match done {
                Ok(Ok(tls)) => return Some(Stream::Tls(Box::new(tls.into()))),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "timed out".to_owned(),
            },
            () = self.shutdown.last_call() => return None,
        };
        self.hooks.refused(Refusal::Handshake);
        tracing::debug!(endpoint = self.listen.endpoint, %peer, reason, "TLS handshake failed");
        None
    }
}

/// Socket options. Failing to set one costs speed or a late notice of a dead peer, not the connection.
fn tune(socket: &TcpStream, keepalive: Duration) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(keepalive).with_interval(KEEPALIVE_INTERVAL);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

/// Pairs `opened` with `closed`, on panics and aborts too.
struct Open(Arc<dyn Hooks>);

impl Open {
    fn new(hooks: Arc<dyn Hooks>) -> Self {
        hooks.opened();
        Self(hooks)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}
