//! Elasticsearch and OpenSearch: log records as documents, by bulk requests.
//!
//! | answer | what happens |
//! |---|---|
//! | 200, item 2xx; item 409 of a document whose id is of its content | delivered |
//! | 200, item 429, 5xx or `cluster_block_exception` | these records alone are sent again |
//! | 200, other items | these records alone are dropped, by reason |
//! | 200 that breaks off or is no answer | what it does not speak of is sent again |
//! | 429, 408, 502, 503, 504; no answer | sent again, after `Retry-After` where there is one; the last four first to the next endpoint |
//! | 413 | the halves of the body are sent, down to one document |
//! | 400, 422, 500 | the engine sends the halves, so that what is bad costs itself alone |
//! | anything else | given up: credentials, a wrong path |
//!
//! Bodies, ids and answers are `codec::elasticsearch`'s; `bodies.rs` sends, `endpoints.rs` chooses to whom.
//! It deliberately makes no index templates and no policies, and does not ask the server for its version.

mod bodies;
mod endpoints;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use codec::elasticsearch::{BulkOptions, DataStream, IndexPattern, Mapping, Target};
use engine::{
    BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings, Exporter,
    ExporterConfig, QueueSettings, RetrySettings,
};
use http::{HeaderMap, HeaderValue, header};
use model::Signal;
use net::config::{ClientTls, Compression};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http_shared::{header_map, secret};

/// Sends log records to Elasticsearch or OpenSearch, as documents of a daily index or of a data stream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ElasticsearchConfig {
    /// Where to, such as `https://es-1:9200`; a path is kept. With several, requests go round, and pass over those that do not
    /// answer. At most 64.
    endpoints: Vec<String>,
    /// The index, as Logstash and Beats write it: `%{+yyyy.MM.dd}` is the record's date (UTC, Joda-Time's letters),
    /// `%{[service.name]}` an attribute of the record or of its resource, `%{[name]:other}` one with a default. What may not
    /// stand in a name is replaced by `_`. An attribute with many values makes many indices: choose one with few.
    /// Default: `floodway-logs-%{+yyyy.MM.dd}`.
    #[serde(default)]
    index: Option<String>,
    /// A data stream in place of `index`. An index template on the server must make it one. Default: none.
    #[serde(default)]
    data_stream: Option<DataStreamConfig>,
    /// The form of documents: `flat` (`@timestamp`, `level`, `service`, `message`, `event_type`, and each attribute a key of the
    /// top level) or `ecs` (the Elastic Common Schema, nested). Default: flat.
    #[serde(default)]
    mapping: MappingConfig,
    /// `content`: a document's id is a hash of its record, so that nothing is indexed twice when an answer got lost. `none`: the
    /// server makes ids, which costs it a little less, and a retry may make duplicates. Default: content.
    #[serde(default)]
    document_id: DocumentId,
    /// The ingest pipeline on the server that documents go through. Default: that of the index.
    #[serde(default)]
    pipeline: Option<String>,
    /// Who we are. Default: nobody in particular.
    #[serde(default)]
    auth: Option<Auth>,
    /// Further headers of every request. Default: none.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// TLS settings for `https`. Default: the public authorities.
    #[serde(default)]
    tls: Option<ClientTls>,
    /// `none` or `gzip`. Default: none, which costs the least CPU. gzip makes bodies of log lines about four times smaller, for
    /// less than half of the CPU that it takes to encode them: use it where the network is slow or paid for.
    #[serde(default)]
    compression: Compression,
    /// A body that has grown to this is sent; a single document may be larger. Bytes before compression, default 5242880
    /// (5 MiB). Stay below `http.max_content_length` of the server, and below the limit of a proxy before it.
    #[serde(default = "five_mib")]
    #[schemars(range(min = 1))]
    max_body_bytes: usize,
    /// The queue in front of this exporter.
    #[serde(default)]
    queue: QueueSettings,
    /// What happens when sending fails.
    #[serde(default)]
    retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    #[serde(default)]
    buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    #[serde(default)]
    dead_letters: Option<DeadLetterSettings>,
}

fn five_mib() -> usize {
    5 << 20
}

/// The parts of a data stream's name: `type-dataset-namespace`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DataStreamConfig {
    /// What it holds. Default: logs.
    #[serde(rename = "type")]
    kind: String,
    /// Where it comes from; may have fields, as `index` may. Default: floodway.
    dataset: String,
    /// Whose it is; may have fields, as `index` may. Default: default.
    namespace: String,
}

