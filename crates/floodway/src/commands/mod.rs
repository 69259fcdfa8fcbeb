//! One module a subcommand.

pub(crate) mod buffer;
pub(crate) mod components;
pub(crate) mod redact;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod validate;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context as _;

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes to standard error; there is nothing to do if that fails.
fn note(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
