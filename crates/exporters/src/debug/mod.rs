//! The console: what flows, one line a record, for looking at a pipeline while it is being set up.

mod text;

use std::io::Write as _;

use engine::{
    BoxFuture, BuildContext, BuildError, Claim, DeliverySettings, ExportError, Exported, Exporter,
    ExporterConfig, Scope,
};
use model::{Payload, Signal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::forms;

/// Prints records to standard output.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DebugConfig {
    /// `summary` (a line a request), `normal` (a line a record) or `detailed` (attributes too). Default: normal.
    verbosity: Verbosity,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Verbosity {
    /// A line a request.
    Summary,
    /// A line a record.
    #[default]
    Normal,
    /// A line a record and one an attribute.
    Detailed,
}

impl ExporterConfig for DebugConfig {
    const NAME: &'static str = "debug";
    const SUMMARY: &'static str = "readable lines on standard output";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn delivery(&self) -> DeliverySettings {
        DeliverySettings::default()
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        Ok(Box::new(DebugExporter { verbosity: self.verbosity }))
    }
}

struct DebugExporter {
    verbosity: Verbosity,
}

impl DebugExporter {
    fn text(&self, payloads: &[Payload]) -> Result<String, ExportError> {
        let mut out = String::new();
        for payload in payloads {
            let request = forms::otlp(payload)?;
            let (signal, items, bytes) = (request.signal().name(), request.items(), request.bytes().len());
            out.push_str(&format!("{signal}: {items} records, {bytes} bytes\n"));
            if self.verbosity >= Verbosity::Normal {
                text::records(&request, self.verbosity == Verbosity::Detailed, &mut out);
            }
        }
        Ok(out)
    }
}

impl Exporter for DebugExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        let text = self.text(payloads);
        Box::pin(async move {
            let out = text?;
            let printed =
                tokio::task::spawn_blocking(move || std::io::stdout().lock().write_all(out.as_bytes()));
            match printed.await {
                Ok(Ok(())) => Ok(Exported::default()),
                // A closed terminal or pipe does not come back.
                Ok(Err(e)) => Err(ExportError::Permanent {
                    reason: "stdout_closed",
                    message: e.to_string(),
                    scope: Scope::Request,
                }),
                Err(e) => Err(ExportError::Retryable { message: e.to_string(), retry_after: None }),
            }
        })
    }
}
