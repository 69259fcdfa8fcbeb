//! Sockets that outlive the one who bound them: during a reload a receiver takes over those of its predecessor.
//!
//! Every bound socket is entered here by its address, as a second descriptor that lives as long as somebody serves the socket. Within
//! [`sharing`], binding an address that is entered gives another descriptor of the same socket, so that the kernel's queue of
//! connections (or of datagrams) goes on, and nobody is refused while the two change places.
//!
//! Invariants:
//! - Outside of [`sharing`] an address that is taken stays an error.
//! - An entry goes when the last who serves the socket lets go of its `Lease`; nothing is closed later for being entered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

tokio::task_local! {
    static SHARING: ();
}

/// Runs `future`; what it binds may be a socket that this process has bound already.
///
/// It holds for what the future itself does, and not for tasks that it spawns.
pub async fn sharing<F: Future>(future: F) -> F::Output {
    SHARING.scope((), future).await
}

pub(crate) fn is_sharing() -> bool {
    SHARING.try_with(|()| ()).is_ok()
}

/// The sockets of one kind.
pub(crate) struct Registry<S> {
    entries: Mutex<Vec<(SocketAddr, Weak<S>)>>,
}

/// Keeps a socket in its registry. To be dropped with the socket that is served.
pub(crate) type Lease<S> = Arc<S>;

pub(crate) static TCP: Registry<std::net::TcpListener> = Registry::new();

impl<S> Registry<S> {
    pub(crate) const fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()) }
    }

    /// Enters a socket.
    pub(crate) fn enter(&self, address: SocketAddr, socket: S) -> Lease<S> {
        let lease = Arc::new(socket);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(_, socket)| socket.strong_count() > 0);
        entries.push((address, Arc::downgrade(&lease)));
        lease
    }

    /// The socket on this very address, if it may be shared here and now.
    pub(crate) fn shared(&self, address: SocketAddr) -> Option<Lease<S>> {
        if !is_sharing() {
            return None;
        }
        self.find(|known| known == address)
    }

    /// True when this process has a socket on the port of `address`.
    pub(crate) fn holds_port(&self, port: u16) -> bool {
        self.find(|known| known.port() == port).is_some()
    }

    fn find(&self, is_it: impl Fn(SocketAddr) -> bool) -> Option<Lease<S>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|(known, _)| is_it(*known)).find_map(|(_, socket)| socket.upgrade())
    }
}

/// A listener to serve, and the lease on it: bound, or shared.
pub(crate) fn listen(
    address: SocketAddr,
    bind: impl FnOnce(SocketAddr) -> io::Result<std::net::TcpListener>,
) -> io::Result<(tokio::net::TcpListener, Lease<std::net::TcpListener>)> {
    let lease = match TCP.shared(address) {
        Some(lease) => lease,
        None => {
            let bound = bind(address)?;
            TCP.enter(bound.local_addr()?, bound)
        }
    };
    Ok((tokio::net::TcpListener::from_std(lease.try_clone()?)?, lease))
}
