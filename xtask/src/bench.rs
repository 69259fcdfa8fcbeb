//! `cargo xtask bench`: builds the program and the load generator in the release profile and hands the latter the arguments.

use anyhow::Result;

use crate::shell::{cargo, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `loadgen bench`; `cargo xtask bench -- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    run_command(&mut cargo(["build", "--release", "-p", "floodway"]))?;
    run_command(cargo(["run", "--release", "-p", "loadgen", "--", "bench"]).args(&args.rest))
}
