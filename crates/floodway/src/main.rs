//! The floodway program: a telemetry collector for peer-to-peer systems.
//!
//! This file reads the command line and hands over to one module a subcommand. What a component is, how a graph runs and what
//! a configuration may say live in other crates; here they are put together.
//!
//! # Exit codes
//! | code | means |
//! |---|---|
//! | 0 | done; for `run`: stopped by a signal, and everything that was inside was delivered |
//! | 1 | the configuration or the input is wrong |
//! | 2 | the command line is wrong |
//! | 3 | the configuration is good but the program could not start: an address is in use, say |
//! | 4 | stopped by a signal, and something was given up on at the deadline |
//! | 130, 143 | ended at once by a second SIGINT or SIGTERM |

mod admin;
mod cli;
mod commands;
mod component_tables;
mod exit;
mod logging;
mod reload;
mod summary;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => commands::run::run(&args),
        Command::Validate(args) => commands::validate::run(&args),
        Command::Schema => commands::schema::run(),
        Command::Components => commands::components::run(),
        Command::Redact(args) => commands::redact::run(&args),
        Command::Buffer(command) => commands::buffer::run(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => exit::failed(&error),
    }
}
