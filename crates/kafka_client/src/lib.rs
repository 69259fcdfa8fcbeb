//! What the Kafka receiver and exporter share: how brokers are reached, and what the user may set in librdkafka.
//!
//! Settings become properties of librdkafka in the order: our defaults, the user's `librdkafka` map, and last what a component
//! must not have changed since its promise to lose nothing rests on it. A property of the last kind in the map is refused by name.
//!
//! TLS and SCRAM are there where the program was built with the feature `kafka-tls` (docs/adr/0007-kafka-client.md); without it
//! settings that ask for them are refused with the command that builds it.
//!
//! Invariant: no error and no log line holds a password.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use schemars::JsonSchema;
use serde::Deserialize;

/// TLS towards the brokers. All files are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTls {
    /// Authorities to trust. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain to show to the brokers, with `key_file`. Default: none.
    pub cert_file: Option<PathBuf>,
    /// Private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Accept any certificate. Anyone on the path can then read and change the telemetry. Default: false.
    pub insecure_skip_verify: bool,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// An export request in protobuf.
    #[default]
    OtlpProto,
    /// An export request in OTLP/JSON.
    OtlpJson,
    /// A log record as a plain JSON object.
    Json,
}

/// Who we are to the brokers.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Default: SCRAM-SHA-512.
    #[serde(default)]
    pub mechanism: Mechanism,
    /// The user's name.
    pub username: String,
    /// The password; `${NAME}` takes it from the environment.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password as it is: only with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge and response with SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How to reach the brokers.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// `host:port` of some of them.
    pub brokers: &'a [String],
    /// What the brokers call us in their logs and quotas.
    pub client_id: &'a str,
    /// TLS, if wanted.
    pub tls: Option<&'a KafkaTls>,
    /// Credentials, if wanted.
    pub sasl: Option<&'a Sasl>,
    /// Properties of librdkafka that the user sets.
    pub librdkafka: &'a BTreeMap<String, String>,
}

/// Why there can be no client with these settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KafkaSettingsError(String);

/// Properties that have a setting of their own, or none on purpose.
const OWN: [(&str, &str); 14] = [
    ("bootstrap.servers", "set `brokers`"),
    ("metadata.broker.list", "set `brokers`"),
    ("client.id", "set `client_id`"),
    ("group.id", "set `group`"),
    ("group.protocol", "only the classic protocol is supported"),
    ("security.protocol", "it follows from `tls` and `sasl`"),
    ("sasl.mechanism", "set `sasl.mechanism`"),
    ("sasl.mechanisms", "set `sasl.mechanism`"),
    ("sasl.username", "set `sasl.username`"),
    ("sasl.password", "set `sasl.password`"),
    ("transactional.id", "transactions are not used"),
    ("plugin.library.paths", "plugins are not loaded"),
    ("test.mock.num.brokers", "it would replace the brokers by a mock"),
    ("delivery.timeout.ms", "it follows from `retry.timeout_ms`"),
];

impl Cluster<'_> {
    /// The configuration of a client: `defaults`, which the user may change; the user's; then `fixed`.
    ///
    /// # Errors
    /// What cannot work, and what to change.
    pub fn client_config(
        &self,
        defaults: &[(&str, String)],
        fixed: &[(&str, String)],
    ) -> Result<ClientConfig, KafkaSettingsError> {
        self.check_brokers()?;
        let mut config = ClientConfig::new();
        // Lines about connections that come and go are for those who look for them.
        config.set_log_level(RDKafkaLogLevel::Notice);
        for (key, value) in defaults {
            config.set(*key, value);
        }
        for (key, value) in self.librdkafka {
            let own = OWN.iter().find(|(own, _)| own == key).map(|(_, advice)| *advice);
            let fixed = fixed.iter().any(|(own, _)| own == key).then_some("delivery depends on it");
            if let Some(why) = own.or(fixed) {
                return Err(KafkaSettingsError(format!("librdkafka: {key} cannot be set here: {why}")));
            }
            config.set(key, value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", self.client_id);
        self.secure(&mut config)?;
        for (key, value) in fixed {
            config.set(*key, value);
        }
        config.create_native_config().map_err(|error| explain(&error))?;
        Ok(config)
    }

    fn check_brokers(&self) -> Result<(), KafkaSettingsError> {
        if self.brokers.is_empty() {
            return Err(KafkaSettingsError("brokers is empty; give for example [\"kafka:9092\"]".to_owned()));
        }
        let sound = |broker: &&String| {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
                && !broker.contains([',', '/', ' '])
        };
        match self.brokers.iter().find(|broker| !sound(broker)) {
            None => Ok(()),
            Some(bad) => Err(KafkaSettingsError(format!(
                "brokers: {bad:?} is not host:port; give for example \"kafka:9092\""
            ))),
        }
    }

    fn secure(&self, config: &mut ClientConfig) -> Result<(), KafkaSettingsError> {
        let scram = self.sasl.is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        if (self.tls.is_some() || scram) && !has_tls() {
            let what = if self.tls.is_some() { "tls" } else { "sasl.mechanism SCRAM" };
            return Err(KafkaSettingsError(format!(
                "{what}: this program was built without TLS for Kafka; build it with \
                 `cargo build --release --features kafka-tls`, which needs perl and make"
            )));
        }
        let protocol = match (self.tls, self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(sasl) = self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.name());
            config.set("sasl.username", &sasl.username);
            config.set("sasl.password", &sasl.password);
        }
        let Some(tls) = self.tls else { return Ok(()) };
        let files = [
            ("ca_file", "ssl.ca.location", &tls.ca_file),
            ("cert_file", "ssl.certificate.location", &tls.cert_file),
            ("key_file", "ssl.key.location", &tls.key_file),
        ];
        for (name, key, file) in files {
            let Some(file) = file else { continue };
            std::fs::metadata(file).map_err(|error| {
                KafkaSettingsError(format!("tls.{name}: cannot read {}: {error}", file.display()))
            })?;
            config.set(key, file.to_string_lossy());
        }
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            return Err(KafkaSettingsError(
                "tls: cert_file and key_file belong together; give both or none".to_owned(),
            ));
        }
        config.set("enable.ssl.certificate.verification", (!tls.insecure_skip_verify).to_string());
        Ok(())
    }
}

