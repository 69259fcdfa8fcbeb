//! From settings to a graph: checks first, then builds; nothing is bound or spawned before [`Graph::start`].
//!
//! ```text
//! receivers --(routes by signal)--> pipelines: own processors in order --> exporters: one queue each, shared by pipelines
//! ```
//!
//! Which signals a pipeline takes: the one that `signal` or its name says (`traces`, `logs/main`), and then every component
//! must deal in it; else those that some receiver produces and every processor and exporter deals in.
//!
//! Invariants:
//! - Whatever can be known without touching the system is known after [`Graph::build`]: references, signals, claims, settings.
//! - With `dry_run` nothing is created, bound or generated; that is `floodway validate`.
//!
//! It does not read YAML; ids are the keys of the configuration, so that its errors can be given their place there.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use model::{AckMode, Signal};

use crate::budget::Budget;
use crate::component::{
    AnyExporterConfig, AnyProcessorConfig, AnyReceiverConfig, BuildContext, BuildError, Claim, Receiver,
};
use crate::dead_letters::DeadLetters;
use crate::delivery::DeliverySettings;
use crate::inlet::{Pipeline, Routes, Step};
use crate::metrics::{ComponentKind, ComponentMetrics};
use crate::mount::Parts;
use crate::queue::Queue;
use crate::queue::spool::Spool;
use crate::reload::Standing;

mod claims;
mod plan;

use plan::{Plan, PlannedPipeline};

/// What a graph is built from.
#[derive(Default)]
pub struct GraphSpec {
    /// Limit in bytes for what requests hold in the whole process.
    pub budget_bytes: usize,
    /// What the program itself takes, the admin port for one: who, and what.
    pub reserved: Vec<(String, Claim)>,
    /// The configured receivers.
    pub receivers: Vec<ComponentSpec<dyn AnyReceiverConfig>>,
    /// The configured processors. Each pipeline that names one builds its own.
    pub processors: Vec<ComponentSpec<dyn AnyProcessorConfig>>,
    /// The configured exporters. Pipelines that name the same one share it and its queue.
    pub exporters: Vec<ComponentSpec<dyn AnyExporterConfig>>,
    /// The configured pipelines.
    pub pipelines: Vec<PipelineSpec>,
}

/// One configured component.
pub struct ComponentSpec<C: ?Sized> {
    /// Its key in the configuration: `otlp` or `otlp/second`.
    pub id: String,
    /// The signals that its factory says it deals in.
    pub signals: &'static [Signal],
    /// Tells whether a reload changes it.
    pub fingerprint: Fingerprint,
    /// Its settings.
    pub config: Box<C>,
}

/// Stands for the settings of a component: equal settings have equal fingerprints, and others almost surely others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// One configured pipeline, by the ids of its components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineSpec {
    /// Its key in the configuration. `traces`, `logs` or `metrics`, alone or before a `/`, names its signal.
    pub name: String,
    /// The only signal that it takes, where the configuration says so elsewhere than in the name.
    pub signal: Option<Signal>,
    /// Where its requests come from.
    pub receivers: Vec<String>,
    /// What is done to them, in this order.
    pub processors: Vec<String>,
    /// Where they go: each of these gets every request.
    pub exporters: Vec<String>,
}

