//! From a YAML file to what the engine builds: environment expansion, errors with places, JSON Schema.
//!
//! ```text
//! file --serde-saphyr--> tree of nodes with places --expand--> the same tree, ${...} replaced in scalars
//!      --cursor--> each component's own settings struct (by its factory)   --pipelines--> engine::GraphSpec
//! ```
//!
//! The tree in the middle costs nothing that matters and buys three things: every component is read on its own, so that all
//! faults are shown at once; a scalar's type is decided by its field, so that `port: ${PORT:-4317}` is a number; and values from
//! outside come in after the structure is fixed, so that they cannot change it.
//!
//! Invariant: no message of this crate holds a value that came from the environment or from a file.
//!
//! Not done here: whether an address is free, a folder can be written or two components want the same; that is the engine's
//! and the components' business when the graph is built.

mod cursor;
mod expand;
mod fault;
mod fingerprint;
mod load;
mod node;
mod origin;
mod pipelines;
mod registry;
mod report;
mod schema;
mod sections;
mod settings;
mod suggest;
mod units;

pub use expand::{Environment, ProcessEnvironment};
pub use load::{Config, Error, load, parse};
pub use origin::Origin;
pub use registry::Registry;
pub use report::{Problem, Problems};
pub use schema::schema;
pub use settings::{Admin, Limits, Log, LogFormat, Runtime, Settings, Shutdown};
pub use units::{ByteSize, Time};
