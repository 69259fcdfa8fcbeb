//! `loadgen drive`: the client alone.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use loadgen::driver::{Driver, DriverConfig, Stop};
use loadgen::grpc::Signal;
use loadgen::payload::{PayloadSet, PayloadSpec};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to send: host:port of an OTLP gRPC server.
    #[arg(long, default_value = "127.0.0.1:4317")]
    target: String,
    /// traces or logs.
    #[arg(long, default_value = "traces", value_parser = super::signal)]
    signal: Signal,
    /// Records a second; left out: as many as the server takes.
    #[arg(long)]
    rate: Option<f64>,
    /// How long to send.
    #[arg(long, default_value = "10", value_parser = super::seconds, conflicts_with = "records")]
    seconds: Duration,
    /// How many records to send, instead of how long.
    #[arg(long)]
    records: Option<u64>,
    /// Records a request.
    #[arg(long, default_value_t = 1_000)]
    per_request: usize,
    /// Distinct requests, sent in turn.
    #[arg(long, default_value_t = 16)]
    distinct: usize,
    /// Per cent of the records that name a peer.
    #[arg(long, default_value_t = 10)]
    peer_percent: u32,
    /// Seed of everything that is made up; a sink with the same seed knows the peers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compress requests (beforehand).
    #[arg(long)]
    gzip: bool,
    /// TCP connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way at once on each connection.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// How long an answer may take.
    #[arg(long, default_value = "20", value_parser = super::seconds)]
    timeout: Duration,
}

/// Sends, and prints the counts as JSON. The exit code is 1 if a request failed.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let payloads = Arc::new(PayloadSet::new(PayloadSpec {
        signal: args.signal,
        records_per_request: args.per_request,
        distinct: args.distinct,
        peer_percent: args.peer_percent,
        gzip: args.gzip,
        seed: args.seed,
        ..Default::default()
    })?);
    super::progress(&format!(
        "{} distinct requests of {} {} of {:.0} bytes each",
        args.distinct,
        args.per_request,
        args.signal.name(),
        payloads.bytes_per_record()
    ));
    let config = DriverConfig {
        target: args.target,
        connections: args.connections,
        in_flight: args.in_flight,
        timeout: args.timeout,
    };
    let driver = Driver::connect(config, payloads).await?;
    let stop = args.records.map_or(Stop::After(args.seconds), Stop::Records);
    let report = driver.run(args.rate, stop).await;
    super::output(&serde_json::to_string_pretty(&report)?)?;
    Ok(ExitCode::from(u8::from(report.failed_requests > 0)))
}
