//! `cargo xtask fuzz TARGET`: cargo-fuzz on a target of `fuzz/`, starting from its committed corpus.
//!
//! What the fuzzer finds interesting goes to `fuzz/target/corpus/TARGET`, not into the committed corpus: that one is for
//! inputs somebody chose, and tests replay it. An input that fails is kept in `fuzz/artifacts/TARGET`; once the fault is
//! repaired it belongs into the corpus.

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, program, root, run as run_command, succeeds};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file name in fuzz/fuzz_targets, without `.rs`.
    target: String,
    /// How long to run.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { target, seconds } = args;
    let known = targets()?;
    if !known.contains(target) {
        bail!("there is no fuzz target {target:?}; there are: {}", known.join(", "));
    }
    if !succeeds(program("rustup").args(["run", "nightly", "rustc", "--version"])) {
        bail!(
            "fuzzing needs the nightly compiler, which is not installed: `rustup toolchain install nightly`"
        );
    }
    if !succeeds(&mut cargo(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not installed: `cargo install --locked cargo-fuzz`");
    }
    let found = root().join("fuzz/target/corpus").join(target);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let seeds = root().join("fuzz/corpus").join(target);
    // cargo-fuzz is asked through rustup's own `cargo`, which understands `+nightly`; the one that runs us does not.
    let mut fuzz = program("cargo");
    fuzz.args(["+nightly", "fuzz", "run", target]).arg(&found);
    if seeds.is_dir() {
        fuzz.arg(&seeds);
    }
    fuzz.arg("--").arg(format!("-max_total_time={seconds}"));
    run_command(fuzz.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN"))
}

fn targets() -> Result<Vec<String>> {
    let dir = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let stem = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok().and_then(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
    };
    let mut names: Vec<String> = entries.filter_map(stem).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_file_is_listed_in_the_manifest() {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        for target in &targets {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
                "{target} is not in fuzz/Cargo.toml"
            );
        }
        assert_eq!(
            manifest.matches("[[bin]]").count(),
            targets.len(),
            "fuzz/Cargo.toml lists a target without a file"
        );
    }
}