impl Default for DataStreamConfig {
    fn default() -> Self {
        let [kind, dataset, namespace] = ["logs", "floodway", "default"].map(str::to_owned);
        Self { kind, dataset, namespace }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum MappingConfig {
    #[default]
    Flat,
    Ecs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum DocumentId {
    #[default]
    Content,
    None,
}

/// One of: user and password, API key, bearer token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Auth {
    /// Name for basic authentication.
    user: Option<String>,
    /// Password of `user`.
    password: Option<Secret>,
    /// API key, as `id:key` or in the base64 form that the server hands out.
    api_key: Option<Secret>,
    /// Bearer token, such as that of a service account.
    bearer_token: Option<Secret>,
}

/// A text that must not be shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Secret(String);

impl AsRef<str> for Secret {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl ExporterConfig for ElasticsearchConfig {
    const NAME: &'static str = "elasticsearch";
    const SUMMARY: &'static str = "Elasticsearch and OpenSearch: log records as documents, by bulk requests";
    const SIGNALS: &'static [Signal] = &[Signal::Logs];

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn delivery(&self) -> DeliverySettings {
        DeliverySettings {
            queue: self.queue.clone(),
            retry: self.retry.clone(),
            buffer: self.buffer.clone(),
            dead_letters: self.dead_letters.clone(),
            ordered: false,
        }
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        if self.compression == Compression::Zstd {
            return Err(BuildError::new("compression: Elasticsearch does not read zstd; give none or gzip"));
        }
        if self.max_body_bytes == 0 {
            return Err(BuildError::new("max_body_bytes is 0; 5242880 is the default"));
        }
        let endpoints = endpoints::Endpoints::new(&self)?;
        let headers = self.header_map()?;
        Ok(Box::new(bodies::ElasticsearchExporter::new(&self, self.bulk_options()?, endpoints, headers)))
    }
}

impl ElasticsearchConfig {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.retry.timeout_ms)
    }

    fn bulk_options(&self) -> Result<BulkOptions, BuildError> {
        let target = match (&self.index, &self.data_stream) {
            (Some(_), Some(_)) => {
                return Err(BuildError::new("both `index` and `data_stream` are set; remove one"));
            }
            (index, None) => {
                let pattern = index.as_deref().unwrap_or("floodway-logs-%{+yyyy.MM.dd}");
                IndexPattern::parse(pattern)
                    .map(Target::Index)
                    .map_err(|e| BuildError::new(format!("index {e}")))?
            }
            (None, Some(stream)) => DataStream::parse(&stream.kind, &stream.dataset, &stream.namespace)
                .map(Target::DataStream)
                .map_err(|e| BuildError::new(format!("data_stream {e}")))?,
        };
        let mapping = match self.mapping {
            MappingConfig::Flat => Mapping::Flat,
            MappingConfig::Ecs => Mapping::Ecs,
        };
        Ok(BulkOptions { target, mapping, content_ids: self.document_id == DocumentId::Content })
    }

    fn header_map(&self) -> Result<HeaderMap, BuildError> {
        let mut headers = header_map(&self.headers, |name| name == "accept")?;
        if let Some(auth) = &self.auth {
            if headers.contains_key(header::AUTHORIZATION) {
                return Err(BuildError::new("both `auth` and a header Authorization are set; remove one"));
            }
            headers.insert(header::AUTHORIZATION, secret(&auth.header()?, "auth")?);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if self.compression == Compression::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(headers)
    }
}

impl Auth {
    fn header(&self) -> Result<String, BuildError> {
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        match (&self.user, &self.password, &self.api_key, &self.bearer_token) {
            (Some(user), Some(Secret(password)), None, None) if !user.contains(':') => {
                Ok(format!("Basic {}", base64(&format!("{user}:{password}"))))
            }
            (None, None, Some(Secret(key)), None) if key.contains(':') => {
                Ok(format!("ApiKey {}", base64(key)))
            }
            (None, None, Some(Secret(key)), None) => Ok(format!("ApiKey {key}")),
            (None, None, None, Some(Secret(token))) => Ok(format!("Bearer {token}")),
            _ => Err(BuildError::new(
                "auth: give `user` (without a colon) and `password`, or `api_key`, or `bearer_token`",
            )),
        }
    }
}
