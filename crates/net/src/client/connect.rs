//! Opens connections to one destination: name, TCP, TLS, within one timeout.
//!
//! Deliberately not here: proxies from the environment, happy eyeballs (addresses are tried in the resolver's
//! order).

use crate::config::ClientTls;
use crate::stream::Stream;
use crate::tls::{self, TlsError};
use http::uri::{Authority, Scheme};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Idle time after which TCP probes a silent server.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// A destination, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    authority: Authority,
    port: u16,
    path: String,
}

/// An endpoint that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {endpoint:?}: {reason}")]
pub struct TargetError {
    /// As configured.
    pub endpoint: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Target {
    /// Reads `host:port`, `http://host:port/path` or `https://...`. Without a scheme, TLS is used when there are
    /// TLS settings that do not say `insecure`. `default_port` fills in a missing port where the scheme has no
    /// well-known one to offer.
    ///
    /// # Errors
    /// [`TargetError`], with how to write it.
    pub fn parse(
        endpoint: &str,
        tls: Option<&ClientTls>,
        default_port: Option<u16>,
    ) -> Result<Self, TargetError> {
        let fail = |reason: String| TargetError { endpoint: endpoint.to_owned(), reason };
        let trimmed = endpoint.trim();
        let (https, rest) = match trimmed.split_once("://") {
            None => (tls.is_some_and(|tls| !tls.insecure), trimmed),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((other, _)) => {
                return Err(fail(format!("scheme {other:?} is not supported; use http:// or https://")));
            }
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(fail("credentials do not belong in an endpoint; set a header".to_owned()));
        }
        let authority: Authority = authority
            .parse()
            .map_err(|e| fail(format!("{e}; write host:port, http://host:port or https://host:port")))?;
        let well_known = if https { 443 } else { 80 };
        // `Authority::port` takes a port that is out of range for none at all.
        let written = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16().filter(|port| *port > 0) {
            Some(port) => port,
            None if written => return Err(fail("the port must be a number from 1 to 65535".to_owned())),
            None => default_port.unwrap_or(well_known),
        };
        let authority = if !written && port != well_known {
            format!("{authority}:{port}").parse().map_err(|e| fail(format!("{e}")))?
        } else {
            authority
        };
        let scheme = if https { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self { scheme, authority, port, path: path.trim_end_matches('/').to_owned() })
    }

    /// True with TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// `host:port`, for `:authority` and `host`.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path of the endpoint, without a slash at its end; often empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `scheme://host:port/path`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// The host, without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }
}

/// Why there is no connection. All but a wrong certificate pass with time, so all count as retryable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Name resolution or TCP.
    #[error("cannot connect to {target}: {source}")]
    Tcp {
        /// `host:port`.
        target: Authority,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake.
    #[error("TLS with {target}: {source}; is it a TLS port, and is its authority in ca_file?")]
    Tls {
        /// `host:port`.
        target: Authority,
        /// What rustls met.
        #[source]
        source: io::Error,
    },
    /// The server does not speak HTTP/2 over TLS.
    #[error("{target} does not offer HTTP/2 (ALPN h2), which gRPC needs")]
    NoHttp2 {
        /// `host:port`.
        target: Authority,
    },
    /// The HTTP/2 handshake.
    #[error("HTTP/2 with {target}: {source}")]
    Http2 {
        /// `host:port`.
        target: Authority,
        /// What h2 met.
        #[source]
        source: h2::Error,
    },
    /// It took too long.
    #[error("cannot connect to {target}: no answer within {} ms", timeout.as_millis())]
    Timeout {
        /// `host:port`.
        target: Authority,
        /// The limit.
        timeout: Duration,
    },
}

/// Opens connections to one [`Target`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    target: Arc<Target>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
}

impl Connector {
    /// Reads the TLS files, if the target needs them; opens nothing.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        target: Target,
        tls: Option<&ClientTls>,
        alpn: &[&[u8]],
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if target.is_tls() {
            let default = ClientTls::default();
            let tls = tls.unwrap_or(&default);
            let name = tls.server_name_override.as_deref().unwrap_or_else(|| target.host());
            let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Refused {
                what: "server name",
                source: rustls::Error::General(format!("{name:?} is neither a host name nor an IP address")),
            })?;
            Some((tls::client(tls, alpn)?, name))
        } else {
            None
        };
        Ok(Self { target: Arc::new(target), tls, timeout })
    }

    /// The destination.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        self.within(self.open()).await
    }

    /// Bounds a part of connecting by the connect timeout.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(ConnectError::Timeout { target: self.target.authority.clone(), timeout: self.timeout })
        })
    }

    pub(crate) async fn open(&self) -> Result<Stream, ConnectError> {
        let authority = || self.target.authority.clone();
        let socket = TcpStream::connect((self.target.host(), self.target.port))
            .await
            .map_err(|source| ConnectError::Tcp { target: authority(), source })?;
        // Failing to set these costs latency or a late notice of a dead server, not the connection.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE));
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::Plain(socket));
        };
        let tls = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), socket)
            .await
            .map_err(|source| ConnectError::Tls { target: authority(), source })?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let tls = ClientTls::default();
        let plain = ClientTls { insecure: true, ..ClientTls::default() };
        for (endpoint, tls, port, url) in [
            ("localhost:4317", None, None, "http://localhost:4317"),
            ("localhost:4317", Some(&tls), None, "https://localhost:4317"),
            ("localhost:4317", Some(&plain), None, "http://localhost:4317"),
            ("http://tempo", None, Some(4318), "http://tempo:4318"),
            ("https://tempo/otlp/", None, None, "https://tempo/otlp"),
            ("[::1]:4317", None, None, "http://[::1]:4317"),
        ] {
            assert_eq!(Target::parse(endpoint, tls, port).unwrap().url(), url);
        }
        assert_eq!(Target::parse("[::1]:4317", None, None).unwrap().host(), "::1");
        for (bad, part) in [
            ("tcp://x:1", "scheme \"tcp\""),
            ("http://user:pass@x", "credentials"),
            ("x:0", "port"),
            ("x:99999", "port"),
            ("", "write host:port"),
        ] {
            let text = Target::parse(bad, None, None).unwrap_err().to_string();
            assert!(text.contains(part), "{bad}: {text}");
        }
    }
}
