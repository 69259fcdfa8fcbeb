//! `cargo xtask bench`: builds the load generator in the release profile and hands it the arguments.

use anyhow::Result;

use crate::shell::{cargo, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `loadgen bench`; `cargo xtask bench -- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    run_command(cargo(["run", "--release", "-p", "loadgen", "--", "bench"]).args(&args.rest))
}
