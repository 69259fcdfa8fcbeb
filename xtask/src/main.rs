//! The project's own commands, run as `cargo xtask`: tests with real servers, lints, benchmarks, fuzzing.
//!
//! Each subcommand is a module with its typed arguments and a `run`. Programs are run in the workspace's root and write
//! straight to the terminal. Deliberately absent: anything a plain `cargo` command does as well.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program for developers")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backends_cmd;
mod bench;
mod ci;
mod e2e;
mod fuzz;
mod lint;
mod shell;
#[cfg(test)]
mod size;
#[cfg(test)]
mod structure;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the tests: all, with real servers; or only the hermetic ones.
    Test(test::Args),
    /// Install, start and stop the real servers that the tests use.
    Backends(backends_cmd::Args),
    /// Measure Floodway against its peers; the arguments go to the load generator.
    Bench(bench::Args),
    /// Feed a decoder mutated input until it fails or the time is over.
    Fuzz(fuzz::Args),
    /// Check format, lints, documentation, dependencies.
    Lint,
    /// What must pass before a change is merged: lint, then all tests.
    Ci,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Test(args) => test::run(&args),
        Task::Backends(args) => backends_cmd::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Lint => lint::run(),
        Task::Ci => ci::run(),
    }
}
