//! The OpenTelemetry Collector: the peer that we talk to and are compared with.
//!
//! Its own builder wants modules that are not all on the module proxy, so it is built from a main of ours, `otelcol.go`,
//! with these components: receiver `otlp`; processors `batch`, `memory_limiter`, `redaction`, `probabilistic_sampler`;
//! exporters `otlp`, `otlphttp`, `nop`, `debug`.
//!
//! The test gives the configuration. Ports that it may name: `@otlp_grpc@`, `@otlp_http@`, and `@spare@` for whatever else.
//! The Collector's own metrics are at `@metrics@` without the test's doing: a second file sets that, because the default
//! (8888 for all) would let only one run at a time.

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::Result;
use crate::install::{GoMain, Recipe};
use crate::net::PortSpec;

pub(crate) const BACKEND: Backend = Backend {
    name: "otelcol",
    version: "v0.150.0",
    about: "OpenTelemetry Collector with OTLP, batching, redaction and sampling",
    needs: NEEDS_GO,
    ports: &[
        PortSpec { name: "otlp_http", fixed: 25_318 },
        PortSpec { name: "otlp_grpc", fixed: 25_317 },
        PortSpec { name: "metrics", fixed: 25_888 },
        PortSpec { name: "spare", fixed: 25_319 },
    ],
    recipe: Recipe::GoMain(GoMain {
        main: include_str!("otelcol.go"),
        requires: &[
            "go.opentelemetry.io/collector/otelcol@v0.150.0",
            "go.opentelemetry.io/collector/receiver/otlpreceiver@v0.150.0",
            "go.opentelemetry.io/collector/processor/batchprocessor@v0.150.0",
            "go.opentelemetry.io/collector/processor/memorylimiterprocessor@v0.150.0",
            "go.opentelemetry.io/collector/exporter/otlpexporter@v0.150.0",
            "go.opentelemetry.io/collector/exporter/otlphttpexporter@v0.150.0",
            "go.opentelemetry.io/collector/exporter/nopexporter@v0.150.0",
            "go.opentelemetry.io/collector/exporter/debugexporter@v0.150.0",
            "github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor@v0.150.0",
            "github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor@v0.150.0",
        ],
    }),
    launch: Some(launch),
};

/// For one started by hand: what arrives is printed to its log.
const DEFAULT_CONFIG: &str = "\
receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:@otlp_grpc@'}, http: {endpoint: '127.0.0.1:@otlp_http@'}}}}
exporters: {debug: {verbosity: detailed}}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [debug]}
    logs: {receivers: [otlp], exporters: [debug]}
    metrics: {receivers: [otlp], exporters: [debug]}
";

const TELEMETRY: &str = "\
service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: @metrics@}}}}]}}}
";

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config =
        site.write_config("otelcol.yaml", site.options.config.as_deref().unwrap_or(DEFAULT_CONFIG))?;
    let telemetry = site.write_config("telemetry.yaml", TELEMETRY)?;
    Ok(Launch {
        program: site.bin("otelcol"),
        args: vec![format!("--config={config}"), format!("--config={telemetry}")],
        before: Vec::new(),
        ready: Ready::Log("Everything is ready"),
        url: site.http("otlp_http")?,
    })
}
