//! What a component is: the three traits, their configuration, and the table entries that list them.
//!
//! A component's configuration struct is its builder. `ReceiverFactory::of::<Config>()` (and its two siblings) turns the
//! struct into a table entry; a crate of components exports one slice of entries and nothing else knows their names.
//! `validate`, the JSON Schema, `floodway components` and the contract tests iterate those slices.
//!
//! Invariant: nothing here names a component, a protocol or a file format.

use std::any::type_name;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::{Payload, Request, SeriesBatch, Signal};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::inlet::Inlet;
use crate::metrics::ComponentMetrics;
use crate::shutdown::Shutdown;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something a component takes for itself alone, so that two components that want the same are found before start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A TCP listening address, `host:port`.
    Tcp(String),
    /// A UDP listening address, `host:port`.
    Udp(String),
    /// A file or folder that the component writes.
    Path(PathBuf),
}

/// Why a component could not be built or started. The text says what to change.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// What is wrong and the likely fix.
    pub message: String,
    /// The cause, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BuildError {
    /// An error that has no cause but what its text says.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn because(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

/// What a component is given when it is built.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The key in the configuration: `otlp` or `otlp/second`.
    pub id: String,
    /// Counters labelled with this component.
    pub metrics: ComponentMetrics,
    /// True when only checking (`floodway validate`): nothing may be created, bound or generated.
    pub dry_run: bool,
}

/// A way in. Binds its sockets when started, so that failures are known before the program says it is ready.
pub trait Receiver: Send {
    /// Takes the claimed resources and returns the future that serves until `context.shutdown`, then drains and ends.
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>>;

    /// True when it looks only once, at its start, which signals its inlet accepts: a reload that changes them then counts as a
    /// change of the receiver.
    fn asks_for_signals_once(&self) -> bool {
        false
    }
}

/// A started receiver: the future that does its work, to be spawned by the engine.
pub type Serving = BoxFuture<'static, ()>;

/// What a receiver works with while it runs.
#[derive(Clone)]
pub struct ReceiverContext {
    /// Where requests go; also hands out the memory budget.
    pub inlet: Inlet,
    /// Counters labelled with this component.
    pub metrics: ComponentMetrics,
    /// Ends the receiver.
    pub shutdown: Shutdown,
}

/// A synchronous step on the receiver's own thread: no I/O, no locks, run to completion.
pub trait Processor: Send + Sync {
    /// Hands on the request, changed or not; `None` when no record is left. What it drops it counts itself in its
    /// `ComponentMetrics` (a dropped record counts as delivered for the acknowledgement). An error refuses the whole
    /// request: the processor could not do what it promises (redaction above all).
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError>;

    /// The same for metrics in the form of Prometheus series. A processor that deals in metrics must deal in both forms; what
    /// does not say how refuses, so that nothing passes a redaction that never looked at it.
    fn process_series(&self, _: Arc<SeriesBatch>) -> Result<Option<Arc<SeriesBatch>>, ProcessError> {
        Err(ProcessError {
            reason: "unsupported_form",
            message: "it cannot work on Prometheus series".to_owned(),
        })
    }
}

/// Why a processor refused a request.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ProcessError {
    /// A short fixed name for the `reason` label of `floodway_dropped_items_total`.
    pub reason: &'static str,
    /// For the sender and the log; never holds data of the request.
    pub message: String,
}

/// A way out: encodes and sends one request. Queueing, retry and acknowledgement are the engine's.
pub trait Exporter: Send + Sync {
    /// Sends `payloads` (one or more, all of one signal) as one. A protobuf destination concatenates their bytes: repeated
    /// fields of a protobuf message append. Metrics may come in both forms.
    ///
    /// The future may be dropped at any await, by `retry.timeout_ms` or at the shutdown deadline; the payloads are then sent
    /// again or nacked. It must leave nothing half-written that the next call would continue.
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>>;

    /// Called once when the engine stops, after the last `export`: flush files, close connections.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The destination answered: what is in neither list, it took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exported {
    /// Records refused for good, by reason. Mostly none.
    pub rejected: Vec<Rejected>,
    /// Records that may be sent again. The delivery loop backs off and calls [`Exporter::export`] with these alone.
    pub remainder: Option<Remainder>,
}

/// Records that a destination refused for good while it took others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejected {
    /// A short fixed name for the `reason` label of `floodway_dropped_items_total`.
    pub reason: &'static str,
    /// How many.
    pub items: u64,
    /// What the destination said, for the log; never holds data of the records.
    pub message: String,
    /// The records, for dead letters. More than `items` where the destination does not say which of these it refused; empty where it
    /// may be any of the request.
    pub payloads: Vec<Payload>,
}

/// What a destination did not take of a request, for a reason that may pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Remainder {
    /// The records, in their order.
    pub payloads: Vec<Payload>,
    /// What happened.
    pub message: String,
    /// How long the destination asked us to wait.
    pub retry_after: Option<Duration>,
}