/// Why there is no graph. Each text says where the fault is and what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// There is nothing to run.
    #[error("there is no pipeline: add one under `pipelines:` that names a receiver and an exporter")]
    NoPipelines,
    /// Two things share a key.
    #[error("{what} {id} is defined twice: give one of them another name, such as {id}/second")]
    Duplicate {
        /// `pipeline`, or the kind of component.
        what: &'static str,
        /// The key.
        id: String,
    },
    /// A pipeline names something that is not configured.
    #[error("pipeline {pipeline} names {kind} {id}, which is not configured; {known}")]
    Unknown {
        /// The pipeline.
        pipeline: String,
        /// Where it stands in the pipeline.
        kind: ComponentKind,
        /// The name that leads nowhere.
        id: String,
        /// The names there are.
        known: String,
    },
    /// A pipeline names a receiver or an exporter twice, which would double every record.
    #[error("pipeline {pipeline} names {kind} {id} twice: every record would go through twice; remove one")]
    Repeated {
        /// The pipeline.
        pipeline: String,
        /// Where it stands in the pipeline.
        kind: ComponentKind,
        /// The name.
        id: String,
    },
    /// A pipeline has no receiver or no exporter.
    #[error("pipeline {pipeline} has no {kind}: name at least one under `{kind}s:`")]
    Incomplete {
        /// The pipeline.
        pipeline: String,
        /// What is missing.
        kind: ComponentKind,
    },
    /// A component cannot deal in the pipeline's signal.
    #[error("pipeline {pipeline} takes {}, but {kind} {id} deals in {supported} only", signal.name())]
    SignalMismatch {
        /// The pipeline.
        pipeline: String,
        /// The pipeline's signal.
        signal: Signal,
        /// What the component is.
        kind: ComponentKind,
        /// The component.
        id: String,
        /// What it deals in.
        supported: String,
    },
    /// The components of a pipeline have no signal in common.
    #[error("pipeline {pipeline} takes nothing: its components have no signal in common ({parts})")]
    NoSignal {
        /// The pipeline.
        pipeline: String,
        /// What each of them deals in.
        parts: String,
    },
    /// Two components want the same port or file.
    #[error("{first} and {second} both want {what}: change one of them")]
    Clash {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What they want.
        what: String,
    },
    /// `ack: durable` needs a disk buffer before every exporter.
    #[error(
        "receiver {receiver} has `ack: durable`, but exporter {exporter} has no disk buffer: give it one (`buffer: {{directory: \
         ./floodway-data/buffer/{exporter}}}`), or use `received` (answered when queued) or `delivered` (answered when every \
         destination has it)"
    )]
    NoDiskBuffer {
        /// The receiver.
        receiver: String,
        /// An exporter that it can reach.
        exporter: String,
    },
    /// The budget is too small to work with.
    #[error("the memory budget is 0 bytes: nothing could ever be received")]
    NoBudget,
    /// A component could not be built.
    #[error("{kind} {id}: {source}")]
    Build {
        /// What the component is.
        kind: ComponentKind,
        /// The component.
        id: String,
        /// What it says.
        source: BuildError,
    },
    /// A reload before the earlier ones are done.
    #[error(
        "{retiring} components that earlier reloads replaced are still at work; /health says what keeps them. Wait, or restart the program"
    )]
    TooManyRetiring {
        /// How many.
        retiring: usize,
    },
    /// A receiver could not start.
    #[error("receiver {id} could not start: {source}")]
    Start {
        /// The receiver.
        id: String,
        /// What it says.
        source: BuildError,
    },
}

/// A graph that is checked and built and has not been started.
pub struct Graph {
    pub(crate) budget: Budget,
    pub(crate) receivers: Vec<BuiltReceiver>,
    pub(crate) exporters: Vec<BuiltExporter>,
    pub(crate) processors: Vec<(String, Fingerprint)>,
    pub(crate) pipelines: Vec<PipelineSpec>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) struct BuiltReceiver {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) metrics: ComponentMetrics,
    pub(crate) routes: Arc<Routes>,
    /// What to start; `None` where the one that runs goes on.
    pub(crate) receiver: Option<Box<dyn Receiver>>,
}

pub(crate) struct BuiltExporter {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) queue: Arc<Queue>,
    /// What its workers are to send with; `None` where the one that runs goes on. The queue may be one that runs either way.
    pub(crate) parts: Option<Parts>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({} receivers, {} exporters)", self.receivers.len(), self.exporters.len())
    }
}

impl Graph {
    /// Checks the whole and builds its parts. Install the metrics recorder first.
    ///
    /// # Errors
    /// The first fault found.
    pub fn build(spec: GraphSpec, dry_run: bool) -> Result<Self, GraphError> {
        Self::build_beside(spec, dry_run, &Standing::default())
    }

