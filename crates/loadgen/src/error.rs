//! What can go wrong around a run. A request that fails during a run is a figure of the report, not an error of this type.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not be prepared, made or reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sink could not take its address.
    #[error("cannot listen on {addr}: {source} (is another sink running? choose another --listen)")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The driver could not reach its target.
    #[error("cannot connect to {target}: {reason} (is the program under test running and listening there?)")]
    Connect {
        /// `host:port` as given.
        target: String,
        /// What failed: resolve, connect or HTTP/2 handshake.
        reason: String,
    },
    /// A program under test could not be started.
    #[error("cannot start {}: {source} (build it first, or give its path)", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A program under test ended, or did not open its port in time.
    #[error("{system} {what}; the end of its log {}:\n{tail}", log.display())]
    NotReady {
        /// The name of the system under test.
        system: &'static str,
        /// `ended with ...` or `did not listen within ...`.
        what: String,
        /// Where its output went.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A program needed for this choice of systems is absent.
    #[error("{what} is missing: {hint}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file under `/proc` does not look as expected.
    #[error("{}: no usable {what} (the benchmark reads Linux's /proc)", path.display())]
    Proc {
        /// Which file.
        path: PathBuf,
        /// What was looked for in it.
        what: &'static str,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The report could not be printed.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// For `map_err`: an I/O error with the path it happened on.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { path, source }
    }
}
