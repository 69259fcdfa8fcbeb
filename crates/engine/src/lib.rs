//! What stands between a receiver and an exporter: component traits, the graph, the memory budget, queues, delivery, shutdown.
//!
//! ```text
//! receiver task: Permit::grow -> Request::receive -> Inlet::send -> processors (sync) -> Slot::push
//!                                                                                           |
//! exporter worker:  Exporter::export <- merge what waits <- Queue (lock-free, bounded) <----+
//! ```
//!
//! Invariants:
//! - No lock is taken and nothing is awaited between a receiver's `send` and the exporter's queue.
//! - For a pipeline with one exporter, `accepted = delivered + dropped + buffered`, in records, at all times. See [`metrics`].
//! - Nothing in this crate names a component, a protocol or a file format.
//!
//! With a disk buffer what is pushed is written and synced first ([`queue`]). Not here: sockets, formats, and what destinations are.

mod breaker;
pub mod budget;
pub mod component;
mod dead_letters;
pub mod delivery;
pub mod graph;
pub mod health;
pub mod inlet;
pub mod metrics;
mod mount;
mod outside;
mod panics;
pub mod queue;
pub mod reload;
mod replay;
pub mod running;
pub mod shutdown;
#[cfg(all(test, not(floodway_loom)))]
mod simulation;
pub mod stored;
mod sync;
pub mod testing;
mod worker;

#[cfg(all(test, floodway_loom))]
mod loom_tests;

pub use self::metrics::{ComponentKind, ComponentMetrics, describe_all};
pub use breaker::{BreakerState, BreakerStatus};
pub use budget::{Budget, BudgetFull, Permit};
pub use component::{
    AnyExporterConfig, AnyProcessorConfig, AnyReceiverConfig, BoxFuture, BuildContext, BuildError, Claim,
    ExportError, Exported, Exporter, ExporterConfig, ExporterFactory, ProcessError, Processor,
    ProcessorConfig, ProcessorFactory, Receiver, ReceiverConfig, ReceiverContext, ReceiverFactory, Rejected,
    Remainder, Scope, Serving,
};
pub use dead_letters::LetterFill;
pub use delivery::{
    BufferFull, BufferSettings, DeadLetterSettings, DeliverySettings, OnFull, QueueSettings, RetrySettings,
};
pub use graph::{ComponentSpec, Fingerprint, Graph, GraphError, GraphSpec, PipelineSpec};
pub use health::{BufferFill, ComponentStatus, QueueFill, State, Status};
pub use inlet::{Entered, Inlet, Refusal};
pub use reload::{Changes, ReloadReport};
pub use replay::Progress;
pub use running::{DrainReport, Monitor, Running};
pub use shutdown::{Shutdown, ShutdownTrigger};
