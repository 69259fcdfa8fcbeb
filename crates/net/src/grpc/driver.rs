//! One HTTP/2 client connection: its handshake, the task that drives it, and its end.
//!
//! h2 is used directly: a call then costs no task and no channel of its own, it works on the stream from where
//! it is awaited.
//!
//! Invariant: the task ends when the connection does, or when the [`Live`] handle and the last call are gone.

use crate::client::{Chunks, Coalesce, ConnectError, Connector, Flusher, coalesce};
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Frames that a server may send us, bytes: answers are small.
const MAX_FRAME: u32 = 64 * 1024;
/// What a server may send ahead of us, bytes.
const WINDOW: u32 = 1 << 20;
/// Header of an answer, bytes.
const MAX_HEADER: u32 = 64 * 1024;

/// How to keep an eye on a silent server.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// A connection that calls can be sent on.
#[derive(Debug, Clone)]
pub(super) struct Live {
    sender: SendRequest<Chunks>,
    state: Arc<State>,
    _guard: Arc<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    closed: AtomicBool,
    calls: AtomicUsize,
}

/// Counts a call for as long as it is held.
#[derive(Debug)]
pub(super) struct CallGuard(Arc<State>);

impl Live {
    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    /// The same connection, not merely an equal one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Not to be used for further calls; those under way go on.
    pub(super) fn retire(&self) {
        self.state.closed.store(true, Ordering::Release);
    }

    /// A sender for one call.
    pub(super) fn begin(&self) -> (SendRequest<Chunks>, CallGuard) {
        self.state.calls.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), CallGuard(Arc::clone(&self.state)))
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects, shakes hands and starts the task that drives the connection.
pub(super) async fn connect(connector: &Connector, keepalive: KeepAlive) -> Result<Live, ConnectError> {
    connector.within(handshake(connector, keepalive)).await
}

async fn handshake(connector: &Connector, keepalive: KeepAlive) -> Result<Live, ConnectError> {
    let stream = connector.open().await?;
    let target = connector.target().authority().clone();
    if stream.is_tls() && stream.alpn() != Some(b"h2") {
        return Err(ConnectError::NoHttp2 { target });
    }
    let (stream, flusher) = coalesce(stream);
    let (sender, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_frame_size(MAX_FRAME)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .max_header_list_size(MAX_HEADER)
        .handshake(stream)
        .await
        .map_err(|source| ConnectError::Http2 { target, source })?;
    let state = Arc::new(State::default());
    let (guard, dropped) = oneshot::channel();
    let pings = connection.ping_pong();
    tokio::spawn(drive(connection, flusher, pings, keepalive, Arc::clone(&state), dropped));
    Ok(Live { sender, state, _guard: Arc::new(guard) })
}

async fn drive(
    connection: Connection<Coalesce, Chunks>,
    flusher: Flusher,
    pings: Option<PingPong>,
    keepalive: KeepAlive,
    state: Arc<State>,
    dropped: oneshot::Receiver<()>,
) {
    let mut connection = std::pin::pin!(connection);
    // h2's future, and after each of its turns the flush that it believes to have happened.
    let mut turn = std::pin::pin!(std::future::poll_fn(move |cx| {
        let done = connection.as_mut().poll(cx);
        if done.is_pending() {
            let _ = flusher.poll(cx);
        }
        done
    }));
    let mut watch = std::pin::pin!(watch(pings, keepalive, &state));
    let mut dropped = std::pin::pin!(dropped);
    let mut abandoned = false;
    loop {
        tokio::select! {
            biased;
            done = turn.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "HTTP/2 connection ended");
                }
                break;
            }
            // Dropping the last sender does not wake the connection up: this does.
            _ = dropped.as_mut(), if !abandoned => abandoned = true,
            () = watch.as_mut() => {
                tracing::debug!("HTTP/2 ping not answered, connection given up");
                break;
            }
        }
    }
    state.closed.store(true, Ordering::Release);
}

/// Pings while calls are under way; returns when one is not answered. An idle connection is left alone: many
/// servers take frequent pings without calls for an attack.
async fn watch(pings: Option<PingPong>, keepalive: KeepAlive, state: &State) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(keepalive.interval).await;
        if state.calls.load(Ordering::Relaxed) == 0 {
            continue;
        }
        match tokio::time::timeout(keepalive.timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection is ending by itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}
