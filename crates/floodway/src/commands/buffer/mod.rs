//! `floodway buffer`: looks into the folder of a disk buffer or of dead letters, and sends what is in it.
//!
//! `check` and `dump` change nothing and take no lock, so that they also work beside a running process, which may be writing
//! while they read. `folder` reads the records, `show` writes them as JSON, `replay` delivers them.

mod folder;
mod replay;
mod show;

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::BufferCommand;
use crate::exit;

use folder::Contents;
pub(crate) use folder::{Folder, faults, waiting};

pub(crate) fn run(command: &BufferCommand) -> anyhow::Result<ExitCode> {
    match command {
        BufferCommand::Check { directory, json } => check(directory, *json),
        BufferCommand::Dump { directory, all } => dump(directory, *all),
        BufferCommand::Replay(args) => replay::run(args),
    }
}

fn check(directory: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let contents = Folder::open(directory)?.check()?;
    let text = if json {
        format!("{}\n", show::contents(directory, &contents))
    } else {
        format!("{}: {contents}", directory.display())
    };
    super::print(&text)?;
    Ok(verdict(&contents))
}

fn dump(directory: &Path, all: bool) -> anyhow::Result<ExitCode> {
    let folder = Folder::open(directory)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    let mut written = Ok(());
    let contents = folder.records(|found| {
        // A reader that has gone away wants no more lines; the folder is still looked through to its end for the verdict.
        if written.is_err() || !(all || found.is_waiting()) {
            return;
        }
        line.clear();
        show::line(&found, &mut line);
        line.push(b'\n');
        written = out.write_all(&line);
    })?;
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(error).context("cannot write to standard output");
        }
        _ => {}
    }
    if !contents.is_sound() {
        super::note(&format!("{}: {contents}", directory.display()));
    }
    Ok(verdict(&contents))
}

fn verdict(contents: &Contents) -> ExitCode {
    if contents.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) }
}
