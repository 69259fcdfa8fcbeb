//! The graph on paper: references resolved, signals worked out, unused parts found. Pure; builds nothing.

use std::collections::HashSet;

use model::Signal;

use super::{ComponentSpec, GraphError, GraphSpec, PipelineSpec, first_repeated};
use crate::metrics::ComponentKind;

/// What will be built.
pub(super) struct Plan {
    pub(super) pipelines: Vec<PlannedPipeline>,
    pub(super) warnings: Vec<String>,
    used: HashSet<(ComponentKind, String)>,
}

/// A pipeline whose references and signals are known to be right.
pub(super) struct PlannedPipeline {
    pub(super) name: String,
    pub(super) signals: Vec<Signal>,
    pub(super) receivers: Vec<String>,
    pub(super) processors: Vec<String>,
    pub(super) exporters: Vec<String>,
}

/// One component as a pipeline sees it.
struct Part<'a> {
    kind: ComponentKind,
    id: &'a str,
    signals: &'static [Signal],
}

impl Plan {
    pub(super) fn of(spec: &GraphSpec) -> Result<Self, GraphError> {
        if spec.pipelines.is_empty() {
            return Err(GraphError::NoPipelines);
        }
        check_duplicates(spec)?;
        let mut plan = Self { pipelines: Vec::new(), warnings: Vec::new(), used: HashSet::new() };
        for pipeline in &spec.pipelines {
            let parts = parts(spec, pipeline)?;
            let signals = signals(pipeline, &parts)?;
            plan.warn_of_lost_signals(pipeline, &parts, &signals);
            plan.used.extend(parts.iter().map(|part| (part.kind, part.id.to_owned())));
            plan.pipelines.push(PlannedPipeline {
                name: pipeline.name.clone(),
                signals,
                receivers: pipeline.receivers.clone(),
                processors: pipeline.processors.clone(),
                exporters: pipeline.exporters.clone(),
            });
        }
        plan.warn_of_unused(spec);
        Ok(plan)
    }

    /// True when a pipeline names the component.
    pub(super) fn uses(&self, kind: ComponentKind, id: &str) -> bool {
        self.used.contains(&(kind, id.to_owned()))
    }

    fn warn_of_unused(&mut self, spec: &GraphSpec) {
        let all = ids(&spec.receivers)
            .map(|id| (ComponentKind::Receiver, id))
            .chain(ids(&spec.processors).map(|id| (ComponentKind::Processor, id)))
            .chain(ids(&spec.exporters).map(|id| (ComponentKind::Exporter, id)));
        for (kind, id) in all {
            if !self.uses(kind, id) {
                self.warnings
                    .push(format!("{kind} {id} is configured, but no pipeline names it: it does nothing"));
            }
        }
    }

