//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A telemetry collector for peer-to-peer systems: takes telemetry in, takes peer ids out, delivers the rest.
#[derive(Debug, Parser)]
#[command(name = "floodway", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the pipelines of a configuration file until SIGTERM or Ctrl-C.
    #[command(after_help = RUN_HELP)]
    Run(ConfigArgs),
    /// Check a configuration file without starting, binding or creating anything.
    #[command(after_help = "Exit codes: 0 good, 1 wrong.")]
    Validate(ConfigArgs),
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// List the receivers, processors and exporters that a configuration file may name.
    Components,
    /// Replace peer ids in any text: standard input to standard output.
    #[command(after_help = REDACT_HELP)]
    Redact(RedactArgs),
    /// Look into the folder of a disk buffer or of dead letters, and deliver what is in it.
    #[command(subcommand)]
    Buffer(BufferCommand),
}

/// The folder is the one that an exporter's `buffer.directory` or `dead_letters.directory` names.
#[derive(Debug, Subcommand)]
pub(crate) enum BufferCommand {
    /// Read everything in the folder and say what waits and what is damaged. Changes nothing.
    #[command(after_help = BUFFER_HELP)]
    Check {
        /// The folder.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what waits in the folder, one JSON object a line. Changes nothing.
    #[command(after_help = BUFFER_HELP)]
    Dump {
        /// The folder.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Also what is delivered and not yet deleted.
        #[arg(long)]
        all: bool,
    },
    /// Deliver what waits in the folder of a stopped process, through one exporter of a configuration file.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
}

const RUN_HELP: &str = "\
Environment: FLOODWAY_LOG overrides the log level (error, warn, info, debug, trace, or `info,receivers=debug`).

SIGHUP or POST /admin/reload reads the file again; if it is wrong, nothing changes and the log says why.

The first SIGTERM or SIGINT stops taking requests and delivers what is inside, within shutdown.deadline (30s); a second ends \
at once.

Exit codes: 0 everything delivered, 1 wrong configuration, 3 could not start, 4 something was dropped at the deadline, \
130/143 ended by a second signal.";

const REDACT_HELP: &str = "\
Example: kubectl logs ipfs-0 | floodway redact > shareable.log

The same key gives the same pseudonyms as a running pipeline. Without --key-file the key is the quickstart's, \
./floodway-data/redact.key, and is made if there is none.";

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The configuration file with the exporter.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The exporter's key in the file: `loki`, `otlp/second`. Only its settings count: no pipeline, no processor.
    #[arg(long, value_name = "ID")]
    pub(crate) exporter: String,
}

const REPLAY_HELP: &str = "\
What the destination takes is noted as delivered; what it refuses for good stays in the folder. While the destination cannot be \
reached it is tried again. Ctrl-C stops: what is left stays in the folder.

Exit codes: 0 everything delivered, 1 wrong folder or configuration, 3 could not start (a process uses the folder), 4 something is \
left in the folder, 130/143 ended by a second signal.";

const BUFFER_HELP: &str = "Exit codes: 0 sound, 1 something is damaged or cannot be read.";

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file (YAML); pipelines/quickstart.yaml is a start.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RedactArgs {
    /// The file with the key: 32 random bytes or more, as hex, base64 or raw.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// What stands in the place of an id: `pseudonym`, `pseudonym_same_length`, `bucket=N`, `mask` or `drop`.
    #[arg(long, value_name = "ACTION", default_value = "pseudonym", value_parser = parse_action)]
    pub(crate) action: redact::Action,
    /// What becomes of a `Qm...` that stands alone, which may be a peer id or the content id of a file.
    #[arg(long, value_name = "WHAT", default_value = "redact", value_parser = parse_qm_bare)]
    pub(crate) qm_bare: redact::QmBare,
    /// Print what was found to standard error at the end.
    #[arg(long)]
    pub(crate) stats: bool,
}

fn parse_action(text: &str) -> Result<redact::Action, String> {
    use redact::Action;
    match text {
        "pseudonym" => Ok(Action::Pseudonym),
        "pseudonym_same_length" | "pseudonym-same-length" => Ok(Action::PseudonymSameLength),
        "mask" => Ok(Action::Mask),
        "drop" => Ok(Action::Drop),
        _ => match text.strip_prefix("bucket=").map(str::parse) {
            Some(Ok(count)) => Ok(Action::Bucket(count)),
            _ => {
                Err("expected pseudonym, pseudonym_same_length, bucket=N (such as bucket=100), mask or drop"
                    .to_owned())
            }
        },
    }
}

fn parse_qm_bare(text: &str) -> Result<redact::QmBare, String> {
    match text {
        "redact" => Ok(redact::QmBare::Redact),
        "keep" => Ok(redact::QmBare::Keep),
        _ => Err("expected redact or keep".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn actions() {
        assert_eq!(parse_action("bucket=100"), Ok(redact::Action::Bucket(100)));
        assert!(parse_action("bucket=x").is_err());
        assert!(parse_action("hash").unwrap_err().contains("mask"));
    }
}
