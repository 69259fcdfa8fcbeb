//! Backends that are commands and not servers, such as telemetrygen: run to their end.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::catalog::find;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::install::is_installed;
use crate::process;
use crate::steps::tail;

/// Runs an installed tool with `args` and returns what it printed on both outputs. Its process is ended after `limit`.
///
/// # Errors
/// [`Error::NotInstalled`] says how to install it; [`Error::Tool`] and [`Error::Timeout`] carry the end of its output.
pub fn run_tool(name: &str, args: &[&str], limit: Duration) -> Result<String> {
    let backend = find(name)?;
    if backend.is_server() {
        return Err(Error::Kind { name: backend.name, is: "server", wanted: "tool" });
    }
    let home = Home::from_env()?;
    if !is_installed(&home, backend) {
        return Err(Error::NotInstalled { name: backend.name, version: backend.version });
    }
    let temp = std::env::temp_dir();
    // A file rather than a pipe: the tool never blocks on us, however much it prints.
    let output = tempfile::NamedTempFile::new().map_err(Error::io("create a file in", &temp))?;
    let handle = || output.as_file().try_clone().map_err(Error::io("open", output.path()));
    let program = backend.place(&home).bin(backend.name);
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::null()).stdout(handle()?).stderr(handle()?);
    let mut child =
        command.spawn().map_err(|source| Error::Spawn { program: program.display().to_string(), source })?;
    let waited = process::wait(&mut child, limit).map_err(Error::io("wait for", &program))?;
    let Some(status) = waited else {
        process::stop_child(&mut child, Duration::from_secs(1)).map_err(Error::io("end", &program))?;
        let detail = format!("; the end of its output:\n{}", tail(output.path()));
        return Err(Error::Timeout { what: format!("{name} {}", args.join(" ")), limit, detail });
    };
    if !status.success() {
        return Err(Error::Tool { name: backend.name, status, output: tail(output.path()) });
    }
    let bytes = std::fs::read(output.path()).map_err(Error::io("read", output.path()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