    /// As [`Self::build`], beside a graph that runs and from which it keeps what is the same.
    pub(crate) fn build_beside(
        spec: GraphSpec,
        dry_run: bool,
        standing: &Standing<'_>,
    ) -> Result<Self, GraphError> {
        if spec.budget_bytes == 0 {
            return Err(GraphError::NoBudget);
        }
        let plan = Plan::of(&spec)?;
        claims::check(&spec, &plan)?;
        check_settings(&spec, &plan)?;
        let budget = standing.budget.cloned().unwrap_or_else(|| Budget::new(spec.budget_bytes));
        let bare = spec.exporters.iter().filter(|exporter| exporter.config.delivery().buffer.is_none());
        let unbuffered: Vec<_> = bare.map(|exporter| exporter.id.clone()).collect();
        let exporters = build_exporters(spec.exporters, &plan, dry_run, standing)?;
        let pipelines = plan
            .pipelines
            .iter()
            .map(|planned| build_pipeline(planned, &spec.processors, &exporters, dry_run).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let receivers = build_receivers(spec.receivers, &plan, &pipelines, &unbuffered, dry_run, standing)?;
        let processors = spec.processors.into_iter().map(|spec| (spec.id, spec.fingerprint)).collect();
        let (pipelines, warnings) = (spec.pipelines, plan.warnings);
        Ok(Self { budget, receivers, exporters, processors, pipelines, warnings })
    }

    /// What is not wrong but probably not meant: components that no pipeline names, signals that go nowhere.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The memory budget that its receivers share.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

fn check_settings(spec: &GraphSpec, plan: &Plan) -> Result<(), GraphError> {
    for exporter in spec.exporters.iter().filter(|exporter| plan.uses(ComponentKind::Exporter, &exporter.id))
    {
        let checked = exporter.config.delivery().check();
        checked.map_err(|source| build_error(ComponentKind::Exporter, &exporter.id, source))?;
    }
    Ok(())
}

/// When the senders of a receiver are answered, which may be left to the engine.
fn ack_mode(
    receiver: &ComponentSpec<dyn AnyReceiverConfig>,
    plan: &Plan,
    unbuffered: &[String],
) -> Result<AckMode, GraphError> {
    let fed = plan.pipelines.iter().filter(|pipeline| pipeline.receivers.contains(&receiver.id));
    let bare = fed.flat_map(|pipeline| &pipeline.exporters).find(|id| unbuffered.contains(id));
    match (receiver.config.ack(), bare) {
        (Some(AckMode::Durable), Some(exporter)) => {
            let (receiver, exporter) = (receiver.id.clone(), exporter.clone());
            Err(GraphError::NoDiskBuffer { receiver, exporter })
        }
        (Some(mode), _) => Ok(mode),
        (None, Some(_)) => Ok(AckMode::Received),
        (None, None) => Ok(AckMode::Durable),
    }
}

fn build_exporters(
    specs: Vec<ComponentSpec<dyn AnyExporterConfig>>,
    plan: &Plan,
    dry_run: bool,
    standing: &Standing<'_>,
) -> Result<Vec<BuiltExporter>, GraphError> {
    let used = specs.into_iter().filter(|spec| plan.uses(ComponentKind::Exporter, &spec.id));
    used.map(|ComponentSpec { id, config, fingerprint, .. }| {
        if let Some(queue) = standing.unchanged_exporter(&id, fingerprint) {
            return Ok(BuiltExporter { fingerprint, queue, parts: None });
        }
        let context = context(ComponentKind::Exporter, &id, dry_run);
        let settings = config.delivery();
        let failed = |source| build_error(ComponentKind::Exporter, &id, source);
        let exporter = Arc::from(config.build(&context).map_err(failed)?);
        let queue = match standing.queue_for(&id, &settings) {
            Some(queue) => queue,
            None => queue(&settings, &context).map_err(failed)?,
        };
        let letters = letters(&settings, &context).map_err(failed)?;
        Ok(BuiltExporter { fingerprint, queue, parts: Some(Parts { exporter, letters, settings }) })
    })
    .collect()
}

fn queue(settings: &DeliverySettings, context: &BuildContext) -> Result<Arc<Queue>, BuildError> {
    let waiting = settings.queue.max_requests;
    let open = |buffer| Spool::open(buffer, waiting, settings.ordered, &context.metrics);
    let spool = settings.buffer.as_ref().filter(|_| !context.dry_run).map(open).transpose()?;
    Ok(Arc::new(Queue::buffered(&settings.queue, &context.metrics, spool)))
}

fn letters(
    settings: &DeliverySettings,
    context: &BuildContext,
) -> Result<Option<Arc<DeadLetters>>, BuildError> {
    let settings = settings.dead_letters.as_ref().filter(|_| !context.dry_run);
    let letters = settings.map(|letters| DeadLetters::open(letters, &context.metrics)).transpose()?;
    Ok(letters.map(Arc::new))
}

fn build_pipeline(
    planned: &PlannedPipeline,
    processors: &[ComponentSpec<dyn AnyProcessorConfig>],
    exporters: &[BuiltExporter],
    dry_run: bool,
) -> Result<Pipeline, GraphError> {
    let named = planned.processors.iter().filter_map(|id| processors.iter().find(|spec| spec.id == *id));
    let steps = named
        .map(|spec| {
            let context = context(ComponentKind::Processor, &spec.id, dry_run);
            let processor = spec
                .config
                .duplicate()
                .build(&context)
                .map_err(|source| build_error(ComponentKind::Processor, &spec.id, source))?;
            Ok(Step { processor, metrics: context.metrics })
        })
        .collect::<Result<_, _>>()?;
    let is_outlet =
        |exporter: &&BuiltExporter| planned.exporters.iter().any(|id| id == exporter.queue.metrics().id());
    let outlets = exporters.iter().filter(is_outlet).map(|exporter| Arc::clone(&exporter.queue)).collect();
    Ok(Pipeline { steps, outlets })
}

fn build_receivers(
    specs: Vec<ComponentSpec<dyn AnyReceiverConfig>>,
    plan: &Plan,
    pipelines: &[Arc<Pipeline>],
    unbuffered: &[String],
    dry_run: bool,
    standing: &Standing<'_>,
) -> Result<Vec<BuiltReceiver>, GraphError> {
    let used = specs.into_iter().filter(|spec| plan.uses(ComponentKind::Receiver, &spec.id));
    used.map(|spec| {
        let ack = ack_mode(&spec, plan, unbuffered)?;
        let ComponentSpec { id, config, fingerprint, .. } = spec;
        let context = context(ComponentKind::Receiver, &id, dry_run);
        let routes = Arc::new(routes(&id, ack, plan, pipelines));
        // Built even if it will not be started: what is wrong with it is known before anything changes.
        let receiver =
            config.build(&context).map_err(|source| build_error(ComponentKind::Receiver, &id, source))?;
        let stays = standing.receiver_stays(&id, fingerprint, &routes, receiver.as_ref());
        let receiver = (!stays).then_some(receiver);
        Ok(BuiltReceiver { fingerprint, metrics: context.metrics, routes, receiver })
    })
    .collect()
}

fn routes(receiver: &str, ack: AckMode, plan: &Plan, pipelines: &[Arc<Pipeline>]) -> Routes {
    let mut by_signal: [Vec<Arc<Pipeline>>; 3] = Default::default();
    let mut described = Vec::new();
    for (planned, pipeline) in plan.pipelines.iter().zip(pipelines) {
        if !planned.receivers.iter().any(|id| id == receiver) {
            continue;
        }
        described.push(format!("pipeline {} takes {}", planned.name, plan::list(&planned.signals)));
        for signal in &planned.signals {
            by_signal[*signal as usize].push(Arc::clone(pipeline));
        }
    }
    Routes { ack, by_signal, description: described.join(", ") }
}

fn context(kind: ComponentKind, id: &str, dry_run: bool) -> BuildContext {
    BuildContext { id: id.to_owned(), metrics: ComponentMetrics::new(kind, id), dry_run }
}

fn build_error(kind: ComponentKind, id: &str, source: BuildError) -> GraphError {
    GraphError::Build { kind, id: id.to_owned(), source }
}

/// The first that stands twice in `ids`.
fn first_repeated<'a>(ids: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    ids.into_iter().find(|id| !seen.insert(*id))
}
