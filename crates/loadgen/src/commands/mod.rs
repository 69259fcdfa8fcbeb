//! One module per subcommand: its arguments and what it does with them. Results go to standard output, progress to standard
//! error, so that a script can read the former.

pub(crate) mod bench;
pub(crate) mod drive;
pub(crate) mod sink;

use std::io::Write as _;
use std::time::Duration;

use loadgen::grpc::Signal;

/// Writes a result.
fn output(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Writes a line of progress; nobody need be listening.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Seconds, with a fraction, of an argument.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// A signal that there are payloads for.
fn signal(text: &str) -> Result<Signal, String> {
    let payloads = [Signal::Traces, Signal::Logs];
    payloads.into_iter().find(|signal| signal.name() == text).ok_or_else(|| "traces or logs".into())
}