/// The destination did not take the request.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Trying again may help: overload, unreachable, time-out.
    #[error("{message}")]
    Retryable {
        /// What happened.
        message: String,
        /// How long the destination asked us to wait.
        retry_after: Option<Duration>,
    },
    /// Trying again cannot help: the request itself is refused.
    #[error("{message}")]
    Permanent {
        /// A short fixed name for the `reason` label.
        reason: &'static str,
        /// What happened.
        message: String,
        /// What it is that is refused.
        scope: Scope,
    },
}

/// What a refusal for good is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The request, whatever it holds: credentials, an unknown path. All of it is given up.
    Request,
    /// Something in it: HTTP 400, 413 or 422, gRPC INVALID_ARGUMENT. The delivery loop sends the halves, and their halves, so that
    /// what is bad costs itself alone.
    Records,
}

/// Configuration of a receiver: one struct, `#[serde(deny_unknown_fields)]`, whose field docs give effect, default and unit.
pub trait ReceiverConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The component's type in the configuration.
    const NAME: &'static str;
    /// One line for `floodway components`.
    const SUMMARY: &'static str;
    /// The signals it can produce.
    const SIGNALS: &'static [Signal];
    /// What it takes for itself.
    fn claims(&self) -> Vec<Claim>;
    /// When the sender is answered; `None` lets the engine choose: durable where every exporter behind has a disk buffer, else
    /// received.
    fn ack(&self) -> Option<model::AckMode>;
    /// Checks the settings and makes the receiver.
    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Receiver>, BuildError>;
}

/// Configuration of a processor. `Clone`, since each pipeline that names it builds its own.
pub trait ProcessorConfig: Clone + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The component's type in the configuration.
    const NAME: &'static str;
    /// One line for `floodway components`.
    const SUMMARY: &'static str;
    /// The signals it can work on.
    const SIGNALS: &'static [Signal];
    /// The same settings once more, for another pipeline.
    fn duplicate(&self) -> Box<dyn AnyProcessorConfig> {
        Box::new(self.clone())
    }
    /// Checks the settings and makes the processor.
    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Processor>, BuildError>;
}

/// Configuration of an exporter.
pub trait ExporterConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The component's type in the configuration.
    const NAME: &'static str;
    /// One line for `floodway components`.
    const SUMMARY: &'static str;
    /// The signals it can deliver.
    const SIGNALS: &'static [Signal];
    /// What it takes for itself.
    fn claims(&self) -> Vec<Claim>;
    /// How the queue before it and the delivery loop behave.
    fn delivery(&self) -> crate::delivery::DeliverySettings;
    /// Checks the settings and makes the exporter.
    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError>;
}

macro_rules! factory {
    ($(#[$doc:meta])* $factory:ident, $config:ident, $erased:ident, $built:ident { $($method:ident : $ret:ty),* }) => {
        $(#[$doc])*
        pub struct $factory {
            /// The component's type in the configuration.
            pub name: &'static str,
            /// One line that says what it is.
            pub summary: &'static str,
            /// The signals it deals in.
            pub signals: &'static [Signal],
            /// Reads its settings.
            pub parse: fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Box<dyn $erased>, erased_serde::Error>,
            /// Its part of the JSON Schema.
            pub schema: fn(&mut SchemaGenerator) -> Schema,
            /// The Rust name of its configuration struct, for error messages of the project's own tests.
            pub config_type: fn() -> &'static str,
        }

        impl $factory {
            /// The table entry of one configuration struct.
            pub const fn of<C: $config>() -> Self {
                Self {
                    name: C::NAME,
                    summary: C::SUMMARY,
                    signals: C::SIGNALS,
                    parse: |deserializer| {
                        erased_serde::deserialize::<C>(deserializer).map(|c| Box::new(c) as Box<dyn $erased>)
                    },
                    schema: |generator| generator.subschema_for::<C>(),
                    config_type: type_name::<C>,
                }
            }
        }

        /// The settings of one component, its type erased.
        pub trait $erased: Send + Sync {
            $(#[doc = concat!("See [`", stringify!($config), "::", stringify!($method), "`].")]
            fn $method(&self) -> $ret;)*
            #[doc = concat!("See [`", stringify!($config), "::build`].")]
            fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn $built>, BuildError>;
        }

        impl<C: $config> $erased for C {
            $(fn $method(&self) -> $ret { $config::$method(self) })*
            fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn $built>, BuildError> {
                $config::build(self, context)
            }
        }
    };
}

factory! {
    /// A line of the table of receivers.
    ReceiverFactory, ReceiverConfig, AnyReceiverConfig, Receiver { claims: Vec<Claim>, ack: Option<model::AckMode> }
}
factory! {
    /// A line of the table of processors.
    ProcessorFactory, ProcessorConfig, AnyProcessorConfig, Processor { duplicate: Box<dyn AnyProcessorConfig> }
}
factory! {
    /// A line of the table of exporters.
    ExporterFactory, ExporterConfig, AnyExporterConfig, Exporter { claims: Vec<Claim>, delivery: crate::delivery::DeliverySettings }
}
