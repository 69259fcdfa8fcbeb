//! Prometheus 3: takes remote-write 1 and 2 (`/api/v1/write`) and OTLP (`/api/v1/otlp`), answers PromQL (`/api/v1/query`).
//!
//! With a configuration of the test's (`@http@` is its own port) it scrapes and sends too; [`own_metric`] tells what it sent.

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::Result;
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;
use crate::server::Server;

/// The Go module's number; the program calls itself 3.15.
const VERSION: &str = "v0.315.0";

pub(crate) const BACKEND: Backend = Backend {
    name: "prometheus",
    version: VERSION,
    about: "Prometheus 3.15: remote-write and OTLP in, PromQL out",
    needs: NEEDS_GO,
    ports: &[PortSpec { name: "http", fixed: 29_090 }],
    recipe: Recipe::GoModule(GoModule {
        module: "github.com/prometheus/prometheus",
        version: VERSION,
        package: "github.com/prometheus/prometheus/cmd/prometheus",
        patch: &[],
    }),
    launch: Some(launch),
};

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config = site.options.config.as_deref().unwrap_or("global: {scrape_interval: 1s}\n");
    let config = site.write_config("prometheus.yaml", config)?;
    let url = site.http("http")?;
    Ok(Launch {
        program: site.bin("prometheus"),
        args: vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={}", site.data()),
            format!("--web.listen-address=127.0.0.1:{}", site.ports.get("http")?),
            "--web.enable-remote-write-receiver".to_owned(),
            "--web.enable-otlp-receiver".to_owned(),
        ],
        before: Vec::new(),
        ready: Ready::Http(format!("{url}/-/ready")),
        url,
    })
}

/// The sum over the series of one of its own metrics, such as `prometheus_remote_storage_samples_total`; 0 if there is none.
///
/// # Errors
/// [`crate::Error::Http`] if it does not answer.
pub fn own_metric(prometheus: &Server, name: &str) -> Result<f64> {
    let text = prometheus.get("/metrics", &[])?.body;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}
