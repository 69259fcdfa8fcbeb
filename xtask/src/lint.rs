//! `cargo xtask lint`: format, clippy, documentation, and cargo-deny (licences, bans, sources, advisories).
//!
//! Advisories come from a repository on GitHub. Where that cannot be reached the check is skipped, and said to be: an
//! unreachable host says nothing about the change. Everything else fails the lint.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, heading, program, run as run_command, succeeds};

/// What `.ci/run` installs; the results of another version may differ.
const CARGO_DENY: &str = "0.20.2";

pub(crate) fn run() -> Result<()> {
    heading("format");
    run_command(&mut cargo(["fmt", "--all", "--check"]))?;
    heading("clippy");
    run_command(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    heading("documentation");
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    run_command(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    heading("dependencies");
    let deny = find_cargo_deny()?;
    run_command(program(&deny).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    advisories(&deny)
}

/// On the PATH, or where `.ci/run` puts it.
fn find_cargo_deny() -> Result<PathBuf> {
    let cached = std::env::home_dir().unwrap_or_default().join(".cache/floodway/tools/bin/cargo-deny");
    [PathBuf::from("cargo-deny"), cached]
        .into_iter()
        .find(|path| succeeds(program(path).arg("--version")))
        .with_context(|| {
            format!("cargo-deny is missing: `cargo install --locked cargo-deny --version {CARGO_DENY}`")
        })
}

fn advisories(deny: &PathBuf) -> Result<()> {
    println!("$ cargo-deny check advisories");
    let mut check = program(deny);
    check.args(["check", "advisories"]).stdin(Stdio::null());
    let output = check.output().context("cannot run cargo-deny")?;
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    if output.status.success() {
        println!("{}", text.trim());
    } else if unreachable(&text) {
        println!(
            "SKIPPED: the advisory database cannot be reached from here; run `cargo deny check advisories` where it can"
        );
    } else {
        bail!("`cargo-deny check advisories` failed:\n{text}");
    }
    Ok(())
}

fn unreachable(text: &str) -> bool {
    text.contains("failed to fetch advisory database")
}
