//! The end-to-end tests: which there are, which backends they need, and running those whose backends are here.
//!
//! They are the ignored tests in `crates/*/tests/e2e_*.rs`. A test's name begins with the backends it needs, as in
//! `tempo_telemetrygen_finds_spans`: words of the name, from the first, for as long as each is a backend. The
//! runner hands them the binary under test in `FLOODWAY_BIN`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use backends::{BACKENDS, Backend, Home, find};

use crate::shell::{cargo, read, root, run as run_command};

/// Test binaries of one crate.
pub(crate) struct Suite {
    package: String,
    tests: Vec<Test>,
}

struct Test {
    name: String,
    needs: Vec<&'static Backend>,
}

/// Backends that are not here, with the reason.
pub(crate) type Absent = BTreeMap<&'static str, String>;

/// Fails at once, rather than after half an hour, if a toolchain of a backend that the tests of this tree use is missing.
pub(crate) fn require_toolchains() -> Result<()> {
    let used = BACKENDS.iter().filter(|backend| ALWAYS.contains(&backend.name));
    let missing: BTreeSet<String> =
        used.flat_map(Backend::missing).map(|missing| missing.to_string()).collect();
    if !missing.is_empty() {
        bail!("CI=true, and toolchains are missing: {}", missing.into_iter().collect::<Vec<_>>().join("; "));
    }
    Ok(())
}

/// Wanted whatever the tests are called: most of them are driven by the generators.
const ALWAYS: &[&str] = &["tempo", "telemetrygen", "otelcol", "rsyslog", "logger"];

/// All end-to-end tests; builds their binaries.
pub(crate) fn find_suites() -> Result<Vec<Suite>> {
    let crates = root().join("crates");
    let mut suites = Vec::new();
    for entry in std::fs::read_dir(&crates).with_context(|| format!("cannot read {}", crates.display()))? {
        let dir = entry?.path();
        let package = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if has_e2e_files(&dir.join("tests")) {
            suites.push(Suite { tests: list_tests(&package)?, package });
        }
    }
    // Backends first: if they fail by themselves, the other failures need no explanation.
    suites.sort_by_key(|suite| (suite.package != "backends", suite.package.clone()));
    Ok(suites)
}

fn has_e2e_files(tests: &Path) -> bool {
    let is_e2e = |name: &str| name.starts_with("e2e_") && name.ends_with(".rs");
    std::fs::read_dir(tests)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_e2e(&entry.file_name().to_string_lossy())))
}

fn cargo_test(package: &str) -> std::process::Command {
    cargo(["test", "--package", package, "--test", "e2e_*", "--", "--ignored"])
}

fn list_tests(package: &str) -> Result<Vec<Test>> {
    let listed = read(cargo_test(package).args(["--list", "--format", "terse"]))?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(|name| Test { name: name.to_owned(), needs: needs(name) }).collect())
}

fn needs(test: &str) -> Vec<&'static Backend> {
    let function = test.rsplit("::").next().unwrap_or(test);
    function.split('_').map_while(|word| find(word).ok()).collect()
}

/// Installs what the tests need. Those that cannot be installed are returned with the reason, or are an error if `strict`.
pub(crate) fn install_needed(suites: &[Suite], strict: bool) -> Result<Absent> {
    let home = Home::from_env()?;
    let named =
        suites.iter().flat_map(|suite| &suite.tests).flat_map(|test| &test.needs).map(|backend| backend.name);
    let wanted: BTreeSet<&str> = named.chain(ALWAYS.iter().copied()).collect();
    let mut absent = Absent::new();
    for backend in BACKENDS.iter().filter(|backend| wanted.contains(backend.name)) {
        if let Err(error) = crate::backends_cmd::install(&home, backend) {
            if strict {
                return Err(error);
            }
            println!("{error:#}");
            let reason = error.to_string();
            absent.insert(backend.name, reason.lines().next().unwrap_or_default().to_owned());
        }
    }
    Ok(absent)
}

/// Says what will run, what will not, and why.
pub(crate) fn print_plan(suites: &[Suite], absent: &Absent) {
    for suite in suites {
        let skipped = suite.skipped(absent);
        println!(
            "end-to-end tests of {}: {} to run, {} skipped",
            suite.package,
            suite.tests.len() - skipped.len(),
            skipped.len()
        );
        for test in skipped {
            println!("  SKIPPED {}", test.name);
        }
    }
    for (name, reason) in absent {
        println!("SKIPPED all tests with {name}: {reason}");
    }
}

/// Runs them against the binary; every suite, even if one fails.
pub(crate) fn run(suites: &[Suite], absent: &Absent, floodway: &Path) -> Result<()> {
    let mut failed = Vec::new();
    for suite in suites {
        let mut command = cargo_test(&suite.package);
        command.env("FLOODWAY_BIN", floodway);
        let skipped = suite.skipped(absent);
        if skipped.len() == suite.tests.len() {
            continue;
        }
        if !skipped.is_empty() {
            command.arg("--exact").args(skipped.iter().flat_map(|test| ["--skip", &test.name]));
        }
        if let Err(error) = run_command(&mut command) {
            failed.push(error.to_string());
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

impl Suite {
    fn skipped(&self, absent: &Absent) -> Vec<&Test> {
        let lacks = |test: &&Test| test.needs.iter().any(|backend| absent.contains_key(backend.name));
        self.tests.iter().filter(lacks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(test: &str) -> Vec<&'static str> {
        needs(test).iter().map(|backend| backend.name).collect()
    }

    #[test]
    fn the_first_words_of_a_name_are_its_backends() {
        assert_eq!(names("tempo_finds_spans"), ["tempo"]);
        assert_eq!(names("module::otelcol_tempo_relays_to_kafka"), ["otelcol", "tempo"]);
        assert!(names("restarts_tempo").is_empty());
    }

    #[test]
    fn a_missing_backend_costs_exactly_its_tests() {
        let test = |name: &str| Test { name: name.to_owned(), needs: needs(name) };
        let suite = Suite {
            package: "x".to_owned(),
            tests: vec![test("tempo_a"), test("otelcol_b"), test("otelcol_tempo_c")],
        };
        let absent = Absent::from([("tempo", "no Go".to_owned())]);
        let skipped: Vec<&str> = suite.skipped(&absent).iter().map(|test| test.name.as_str()).collect();
        assert_eq!(skipped, ["tempo_a", "otelcol_tempo_c"]);
    }
}
