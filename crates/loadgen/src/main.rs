//! The command line of the load generator: `bench`, `drive`, `sink`.
//!
//! `bench` compares programs; `drive` and `sink` are its two ends on their own, for any OTLP gRPC server or client.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes OTLP load, receives it, and measures what the program in between costs.
#[derive(Parser)]
#[command(name = "loadgen", version)]
struct Cli {
    /// Worker threads of client and sink.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare Floodway with itself and with the OpenTelemetry Collector, in one run.
    Bench(commands::bench::Args),
    /// Send prepared requests to an OTLP gRPC server and count the answers.
    Drive(commands::drive::Args),
    /// Receive OTLP gRPC, count records, and search a sample of the requests for the peers of a seed.
    Sink(commands::sink::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            commands::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let threads = cli.threads.max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    match cli.command {
        Command::Bench(args) => runtime.block_on(commands::bench::run(args)),
        Command::Drive(args) => runtime.block_on(commands::drive::run(args)),
        Command::Sink(args) => runtime.block_on(commands::sink::run(args)),
    }
}
