//! `loadgen bench`: the comparison.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use loadgen::bench::{BenchConfig, Programs, SCENARIOS, System};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds of each scenario; all systems once in each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load per measurement.
    #[arg(long, default_value = "6", value_parser = super::seconds)]
    seconds: Duration,
    /// Seconds of load before each measurement.
    #[arg(long, default_value = "2", value_parser = super::seconds)]
    warm_up: Duration,
    /// Scenarios, separated by commas; left out: traces, logs, memory. `list` shows them all.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Systems, separated by commas; left out: those of each scenario.
    #[arg(long, value_delimiter = ',', value_parser = system)]
    systems: Vec<System>,
    /// The floodway binary.
    #[arg(long, default_value = "target/release/floodway")]
    floodway: PathBuf,
    /// Folder of the pipelines measured.
    #[arg(long, default_value = "pipelines/bench")]
    pipelines: PathBuf,
    /// An OpenTelemetry Collector to use; left out: one is built into the cache of the end-to-end tests.
    #[arg(long)]
    otelcol: Option<PathBuf>,
    /// Keep the program under test on the last core, client and sink on the first.
    #[arg(long)]
    pin: bool,
    /// Seed of the payloads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Client connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way at once on each connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Logs, generated configurations and the report go here.
    #[arg(long, default_value = "target/bench")]
    work_dir: PathBuf,
    /// The report as JSON; left out: report.json in the work directory.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit with 1 if a goal was not reached.
    #[arg(long)]
    check: bool,
}

/// Measures and reports.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.only.iter().any(|name| name == "list") {
        for scenario in SCENARIOS {
            let systems: Vec<_> = scenario.systems.iter().map(|system| system.name()).collect();
            super::output(&format!("{:8} {} ({})", scenario.name, scenario.about, systems.join(", ")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let json = args.json.clone().unwrap_or_else(|| args.work_dir.join("report.json"));
    let check = args.check;
    let config = config(args)?;
    let report = loadgen::bench::run(&config, &mut std::io::stderr()).await?;
    report.write_json(&json)?;
    super::output(&report.to_text())?;
    super::output(&format!("All figures: {}", json.display()))?;
    Ok(ExitCode::from(u8::from(check && !report.all_reached())))
}

fn config(args: Args) -> anyhow::Result<BenchConfig> {
    let otelcol = match args.otelcol {
        Some(path) => Some(path),
        None if needs_collector(&args.only, &args.systems) => Some(installed_collector()?),
        None => None,
    };
    Ok(BenchConfig {
        rounds: args.rounds.max(1),
        load: args.seconds,
        warm_up: args.warm_up,
        scenarios: args.only,
        systems: args.systems,
        seed: args.seed,
        connections: args.connections,
        in_flight: args.in_flight,
        pin: args.pin,
        programs: Programs { floodway: args.floodway, pipelines: args.pipelines, otelcol },
        work_dir: args.work_dir,
    })
}

fn needs_collector(only: &[String], systems: &[System]) -> bool {
    let chosen = systems.is_empty() || systems.iter().any(|system| system.is_collector());
    let harness_only = !only.is_empty() && only.iter().all(|name| name == "harness");
    chosen && !harness_only
}

/// Builds the Collector unless it is there. It needs Go, and minutes at the first time.
fn installed_collector() -> anyhow::Result<PathBuf> {
    let home = backends::Home::from_env()?;
    let backend = backends::find("otelcol")?;
    if !backends::is_installed(&home, backend) {
        super::progress("building the OpenTelemetry Collector into the cache, this takes some minutes");
    }
    let progress = |now: backends::Progress<'_>| {
        super::progress(&format!("{}: {} ({:?})", now.backend, now.step, now.phase));
    };
    backends::install(&home, backend, &progress)
        .context("without it: --systems floodway-forward,floodway-redact,floodway-redact-sample")?;
    Ok(home.root().join("otelcol/bin/otelcol"))
}

fn system(text: &str) -> Result<System, String> {
    System::from_name(text).ok_or_else(|| {
        let known: Vec<_> = System::ALL.iter().map(|system| system.name()).collect();
        format!("one of {}", known.join(", "))
    })
}
