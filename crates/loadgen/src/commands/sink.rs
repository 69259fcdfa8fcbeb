//! `loadgen sink`: the server alone.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use loadgen::payload::PayloadSpec;
use loadgen::peers::PeerBook;
use loadgen::sink::{Received, Sink, SinkConfig};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:24317")]
    listen: SocketAddr,
    /// Decode and search one request in this many; 0: none.
    #[arg(long, default_value_t = 50)]
    check_every: u64,
    /// Search for the peers that a client with this seed sends.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds between two lines of progress.
    #[arg(long, default_value = "1", value_parser = super::seconds)]
    every: Duration,
    /// Stop after this many seconds; left out: at Ctrl-C.
    #[arg(long, value_parser = super::seconds)]
    seconds: Option<Duration>,
}

/// Receives until it is told to stop, and prints the counts as JSON. The exit code is 1 if a peer was found.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let peers = Arc::new(PeerBook::new(args.seed, PayloadSpec::default().peers));
    let config = SinkConfig { listen: args.listen, check_every: args.check_every, peers: Some(peers) };
    let sink = Sink::start(config).await?;
    super::progress(&format!("listening on {}", sink.addr()));
    tokio::select! {
        () = report_each(&sink, args.every.max(Duration::from_millis(100))) => {}
        () = end(args.seconds) => {}
    }
    let received = sink.received();
    super::output(&serde_json::to_string_pretty(&received)?)?;
    Ok(ExitCode::from(u8::from(received.leaks > 0)))
}

/// A line whenever something came since the last.
async fn report_each(sink: &Sink, every: Duration) {
    let mut last = Received::default();
    loop {
        tokio::time::sleep(every).await;
        let now = sink.received();
        if now == last {
            continue;
        }
        let rate = (now.records() - last.records()) as f64 / every.as_secs_f64();
        super::progress(&format!(
            "{} records in {} requests, {rate:.0}/s, {} peers in {} requests searched, {} malformed",
            now.records(),
            now.requests,
            now.leaks,
            now.checked,
            now.malformed
        ));
        last = now;
    }
}

async fn end(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        // Without a handler for Ctrl-C the process ends by it anyway.
        None => tokio::signal::ctrl_c().await.unwrap_or(()),
    }
}