/// Whether librdkafka was built with OpenSSL.
fn has_tls() -> bool {
    let native = ClientConfig::new().create_native_config();
    let features = native.and_then(|native| native.get("builtin.features")).unwrap_or_default();
    features.split(',').any(|feature| feature == "ssl")
}

/// An error of librdkafka about settings, without the value, which may be a secret.
#[must_use]
pub fn explain(error: &KafkaError) -> KafkaSettingsError {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => {
            // librdkafka's description may quote the value.
            let what = if description.contains("No such configuration property") {
                "librdkafka has no such property"
            } else {
                "librdkafka does not take this value"
            };
            KafkaSettingsError(format!(
                "librdkafka: {key}: {what}; its CONFIGURATION.md lists properties and their ranges"
            ))
        }
        other => KafkaSettingsError(format!("librdkafka cannot be set up: {other}")),
    }
}

/// A line of librdkafka's own log, as one of ours. Its lines name brokers, topics and groups and hold no messages.
pub fn log(component: &str, level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(component, facility, "librdkafka: {line}"),
        _ => tracing::debug!(component, facility, "librdkafka: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers() -> Vec<String> {
        vec!["127.0.0.1:9092".to_owned()]
    }

    fn with(map: &[(&str, &str)]) -> Result<ClientConfig, String> {
        let librdkafka = map.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let brokers = brokers();
        let cluster =
            Cluster { brokers: &brokers, client_id: "x", tls: None, sasl: None, librdkafka: &librdkafka };
        let fixed = [("acks", "all".to_owned())];
        cluster.client_config(&[("linger.ms", "5".to_owned())], &fixed).map_err(|e| e.to_string())
    }

    #[test]
    fn the_users_properties_come_after_our_defaults_and_before_what_is_fixed() {
        let config = with(&[("linger.ms", "7"), ("socket.keepalive.enable", "true")]).unwrap();
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("bootstrap.servers"), Some("127.0.0.1:9092"));
        for (key, advice) in [("acks", "delivery depends"), ("group.id", "`group`")] {
            let error = with(&[(key, "1")]).unwrap_err();
            assert!(error.contains(key) && error.contains(advice), "{error}");
        }
    }

    #[test]
    fn a_property_that_is_wrong_is_named_and_its_value_is_not() {
        let error = with(&[("linger.millis", "secret")]).unwrap_err();
        assert!(error.contains("linger.millis") && error.contains("no such property"), "{error}");
        let error = with(&[("socket.timeout.ms", "secret")]).unwrap_err();
        assert!(error.contains("socket.timeout.ms") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn brokers_must_be_host_and_port() {
        for bad in ["kafka", "kafka:", ":9092", "kafka:0", "http://kafka:9092", "a:1,b:2"] {
            let (brokers, none) = ([bad.to_owned()], BTreeMap::new());
            let cluster =
                Cluster { brokers: &brokers, client_id: "x", tls: None, sasl: None, librdkafka: &none };
            let error = cluster.client_config(&[], &[]).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn tls_works_or_says_how_to_get_it() {
        let (brokers, none) = (brokers(), BTreeMap::new());
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "u".to_owned(),
            password: "secret".to_owned(),
        };
        assert!(!format!("{sasl:?}").contains("secret"));
        let tls = KafkaTls::default();
        let cluster = Cluster {
            brokers: &brokers,
            client_id: "x",
            tls: Some(&tls),
            sasl: Some(&sasl),
            librdkafka: &none,
        };
        match cluster.client_config(&[], &[]) {
            Ok(config) => assert_eq!(config.get("security.protocol"), Some("sasl_ssl")),
            Err(error) => {
                assert!(!has_tls() && error.to_string().contains("--features kafka-tls"), "{error}");
            }
        }
        let plain = Sasl { mechanism: Mechanism::Plain, ..sasl.clone() };
        let config = Cluster { tls: None, sasl: Some(&plain), ..cluster }.client_config(&[], &[]).unwrap();
        assert_eq!(config.get("security.protocol"), Some("sasl_plaintext"));
    }
}
