//! Promtail, the agent that Loki's own project wrote for it: tails files and pushes them.
//!
//! Loki's module has all its packages but, since 3.7, no main; `promtail.go` puts one back, which reads a configuration and runs.
//! It is built of the very version of the module that Loki is.
//!
//! The test gives the configuration: `@http@` stands for the port of Promtail's own server, `@data@` for a directory.

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::Result;
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;
use crate::servers::loki::{MODULE, VERSION};

pub(crate) const BACKEND: Backend = Backend {
    name: "promtail",
    version: VERSION,
    about: "Promtail 3.7: tails files, pushes to Loki",
    needs: NEEDS_GO,
    ports: &[PortSpec { name: "http", fixed: 23_101 }],
    recipe: Recipe::GoModule(GoModule {
        module: MODULE,
        version: VERSION,
        package: "github.com/grafana/loki/v3/clients/cmd/promtail",
        patch: &[("clients/cmd/promtail/main.go", include_str!("promtail.go"))],
    }),
    launch: Some(launch),
};

/// For one started by hand: nothing to tail, nobody to push to but a Loki on its fixed port.
const DEFAULT_CONFIG: &str = "\
server: {http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: 0}
positions: {filename: '@data@.positions.yaml'}
clients: [{url: 'http://127.0.0.1:23100/loki/api/v1/push'}]
";

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config =
        site.write_config("promtail.yaml", site.options.config.as_deref().unwrap_or(DEFAULT_CONFIG))?;
    let url = site.http("http")?;
    Ok(Launch {
        program: site.bin("promtail"),
        args: vec![format!("-config.file={config}")],
        before: Vec::new(),
        // `/ready` waits for a file to tail.
        ready: Ready::Http(format!("{url}/metrics")),
        url,
    })
}
