//! What a file says beside components and pipelines: the program's own settings.
//!
//! Every field has a default, so every section may be left out.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{ByteSize, Time};

/// The HTTP server that says how the program is: `/health`, `/ready`, `/metrics` and the page `/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens, `host:port`. Default: `127.0.0.1:13133`. It has no password: keep it on loopback or in a private network.
    pub endpoint: String,
    /// `false` starts no admin server. Default: `true`.
    pub enabled: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self { endpoint: "127.0.0.1:13133".to_owned(), enabled: true }
    }
}

/// What the program may use up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of requests that may be in the program at once, over all receivers and queues. Over it senders are asked to wait.
    /// Default: `256MiB`. The process itself needs some 20 MiB on top.
    pub memory: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: ByteSize(256 << 20) }
    }
}

/// The program's own log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a list such as `info,receivers=debug`. Default: `info`. The environment variable
    /// `FLOODWAY_LOG` overrides it.
    pub level: String,
    /// How a line looks. Default: `text`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads. Default: one for each core that the process may use.
    pub workers: Option<std::num::NonZeroU16>,
}

/// The end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long a stop signal gives to deliver what is still inside; what is left then is dropped and counted. Default: `30s`.
    pub deadline: Time,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline: Time(std::time::Duration::from_secs(30)) }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `admin:`
    pub admin: Admin,
    /// `limits:`
    pub limits: Limits,
    /// `log:`
    pub log: Log,
    /// `runtime:`
    pub runtime: Runtime,
    /// `shutdown:`
    pub shutdown: Shutdown,
}
