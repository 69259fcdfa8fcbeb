//! Grafana Loki 3: takes `/loki/api/v1/push` and OTLP (`/otlp/v1/logs`), answers LogQL (`/loki/api/v1/query_range`).

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::Result;
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;

const VERSION: &str = "v3.7.8";

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
        module: "github.com/grafana/loki/v3",
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
