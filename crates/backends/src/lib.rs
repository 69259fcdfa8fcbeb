//! Installs and starts the real servers and peers that the end-to-end tests and the benchmarks talk to: no container
//! engine, ordinary package registries only, everything on loopback.
//!
//! ```text
//! BACKENDS table -> install(): toolchain check, build or download, stamp   (cached, see `Home`)
//!                -> Server::start(): free ports, temp dir, wait until ready, killed on drop   (tests)
//!                -> up()/down(): fixed ports, keeps running, process id recorded              (by hand)
//!                -> run_tool(): a command that ends by itself, such as telemetrygen
//! ```
//!
//! Invariants:
//! - An install is complete or it does not count: the stamp is written last and holds the whole recipe, so that a new
//!   version or a changed recipe rebuilds and an interrupted build starts over.
//! - Only processes that this crate started are ever signalled, by their own id and start time.
//! - Every wait has a deadline, and every failure carries the end of the log.
//!
//! Deliberately absent: anything about the program under test (this crate depends on none of ours), installing
//! toolchains (what is missing is named instead), and printing (progress goes to a callback).

mod background;
mod catalog;
mod debian;
mod error;
mod home;
pub mod http;
mod install;
mod net;
mod process;
mod server;
mod servers;
mod steps;
mod toolchain;
mod tools;

pub use background::{Running, down, running, up};
pub use catalog::{BACKENDS, Backend, find};
pub use error::{Error, Result};
pub use home::Home;
pub use install::{Installed, install, is_installed};
pub use net::{PortSpec, Ports};
pub use server::{Options, Server};
pub use servers::{kafka, loki, tempo};
pub use servers::{loki, tempo};
pub use servers::{prometheus, tempo};
pub use servers::{loki, prometheus, tempo};
pub use steps::{Phase, Progress};
pub use toolchain::{Missing, Need};
pub use tools::run_tool;
