//! `cargo xtask test`: the hermetic tests, the models of what is lock-free, then the same program against real servers.
//!
//! ```text
//! hermetic tests -> models under loom -> install backends -> release build -> validate pipelines/ -> what is skipped and why -> end-to-end
//! ```
//! The end-to-end tests come last, so that the run ends with the test runner's own lines. A backend that cannot be
//! installed here costs its tests, with the reason printed; with `CI=true` it costs the run.
//!
//! Property tests draw from a fixed seed (`.cargo/config.toml`), so that whether a run passes is no matter of luck. `--explore`
//! is for luck: it runs the hermetic tests with seeds nobody has tried.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::e2e;
use crate::shell::{cargo, heading, program, root, run as run_command, target_dir};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the hermetic tests: no network, no other programs.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Only the hermetic tests, this many times, with another random seed for the property tests each time.
    #[arg(long, value_name = "TIMES", conflicts_with = "fast")]
    pub(crate) explore: Option<u32>,
    /// Only the models of what is lock-free, in every interleaving.
    #[arg(long, conflicts_with_all = ["fast", "explore"])]
    pub(crate) loom: bool,
}

/// Where proptest looks for the seed of its generator.
const SEED: &str = "PROPTEST_RNG_SEED";

/// The crates whose types change with this flag; their models are the tests in modules called `loom_tests`.
const LOOM: (&str, &[&str]) = ("--cfg floodway_loom", &["model", "engine"]);

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(times) = args.explore {
        return explore(times);
    }
    if args.loom {
        return run_models();
    }
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    if !args.fast && strict {
        e2e::require_toolchains()?;
    }
    heading("hermetic tests");
    run_command(&mut cargo(["test", "--workspace"]))?;
    if args.fast {
        return Ok(());
    }
    run_models()?;
    let suites = e2e::find_suites()?;
    heading("real servers");
    let absent = e2e::install_needed(&suites, strict)?;
    heading("release build");
    run_command(&mut cargo(["build", "--release", "-p", "floodway"]))?;
    let floodway = target_dir()?.join("release/floodway");
    heading("pipelines");
    let pipelines = validate_pipelines(&floodway)?;
    heading("summary so far");
    println!("hermetic tests: passed");
    println!("models under loom: passed");
    println!("pipelines validated: {pipelines}");
    e2e::print_plan(&suites, &absent);
    heading("end-to-end tests");
    e2e::run(&suites, &absent, &floodway)
}

/// Runs the hermetic tests with random seeds; an error names those with which they failed.
fn explore(times: u32) -> Result<()> {
    let mut failed = Vec::new();
    for n in 1..=times {
        // The seed of a hash map is the randomness that the standard library has.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), n).to_string();
        heading(&format!("{n} of {times}: {SEED}={seed}"));
        let mut tests = cargo(["test", "--workspace", "--quiet", "--no-fail-fast"]);
        if run_command(tests.env(SEED, &seed)).is_err() {
            failed.push(format!("{SEED}={seed}"));
        }
    }
    if !failed.is_empty() {
        bail!("tests failed with {}; one again: `{} cargo test -p CRATE TEST`", failed.join(", "), failed[0]);
    }
    println!("\n{times} runs with as many seeds: all passed");
    Ok(())
}

/// Has loom try the interleavings of what is lock-free. In a target directory of its own: other flags, other builds of everything.
fn run_models() -> Result<()> {
    heading("models under loom");
    let (flag, crates) = LOOM;
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags = format!("{flags} {flag}");
    let mut command = cargo(["test", "--lib"]);
    command.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", target_dir()?.join("loom"));
    command.args(crates.iter().flat_map(|name| ["--package", name]));
    run_command(command.arg("loom_tests::"))
}

/// Checks each file under pipelines/ with the built binary; returns how many there are.
fn validate_pipelines(floodway: &Path) -> Result<usize> {
    let mut files = Vec::new();
    yaml_files(&root().join("pipelines"), &mut files)?;
    files.sort_unstable();
    let mut refused = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(root()).unwrap_or(file);
        if run_command(program(floodway).arg("validate").arg(relative)).is_err() {
            refused.push(relative.display().to_string());
        }
    }
    if !refused.is_empty() {
        bail!("floodway refuses {}; its reasons are above", refused.join(", "));
    }
    Ok(files.len())
}

fn yaml_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            yaml_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    Ok(())
}
