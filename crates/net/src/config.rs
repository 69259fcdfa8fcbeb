//! Configuration structs that receivers and exporters share: TLS on either side and compression.
//!
//! They hold what the user wrote and nothing else; [`crate::tls`] turns them into rustls configurations and
//! reports what is wrong with the files.

use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// TLS of a listener. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Certificate chain of this server, leaf first.
    pub cert_file: PathBuf,
    /// Private key of the leaf certificate: PKCS#8, SEC1 or PKCS#1.
    pub key_file: PathBuf,
    /// Authorities that client certificates must descend from. Default: clients need no certificate.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// TLS towards a destination. All files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// Talk plain text, without TLS. Default: false.
    pub insecure: bool,
    /// Authorities to trust in place of the public ones. Default: Mozilla's list.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain to show to the server, with `key_file`. Default: none.
    pub cert_file: Option<PathBuf>,
    /// Private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Name that the server's certificate must carry, when it differs from the host in the endpoint.
    #[serde(alias = "server_name")]
    pub server_name_override: Option<String>,
    /// Accept any certificate. Anyone on the path can then read and change the telemetry. Default: false.
    pub insecure_skip_verify: bool,
}

/// Compression of what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The bytes as they are.
    #[default]
    #[serde(alias = "identity", alias = "")]
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Compression {
    /// The content coding that this compression puts on the wire.
    #[must_use]
    pub const fn encoding(self) -> crate::Encoding {
        match self {
            Self::None => crate::Encoding::Identity,
            Self::Gzip => crate::Encoding::Gzip,
            Self::Zstd => crate::Encoding::Zstd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_and_aliases_taken() {
        let tls: ClientTls = serde_json::from_str(r#"{"ca_file":"ca.pem","server_name":"x"}"#).unwrap();
        assert_eq!(tls.server_name_override.as_deref(), Some("x"));
        let bad = serde_json::from_str::<ClientTls>(r#"{"cafile":"ca.pem"}"#).unwrap_err().to_string();
        assert!(bad.contains("cafile") && bad.contains("ca_file"), "{bad}");
        assert!(serde_json::from_str::<ServerTls>(r#"{"cert_file":"c.pem"}"#).is_err());
        assert_eq!(serde_json::from_str::<Compression>("\"identity\"").unwrap(), Compression::None);
        assert_eq!(serde_json::from_str::<Compression>("\"zstd\"").unwrap(), Compression::Zstd);
    }
}