    /// Where the name chooses no signal, one part that deals in less takes signals from the whole pipeline: say which.
    fn warn_of_lost_signals(&mut self, pipeline: &PipelineSpec, parts: &[Part<'_>], signals: &[Signal]) {
        if fixed_signal(pipeline).is_some() {
            return;
        }
        for signal in produced(parts).filter(|signal| !signals.contains(signal)) {
            let why: Vec<_> = parts
                .iter()
                .filter(|part| part.kind != ComponentKind::Receiver && !part.signals.contains(&signal))
                .map(|part| format!("{} {}", part.kind, part.id))
                .collect();
            self.warnings.push(format!(
                "pipeline {} takes no {}, since {} cannot: senders of them are refused unless another pipeline takes them",
                pipeline.name,
                signal.name(),
                why.join(", ")
            ));
        }
    }
}

/// The names of `signals`, for a text.
pub(super) fn list(signals: &[Signal]) -> String {
    signals.iter().map(|signal| signal.name()).collect::<Vec<_>>().join(", ")
}

fn ids<C: ?Sized>(specs: &[ComponentSpec<C>]) -> impl Iterator<Item = &str> {
    specs.iter().map(|spec| spec.id.as_str())
}

fn check_duplicates(spec: &GraphSpec) -> Result<(), GraphError> {
    let twice = [
        ("receiver", first_repeated(ids(&spec.receivers))),
        ("processor", first_repeated(ids(&spec.processors))),
        ("exporter", first_repeated(ids(&spec.exporters))),
        ("pipeline", first_repeated(spec.pipelines.iter().map(|pipeline| pipeline.name.as_str()))),
    ];
    match twice.into_iter().find_map(|(what, id)| id.map(|id| (what, id.to_owned()))) {
        Some((what, id)) => Err(GraphError::Duplicate { what, id }),
        None => Ok(()),
    }
}

fn parts<'a>(spec: &'a GraphSpec, pipeline: &'a PipelineSpec) -> Result<Vec<Part<'a>>, GraphError> {
    let mut parts = resolve(ComponentKind::Receiver, &spec.receivers, pipeline, &pipeline.receivers)?;
    parts.extend(resolve(ComponentKind::Processor, &spec.processors, pipeline, &pipeline.processors)?);
    parts.extend(resolve(ComponentKind::Exporter, &spec.exporters, pipeline, &pipeline.exporters)?);
    Ok(parts)
}

fn resolve<'a, C: ?Sized>(
    kind: ComponentKind,
    specs: &'a [ComponentSpec<C>],
    pipeline: &PipelineSpec,
    names: &'a [String],
) -> Result<Vec<Part<'a>>, GraphError> {
    let pipeline = || pipeline.name.clone();
    if kind != ComponentKind::Processor {
        if names.is_empty() {
            return Err(GraphError::Incomplete { pipeline: pipeline(), kind });
        }
        if let Some(id) = first_repeated(names.iter().map(String::as_str)) {
            return Err(GraphError::Repeated { pipeline: pipeline(), kind, id: id.to_owned() });
        }
    }
    names
        .iter()
        .map(|id| match specs.iter().find(|spec| spec.id == *id) {
            Some(spec) => Ok(Part { kind, id, signals: spec.signals }),
            None => Err(GraphError::Unknown {
                pipeline: pipeline(),
                kind,
                id: id.clone(),
                known: known(kind, specs),
            }),
        })
        .collect()
}

fn known<C: ?Sized>(kind: ComponentKind, specs: &[ComponentSpec<C>]) -> String {
    if specs.is_empty() {
        return format!("no {kind} is: define it under `{kind}s:`");
    }
    let mut known: Vec<_> = ids(specs).collect();
    known.sort_unstable();
    format!("configured {kind}s: {}", known.join(", "))
}

/// The signal that the pipeline says it takes, if it says so.
fn fixed_signal(pipeline: &PipelineSpec) -> Option<Signal> {
    let prefix = pipeline.name.split('/').next().unwrap_or_default();
    pipeline.signal.or_else(|| Signal::ALL.into_iter().find(|signal| signal.name() == prefix))
}

/// The signals that at least one receiver produces.
fn produced(parts: &[Part<'_>]) -> impl Iterator<Item = Signal> {
    Signal::ALL.into_iter().filter(|signal| {
        parts.iter().any(|part| part.kind == ComponentKind::Receiver && part.signals.contains(signal))
    })
}

fn signals(pipeline: &PipelineSpec, parts: &[Part<'_>]) -> Result<Vec<Signal>, GraphError> {
    if let Some(signal) = fixed_signal(pipeline) {
        return match parts.iter().find(|part| !part.signals.contains(&signal)) {
            None => Ok(vec![signal]),
            Some(part) => Err(GraphError::SignalMismatch {
                pipeline: pipeline.name.clone(),
                signal,
                kind: part.kind,
                id: part.id.to_owned(),
                supported: list(part.signals),
            }),
        };
    }
    let deals = |part: &Part<'_>, signal: &Signal| {
        part.kind == ComponentKind::Receiver || part.signals.contains(signal)
    };
    let signals: Vec<_> =
        produced(parts).filter(|signal| parts.iter().all(|part| deals(part, signal))).collect();
    let useless = |part: &&Part<'_>| !part.signals.iter().any(|signal| signals.contains(signal));
    match parts.iter().find(useless) {
        None => Ok(signals),
        Some(_) => {
            let part = |part: &Part<'_>| format!("{} {}: {}", part.kind, part.id, list(part.signals));
            let parts = parts.iter().map(part).collect::<Vec<_>>().join("; ");
            Err(GraphError::NoSignal { pipeline: pipeline.name.clone(), parts })
        }
    }
}
