//! From PEM files to rustls configurations, with errors that name the file and what is wrong with it.
//!
//! rustls with ring; TLS 1.2 and 1.3. Files are read once: a rotated certificate needs a reload.

use crate::config::{ClientTls, ServerTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Protocols offered by ALPN: HTTP/2 first.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// HTTP/2 alone, for gRPC.
pub const ALPN_H2: &[&[u8]] = &[b"h2"];

/// Why TLS settings could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read or is no PEM.
    #[error("{what} {path}: {source}; check the path, that it is PEM and that this user may read it")]
    File {
        /// The setting: `cert_file`, `key_file`, `ca_file` or `client_ca_file`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader met.
        #[source]
        source: pem::Error,
    },
    /// A PEM file without a certificate.
    #[error("{what} {path}: no certificate in it; expected -----BEGIN CERTIFICATE----- (is it the key?)")]
    NoCertificate {
        /// The setting.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// One of certificate and key is missing.
    #[error("cert_file and key_file go together: set both or neither")]
    HalfPair,
    /// rustls refused the material.
    #[error("{what}: {source}")]
    Refused {
        /// Which step failed.
        what: &'static str,
        /// The reason.
        #[source]
        source: rustls::Error,
    },
    /// The client authorities cannot be used.
    #[error("client_ca_file {path}: {reason}")]
    ClientAuthorities {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// Builds the server side.
///
/// # Errors
/// [`TlsError`], naming the file at fault.
pub fn server(tls: &ServerTls, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    let certs = certificates("cert_file", &tls.cert_file)?;
    let key = private_key(&tls.key_file)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Refused { what: "TLS versions", source })?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = roots("client_ca_file", path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| TlsError::ClientAuthorities { path: path.clone(), reason: e.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certs, key).map_err(|source| TlsError::Refused {
        what: "cert_file with key_file (do they belong together?)",
        source,
    })?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Builds the client side. `insecure` is not looked at here: the caller decides whether TLS is used at all.
///
/// # Errors
/// [`TlsError`], naming the file at fault.
pub fn client(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Refused { what: "TLS versions", source })?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
    } else {
        let roots = match &tls.ca_file {
            Some(path) => roots("ca_file", path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        builder.with_root_certificates(roots)
    };
    let mut config = match (&tls.cert_file, &tls.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("cert_file", cert)?, private_key(key)?)
            .map_err(|source| TlsError::Refused {
                what: "cert_file with key_file (do they belong together?)",
                source,
            })?,
        _ => return Err(TlsError::HalfPair),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { what, path: path.to_owned(), source };
    let certs: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<_, _>>().map_err(file)?;
    if certs.is_empty() {
        return Err(TlsError::NoCertificate { what, path: path.to_owned() });
    }
    Ok(certs)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File {
        what: "key_file",
        path: path.to_owned(),
        source,
    })
}

fn roots(what: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for cert in certificates(what, path)? {
        store.add(cert).map_err(|source| TlsError::Refused { what, source })?;
    }
    Ok(store)
}

/// `insecure_skip_verify`: any certificate passes, but the handshake must still prove that the server holds its key.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let tls = ServerTls {
            cert_file: "/nonexistent/cert.pem".into(),
            key_file: "k".into(),
            client_ca_file: None,
        };
        let text = server(&tls, ALPN_HTTP).unwrap_err().to_string();
        assert!(text.contains("cert_file /nonexistent/cert.pem"), "{text}");
        let half = ClientTls { cert_file: Some("c.pem".into()), ..ClientTls::default() };
        assert!(matches!(client(&half, ALPN_H2), Err(TlsError::HalfPair)));
    }

    #[test]
    fn a_pem_without_certificate_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tls = ClientTls { ca_file: Some(file.path().to_owned()), ..ClientTls::default() };
        assert!(matches!(client(&tls, ALPN_H2), Err(TlsError::NoCertificate { what: "ca_file", .. })));
    }
}
