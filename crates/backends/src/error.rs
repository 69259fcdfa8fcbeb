//! The one error type of this crate. Each message says what was being done, where, and what to do about it.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::toolchain::Missing;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a backend could not be installed, started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is not in the table.
    #[error("there is no backend called {name:?}; there are: {known}")]
    Unknown {
        /// The name as given.
        name: String,
        /// All names, comma-separated.
        known: String,
    },
    /// Installed never, partly, or in another version.
    #[error("{name} {version} is not installed: run `cargo xtask backends install {name}`")]
    NotInstalled {
        /// The backend.
        name: &'static str,
        /// The version that the table asks for.
        version: &'static str,
    },
    /// Asked to start a tool, or to run a server as if it were a tool.
    #[error("{name} is a {is}, not a {wanted}")]
    Kind {
        /// The backend.
        name: &'static str,
        /// What it is.
        is: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A toolchain is missing or too old.
    #[error("{backend} cannot be installed here: {}", crate::toolchain::list(missing))]
    Toolchain {
        /// The backend.
        backend: &'static str,
        /// Each missing toolchain and how to get it.
        missing: Vec<Missing>,
    },
    /// An installation step ended with an error.
    #[error("{backend}: step `{step}` failed ({status}); the end of {}:\n{tail}", log.display())]
    Step {
        /// The backend.
        backend: &'static str,
        /// What the step does.
        step: String,
        /// How its process ended.
        status: String,
        /// The whole log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// A command said something that cannot be understood.
    #[error("`{command}` printed something unexpected: {reason}")]
    Output {
        /// The command.
        command: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// No place for the cache.
    #[error(
        "no cache directory: set FLOODWAY_BACKENDS to an absolute path (HOME and XDG_CACHE_HOME are unset too)"
    )]
    NoHome,
    /// No free loopback port, or a port was asked for that the server does not have.
    #[error("{0}")]
    Port(String),
    /// The server's process ended while we waited for it.
    #[error("{name} ended before it was ready ({status}); the end of its log:\n{tail}")]
    Ended {
        /// The backend.
        name: &'static str,
        /// How the process ended.
        status: ExitStatus,
        /// The last lines of its log.
        tail: String,
    },
    /// A deadline passed.
    #[error("{what} took longer than {} s{detail}", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        limit: Duration,
        /// What is known, such as the end of a log; may be empty.
        detail: String,
    },
    /// A tool ran and ended with an error.
    #[error("{name} failed ({status}):\n{output}")]
    Tool {
        /// The tool.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Both its outputs, the end of them.
        output: String,
    },
    /// A request over HTTP failed or was answered with something unexpected.
    #[error("GET {url}: {reason}")]
    Http {
        /// The address asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done to which path; made for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
