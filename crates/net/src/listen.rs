//! Binding sockets, apart from serving them.
//!
//! Everything that can go wrong with an address or a certificate goes wrong in [`Listen::bind`], before the
//! program says that it is ready. Serving ([`crate::server`]) then has nothing left to fail on.

use crate::config::ServerTls;
use crate::share::{self, Lease};
use crate::tls::{self, TlsError};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel may hold ready for us.
const BACKLOG: u32 = 1024;

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `host:port`; port 0 lets the system choose.
    pub endpoint: String,
    /// TLS, or plain text.
    pub tls: Option<ServerTls>,
    /// ALPN protocols offered with TLS. Default: HTTP/2, then HTTP/1.1.
    pub alpn: &'static [&'static [u8]],
    /// Connections at one time; those over it are closed at once and counted. Default: 1024.
    pub max_connections: usize,
    /// Longest TLS handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Idle time after which TCP asks a silent peer whether it is there. Default: 60 s.
    pub tcp_keepalive: Duration,
}

impl Listen {
    /// Plain text on `endpoint`, with the defaults.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
            alpn: tls::ALPN_HTTP,
            max_connections: 1024,
            handshake_timeout: Duration::from_secs(10),
            tcp_keepalive: Duration::from_secs(60),
        }
    }

    /// With TLS, if given.
    #[must_use]
    pub fn tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// With another limit on connections.
    #[must_use]
    pub const fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Binds and starts to listen; connections wait in the kernel until the result is served.
    ///
    /// # Errors
    /// [`BindError`]: a bad address, one that cannot be bound, or unusable TLS files.
    pub async fn bind(&self) -> Result<Bound, BindError> {
        let tls = match &self.tls {
            Some(config) => Some(
                tls::server(config, self.alpn)
                    .map_err(|source| BindError::Tls { endpoint: self.endpoint.clone(), source })?,
            ),
            None => None,
        };
        let (listener, lease) = self.bind_any().await?;
        let local_addr = listener.local_addr().map_err(|e| self.explain(e))?;
        Ok(Bound { listener, lease, local_addr, tls, listen: self.clone() })
    }

    /// Checks the form of the endpoint without looking up names or binding.
    ///
    /// # Errors
    /// [`BindError::Address`].
    pub fn check(&self) -> Result<(), BindError> {
        check(&self.endpoint)
    }

    /// Binds the first address of the endpoint that can be bound.
    async fn bind_any(&self) -> Result<(TcpListener, Lease<std::net::TcpListener>), BindError> {
        let held = |port| share::TCP.holds_port(port);
        bind_first(&self.endpoint, |address| share::listen(address, listen_on), held).await
    }

    fn explain(&self, source: io::Error) -> BindError {
        explain(&self.endpoint, source)
    }
}

/// Checks the form of an endpoint without looking up names or binding.
///
/// # Errors
/// [`BindError::Address`].
pub fn check(endpoint: &str) -> Result<(), BindError> {
    let bad = |reason: String| Err(BindError::Address { endpoint: endpoint.to_owned(), reason });
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        return bad("no port in it; write host:port, such as 127.0.0.1:4317".to_owned());
    };
    if port.parse::<u16>().is_err() {
        return bad(format!("{port:?} is no port number between 0 and 65535"));
    }
    if host.is_empty() {
        return bad(format!(
            "no host in it; write 127.0.0.1:{port} for this host only or 0.0.0.0:{port} for every interface"
        ));
    }
    Ok(())
}

/// What `bind` makes of the first address of `endpoint` with which it succeeds. `held` tells whether this process has the port.
pub(crate) async fn bind_first<T>(
    endpoint: &str,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
    held: impl Fn(u16) -> bool,
) -> Result<T, BindError> {
    check(endpoint)?;
    let bad = |reason: String| BindError::Address { endpoint: endpoint.to_owned(), reason };
    let addresses = tokio::net::lookup_host(endpoint)
        .await
        .map_err(|e| bad(format!("the host name could not be resolved: {e}")))?;
    let mut last = None;
    for address in addresses {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && share::is_sharing() && held(address.port()) => {
                let endpoint = endpoint.to_owned();
                return Err(BindError::Bind { endpoint, advice: OURS, source: e });
            }
            Err(e) => last = Some(e),
        }
    }
    Err(last.map_or_else(|| bad("the host name has no address".to_owned()), |e| explain(endpoint, e)))
}

pub(crate) fn explain(endpoint: &str, source: io::Error) -> BindError {
    BindError::Bind { endpoint: endpoint.to_owned(), advice: advice(&source), source }
}

fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restart within a minute fails on connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// For an address that overlaps with one that this process listens on, as `0.0.0.0:4317` does with `127.0.0.1:4317`.
const OURS: &str = "this program itself holds the port, on another address; a receiver cannot change between all addresses and \
                    one of them in a reload: restart, or reload once without it";

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "is another collector running? `ss -lntup` shows who holds the port; or choose another one"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this host has that address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one",
        _ => "the system refused it",
    }
}

/// Why a listener could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The endpoint is no address.
    #[error("endpoint {endpoint:?}: {reason}")]
    Address {
        /// As configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused to bind it.
    #[error("{endpoint}: {source}; {advice}")]
    Bind {
        /// As configured.
        endpoint: String,
        /// What to do about it.
        advice: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The TLS files cannot be used.
    #[error("{endpoint}: {source}")]
    Tls {
        /// As configured.
        endpoint: String,
        /// What is wrong with them.
        #[source]
        source: TlsError,
    },
}

/// A socket that listens and is not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) lease: Lease<std::net::TcpListener>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) listen: Listen,
}

impl Bound {
    /// The address in use, with the port that the system chose.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The endpoint as configured.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.listen.endpoint
    }

    /// True when clients must speak TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_teach() {
        let bound = Listen::new("127.0.0.1:0").bind().await.unwrap();
        let taken = bound.local_addr().to_string();
        let text = Listen::new(&taken).bind().await.unwrap_err().to_string();
        assert!(text.starts_with(&taken) && text.contains("another collector"), "{text}");

        for (endpoint, part) in [
            ("127.0.0.1", "no port"),
            (":4317", "127.0.0.1:4317"),
            ("127.0.0.1:70000", "no port number"),
            ("192.0.2.1:4317", "no interface"),
            ("nosuchhost.invalid:4317", "could not be resolved"),
        ] {
            let text = Listen::new(endpoint).bind().await.unwrap_err().to_string();
            assert!(text.contains(part), "{endpoint}: {text}");
        }
    }
}
