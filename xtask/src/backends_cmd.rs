//! `cargo xtask backends`: the real servers, by hand.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backends::{BACKENDS, Backend, Home, Installed, Options, Phase, Progress, Running, find};
use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build or download them, once; cached outside the clone.
    Install(Names),
    /// What there is, what it needs, what is installed and running.
    List,
    /// Start them on their fixed loopback ports and leave them running.
    Up(Names),
    /// Stop the ones that `up` started, and delete their data.
    Down(Names),
    /// The addresses of the ones that `up` started.
    Url(Names),
}

#[derive(clap::Args)]
struct Names {
    /// Names from `cargo xtask backends list`.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Names {
    fn find(&self) -> Result<Vec<&'static Backend>> {
        self.names.iter().map(|name| find(name).map_err(Into::into)).collect()
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let home = Home::from_env()?;
    match &args.action {
        Action::Install(names) => names.find()?.into_iter().try_for_each(|backend| install(&home, backend)),
        Action::List => list(&home),
        Action::Up(names) => names.find()?.into_iter().try_for_each(|backend| up(&home, backend)),
        Action::Down(names) => names.find()?.into_iter().try_for_each(|backend| down(&home, backend)),
        Action::Url(names) => names.find()?.into_iter().try_for_each(|backend| url(&home, backend)),
    }
}

/// Installs one, telling each step.
pub(crate) fn install(home: &Home, backend: &'static Backend) -> Result<()> {
    let tell = |progress: Progress<'_>| {
        let note = match progress.phase {
            Phase::Started => "",
            Phase::Waiting => " (still running)",
            Phase::Retrying => " failed; once more",
        };
        println!("{} {}: {}{note}", clock(progress.elapsed), progress.backend, progress.step);
    };
    match backends::install(home, backend, &tell)? {
        Installed::Already => println!("{} {} is installed", backend.name, backend.version),
        Installed::Now(took) => println!("{} {} {}: installed", clock(took), backend.name, backend.version),
    }
    Ok(())
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("[{:2}:{:02}]", seconds / 60, seconds % 60)
}

fn list(home: &Home) -> Result<()> {
    let mut text = format!("cache: {}\n", home.root().display());
    for backend in BACKENDS {
        describe(&mut text, home, backend)?;
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        // `cargo xtask backends list | head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn describe(text: &mut String, home: &Home, backend: &Backend) -> Result<()> {
    let Backend { name, version, about, .. } = backend;
    let installed = if backends::is_installed(home, backend) { "installed" } else { "not installed" };
    writeln!(text, "\n{name} {version}: {about} ({installed})")?;
    for missing in backend.missing() {
        writeln!(text, "  {missing}")?;
    }
    let ports: Vec<String> =
        backend.ports.iter().map(|port| format!("{} {}", port.name, port.fixed)).collect();
    if !ports.is_empty() {
        writeln!(text, "  ports when started by hand: {}", ports.join(", "))?;
    }
    if let Some(running) = backends::running(home, backend)? {
        writeln!(text, "  running as process {} at {}", running.pid, running.url)?;
    }
    Ok(())
}

fn up(home: &Home, backend: &'static Backend) -> Result<()> {
    if !backend.is_server() {
        bail!("{} is a tool: nothing to start", backend.name);
    }
    install(home, backend)?;
    let Running { url, ports, pid, dir } = backends::up(home, backend, &Options::default())
        .with_context(|| format!("cannot start {}", backend.name))?;
    println!("{} runs as process {pid} at {url}; data and log in {}", backend.name, dir.display());
    for (name, port) in ports.iter() {
        println!("  {name} 127.0.0.1:{port}");
    }
    Ok(())
}

fn down(home: &Home, backend: &Backend) -> Result<()> {
    let was_running = backends::down(home, backend)?;
    println!(
        "{} {}",
        backend.name,
        if was_running { "is stopped, its data deleted" } else { "was not running" }
    );
    Ok(())
}

fn url(home: &Home, backend: &Backend) -> Result<()> {
    let name = backend.name;
    let running = backends::running(home, backend)?
        .with_context(|| format!("{name} is not running: `cargo xtask backends up {name}`"))?;
    println!("{}", running.url);
    Ok(())
}
