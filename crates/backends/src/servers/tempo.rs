//! Grafana Tempo 2.1: takes OTLP, answers TraceQL.
//!
//! Ports: `http` (queries, `/ready`), `otlp_grpc`, `otlp_http`, and two inner ones. Spans can be found about two seconds
//! after they arrive, because the configuration cuts traces to the searchable log every half second.

use std::time::{Duration, Instant};

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::{Error, Result};
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;
use crate::server::Server;

/// Later versions need modules that the Go module proxy does not have.
const VERSION: &str = "v1.5.1-0.20230524121406-1dc1bfe7085b";

pub(crate) const BACKEND: Backend = Backend {
    name: "tempo",
    version: VERSION,
    about: "Grafana Tempo 2.1: OTLP in, TraceQL out",
    needs: NEEDS_GO,
    ports: &[
        PortSpec { name: "http", fixed: 23_200 },
        PortSpec { name: "otlp_grpc", fixed: 24_317 },
        PortSpec { name: "otlp_http", fixed: 24_318 },
        PortSpec { name: "inner_grpc", fixed: 29_096 },
        PortSpec { name: "gossip", fixed: 29_097 },
    ],
    recipe: Recipe::GoModule(GoModule {
        module: "github.com/grafana/tempo",
        version: VERSION,
        package: "github.com/grafana/tempo/cmd/tempo",
        patch: &[("pkg/gogocodec/order.go", CODEC_ORDER)],
    }),
    launch: Some(launch),
};

/// This Tempo replaces gRPC's codec in an `init` function and relies on running after gRPC's own. Go 1.21 changed that
/// order to alphabetical among packages that do not import each other; an import restores it.
const CODEC_ORDER: &str = "package gogocodec\n\nimport _ \"google.golang.org/grpc/encoding/proto\"\n";

const CONFIG: &str = "\
server: {http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: @inner_grpc@}
memberlist: {bind_addr: [127.0.0.1], bind_port: @gossip@}
distributor:
  receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:@otlp_grpc@'}, http: {endpoint: '127.0.0.1:@otlp_http@'}}}}
ingester:
  max_block_duration: 5m
  trace_idle_period: 500ms
  flush_check_period: 500ms
  lifecycler: {address: 127.0.0.1, min_ready_duration: 0s, ring: {kvstore: {store: inmemory}, replication_factor: 1}}
storage: {trace: {backend: local, wal: {path: @data@/wal}, local: {path: @data@/blocks}}}
usage_report: {reporting_enabled: false}
";

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config = site.write_config("tempo.yaml", site.options.config.as_deref().unwrap_or(CONFIG))?;
    let url = site.http("http")?;
    Ok(Launch {
        program: site.bin("tempo"),
        args: vec![format!("-config.file={config}")],
        before: Vec::new(),
        ready: Ready::Http(format!("{url}/ready")),
        url,
    })
}

/// A trace that a search found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Its id in hexadecimal, without leading zeros.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// `service.name` of its root span; empty if Tempo has not seen that.
    #[serde(default)]
    pub root_service_name: String,
    /// The name of its root span; empty if Tempo has not seen that.
    #[serde(default)]
    pub root_trace_name: String,
}

#[derive(serde::Deserialize)]
struct SearchAnswer {
    #[serde(default)]
    traces: Vec<Found>,
}

/// The traces that match a TraceQL query such as `{ resource.service.name = "x" && .key =~ "y.*" }`, up to 1,000.
///
/// # Errors
/// [`Error::Http`] if Tempo does not answer, or refuses the query: then with its explanation.
pub fn search(tempo: &Server, traceql: &str) -> Result<Vec<Found>> {
    let response = tempo.get("/api/search", &[("q", traceql), ("limit", "1000")])?;
    let refused =
        |reason: String| Error::Http { url: format!("{}/api/search of {traceql}", tempo.url()), reason };
    if response.status != 200 {
        return Err(refused(format!("{}: {}", response.status, response.body.trim())));
    }
    let answer: SearchAnswer =
        serde_json::from_str(&response.body).map_err(|error| refused(error.to_string()))?;
    Ok(answer.traces)
}

/// As [`search`], again and again until at least `count` traces match.
///
/// # Errors
/// As [`search`]; [`Error::Timeout`] says how many matched after `limit`.
pub fn await_traces(tempo: &Server, traceql: &str, count: usize, limit: Duration) -> Result<Vec<Found>> {
    let deadline = Instant::now() + limit;
    loop {
        let found = search(tempo, traceql)?;
        if found.len() >= count {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let detail = format!(": {} of {count} traces", found.len());
            return Err(Error::Timeout { what: format!("finding {traceql}"), limit, detail });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// One trace as Tempo's JSON (OTLP with `batches` in place of `resourceSpans`), for looking at every string in it.
///
/// # Errors
/// [`Error::Http`] if Tempo does not answer or does not know it.
pub fn trace(tempo: &Server, trace_id: &str) -> Result<String> {
    let path = format!("/api/traces/{trace_id}");
    let response = tempo.get(&path, &[])?;
    if response.status == 200 {
        return Ok(response.body);
    }
    Err(Error::Http {
        url: format!("{}{path}", tempo.url()),
        reason: format!("{}: {}", response.status, response.body),
    })
}
