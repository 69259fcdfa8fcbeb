//! telemetrygen, the OpenTelemetry project's own load generator: a tool, run with `run_tool`.
//!
//! For example `["traces", "--otlp-insecure", "--otlp-endpoint", "127.0.0.1:4317", "--traces", "10", "--rate", "0"]`:
//! without the rate it makes one trace a second.

use crate::catalog::{Backend, NEEDS_GO};
use crate::install::{GoModule, Recipe};

const VERSION: &str = "v0.161.0";
const MODULE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen";

pub(crate) const BACKEND: Backend = Backend {
    name: "telemetrygen",
    version: VERSION,
    about: "OpenTelemetry's generator of OTLP traces, logs and metrics (a tool)",
    needs: NEEDS_GO,
    ports: &[],
    recipe: Recipe::GoModule(GoModule { module: MODULE, version: VERSION, package: MODULE, patch: &[] }),
    launch: None,
};
