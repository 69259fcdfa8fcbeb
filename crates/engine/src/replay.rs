//! Delivering what is in a folder, and nothing else: `floodway buffer replay`.
//!
//! A replay is a graph of one exporter whose disk buffer is the folder, and of a receiver that receives nothing. So everything goes
//! through the one delivery loop, which tries for ever; what the destination took is noted as done.
//!
//! Invariants: nothing is dropped. A request of which something is refused, or that cannot be read, stays in the folder; some of
//! it may be delivered twice when it is replayed again. No other folder of the exporter is opened.

use std::path::Path;

use crate::component::{
    AnyExporterConfig, AnyReceiverConfig, BuildContext, BuildError, Claim, Exporter, Receiver,
    ReceiverContext, Serving,
};
use crate::delivery::{BufferFull, BufferSettings, DeliverySettings};
use crate::graph::{ComponentSpec, Fingerprint, GraphSpec, PipelineSpec};
use crate::health::Status;
use crate::metrics::ComponentKind;
use crate::{BoxFuture, State};

/// More than any disk holds.
const NO_LIMIT: u64 = 1 << 60;

/// How far a replay is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests that wait for their delivery.
    pub waiting: u64,
    /// Requests that were tried and stay in the folder.
    pub left: u64,
    /// Why the destination takes nothing just now.
    pub failing: Option<String>,
}

impl GraphSpec {
    /// The graph that delivers what is in `directory` through the exporter `id`. `None` if there is no such exporter.
    #[must_use]
    pub fn replaying(self, id: &str, directory: &Path) -> Option<Self> {
        let exporter = self.exporters.into_iter().find(|exporter| exporter.id == id)?;
        let signals = exporter.signals;
        let buffer = BufferSettings {
            directory: directory.to_owned(),
            max_bytes: NO_LIMIT,
            max_requests: NO_LIMIT,
            max_age_ms: None,
            on_full: BufferFull::Refuse,
            window_ms: 0,
            replay: true,
        };
        let name = "replay".to_owned();
        let pipeline = PipelineSpec {
            name: name.clone(),
            receivers: vec![name.clone()],
            exporters: vec![id.to_owned()],
            ..PipelineSpec::default()
        };
        let config = Box::new(Replaying { inner: exporter.config, buffer });
        Some(Self {
            budget_bytes: self.budget_bytes,
            receivers: vec![ComponentSpec {
                id: name,
                signals,
                fingerprint: Fingerprint::default(),
                config: Box::new(Nothing),
            }],
            exporters: vec![ComponentSpec { config, ..exporter }],
            pipelines: vec![pipeline],
            ..Self::default()
        })
    }
}

impl Status {
    /// How far a replay is. `waiting` counts what is under way too, and is of a moment ago; once it is 0 it stays so.
    pub fn replay(&self) -> Progress {
        let exporter = self.components.iter().find(|component| component.kind == ComponentKind::Exporter);
        let Some((exporter, fill)) = exporter.and_then(|of| Some((of, of.buffer.as_ref()?))) else {
            return Progress::default();
        };
        let failing = match &exporter.state {
            State::Failing { last_error, .. } => Some(last_error.clone()),
            State::Ok | State::Stopped => None,
        };
        // What is left only grows and what is undelivered only shrinks, so that their being equal means that nothing is under way.
        Progress {
            waiting: fill.requests - fill.left_requests.min(fill.requests),
            left: fill.left_requests,
            failing,
        }
    }
}

/// An exporter's settings with another buffer.
struct Replaying {
    inner: Box<dyn AnyExporterConfig>,
    buffer: BufferSettings,
}

impl AnyExporterConfig for Replaying {
    fn claims(&self) -> Vec<Claim> {
        self.inner.claims()
    }

    fn delivery(&self) -> DeliverySettings {
        let mut settings = self.inner.delivery();
        settings.buffer = Some(self.buffer.clone());
        // What is refused stays where it is, and the folder that is replayed may be that of the dead letters.
        settings.dead_letters = None;
        settings.retry.max_elapsed_ms = None;
        // One request a call, so that a refusal is known to be of that one.
        settings.queue.max_request_bytes = 0;
        settings
    }

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        self.inner.build(context)
    }
}

/// A receiver that receives nothing.
struct Nothing;

impl AnyReceiverConfig for Nothing {
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn ack(&self) -> Option<model::AckMode> {
        None
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        Ok(self)
    }
}

impl Receiver for Nothing {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            let serving: Serving = Box::pin(async move { context.shutdown.requested().await });
            Ok(serving)
        })
    }
}
