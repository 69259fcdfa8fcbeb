//! Exit codes, and the last words before them.

use std::io::Write as _;
use std::process::ExitCode;

/// The configuration or the input is wrong.
pub(crate) const INVALID: u8 = 1;
/// The configuration is good, but the program could not start.
pub(crate) const NO_START: u8 = 3;
/// Something was given up on at the shutdown deadline.
pub(crate) const LOSS: u8 = 4;

/// An error whose exit code is not [`INVALID`].
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

/// An error with [`NO_START`].
pub(crate) fn no_start(message: impl Into<String>) -> anyhow::Error {
    Coded { code: NO_START, message: message.into() }.into()
}

/// Prints an error with its causes, and gives its exit code.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{error:#}");
    ExitCode::from(error.downcast_ref::<Coded>().map_or(INVALID, |coded| coded.code))
}
