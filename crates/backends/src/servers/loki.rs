//! Grafana Loki 3: takes `/loki/api/v1/push` and OTLP (`/otlp/v1/logs`), answers LogQL (`/loki/api/v1/query_range`).
//!
//! Entries can be found as soon as they are taken.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::{Error, Result};
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;
use crate::server::Server;

pub(crate) const VERSION: &str = "v3.7.8";

pub(crate) const MODULE: &str = "github.com/grafana/loki/v3";

pub(crate) const BACKEND: Backend = Backend {
    name: "loki",
    version: VERSION,
    about: "Grafana Loki 3.7: pushes and OTLP in, LogQL out",
    needs: NEEDS_GO,
    ports: &[
        PortSpec { name: "http", fixed: 23_100 },
        PortSpec { name: "inner_grpc", fixed: 29_095 },
        PortSpec { name: "gossip", fixed: 29_094 },
    ],
    recipe: Recipe::GoModule(GoModule {
        module: MODULE,
        version: VERSION,
        package: "github.com/grafana/loki/v3/cmd/loki",
        patch: &[],
    }),
    launch: Some(launch),
};

const CONFIG: &str = "\
auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: @inner_grpc@}
memberlist: {bind_addr: [127.0.0.1], bind_port: @gossip@}
common:
  instance_addr: 127.0.0.1
  path_prefix: @data@
  storage: {filesystem: {chunks_directory: @data@/chunks, rules_directory: @data@/rules}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
ingester: {lifecycler: {min_ready_duration: 0s}}
schema_config:
  configs:
    - {from: 2020-10-24, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
analytics: {reporting_enabled: false}
";

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config = site.write_config("loki.yaml", site.options.config.as_deref().unwrap_or(CONFIG))?;
    let url = site.http("http")?;
    Ok(Launch {
        program: site.bin("loki"),
        args: vec![format!("-config.file={config}")],
        before: Vec::new(),
        ready: Ready::Http(format!("{url}/ready")),
        url,
    })
}

/// An entry that a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The line.
    pub line: String,
    /// The labels of its stream, its structured metadata, and what the query took out of the line.
    pub labels: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct Answer {
    data: Data,
}

#[derive(serde::Deserialize)]
struct Data {
    result: Vec<Stream>,
}

#[derive(serde::Deserialize)]
struct Stream {
    stream: BTreeMap<String, String>,
    values: Vec<(String, String)>,
}

/// The entries of the last hour that a LogQL query such as `{job="x"} | json | level="error"` finds, up to 5,000, in the order
/// of their times.
///
/// # Errors
/// [`Error::Http`] if Loki does not answer, or refuses the query: then with its explanation.
pub fn query(loki: &Server, logql: &str) -> Result<Vec<Entry>> {
    const HOUR: Duration = Duration::from_secs(3600);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: Duration| time.as_nanos().to_string();
    // Later than now: a sender's clock may be read a little after ours.
    let (start, end) = (nanos(now - HOUR), nanos(now + Duration::from_secs(60)));
    let query =
        [("query", logql), ("limit", "5000"), ("direction", "forward"), ("start", &start), ("end", &end)];
    let response = loki.get("/loki/api/v1/query_range", &query)?;
    let refused = |reason: String| Error::Http { url: format!("{} for {logql}", loki.url()), reason };
    if response.status != 200 {
        return Err(refused(format!("{}: {}", response.status, response.body.trim())));
    }
    let answer: Answer = serde_json::from_str(&response.body).map_err(|error| refused(error.to_string()))?;
    let mut entries = Vec::new();
    for Stream { stream, values } in answer.data.result {
        for (time, line) in values {
            let time = time.parse().map_err(|_| refused("a time is no number".to_owned()))?;
            entries.push(Entry { time, line, labels: stream.clone() });
        }
    }
    entries.sort_by_key(|entry| entry.time);
    Ok(entries)
}

/// As [`query`], again and again until at least `count` entries are found.
///
/// # Errors
/// As [`query`]; [`Error::Timeout`] says how many were found after `limit`.
pub fn await_entries(loki: &Server, logql: &str, count: usize, limit: Duration) -> Result<Vec<Entry>> {
    let deadline = Instant::now() + limit;
    loop {
        let found = query(loki, logql)?;
        if found.len() >= count {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let detail = format!(": {} of {count} entries", found.len());
            return Err(Error::Timeout { what: format!("finding {logql}"), limit, detail });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
