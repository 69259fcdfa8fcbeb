//! A running server that belongs to a test: free ports, its own directory, gone when the value is dropped.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::catalog::{Backend, Launch, Ready, Site, find};
use crate::error::{Error, Result};
use crate::home::{Home, Place};
use crate::http::{self, Response};
use crate::install::is_installed;
use crate::net::Ports;
use crate::process;
use crate::steps::tail;

const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// On drop the data goes too, so a clean end is worth only a short wait.
const DROP_GRACE: Duration = Duration::from_secs(1);
/// A free port may be taken by another process before the server binds it.
const PORT_ATTEMPTS: usize = 3;

/// What a test may choose about a server. `Options::default()` will do for most.
#[derive(Debug, Clone)]
pub struct Options {
    /// Configuration text, for servers that need one from the test (otelcol). `@data@` stands for a data directory,
    /// `@otlp_grpc@` and the like for the number of the port of that name.
    pub config: Option<String>,
    /// Arguments after those that every start has.
    pub args: Vec<String>,
    /// Environment variables to set.
    pub env: Vec<(String, String)>,
    /// A command that runs the server as itself, such as `taskset -c 0`; it must `exec`, or the server outlives it.
    pub wrapper: Vec<String>,
    /// How long the server may take until it is ready.
    pub ready_within: Duration,
    /// The cache to take it from; that of the environment if `None`.
    pub home: Option<Home>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config: None,
            args: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
            ready_within: Duration::from_secs(90),
            home: None,
        }
    }
}

impl Options {
    /// The defaults with this configuration text.
    pub fn with_config(text: impl Into<String>) -> Self {
        Self { config: Some(text.into()), ..Self::default() }
    }

    pub(crate) fn home(&self) -> Result<Home> {
        self.home.clone().map_or_else(Home::from_env, Ok)
    }
}

/// A real server on free loopback ports, ready for requests. Dropping it ends its process (SIGTERM, after one second
/// SIGKILL) and deletes its data; if the thread is panicking, the end of its log is printed first.
#[derive(Debug)]
pub struct Server {
    backend: &'static Backend,
    child: Child,
    ports: Ports,
    url: String,
    dir: TempDir,
    options: Options,
}

impl Server {
    /// Starts the installed server called `name` and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] says how to install it; [`Error::Ended`] and [`Error::Timeout`] carry the end of its log.
    pub fn start(name: &str, options: &Options) -> Result<Self> {
        let backend = find(name)?;
        let mut attempt = 1;
        loop {
            match Self::start_once(backend, options) {
                Err(Error::Ended { tail, .. })
                    if attempt < PORT_ATTEMPTS && tail.contains("ddress already in use") =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn start_once(backend: &'static Backend, options: &Options) -> Result<Self> {
        let ports = Ports::free(backend.ports)?;
        let temp = std::env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix(&format!("floodway-{}-", backend.name))
            .tempdir()
            .map_err(Error::io("create a directory in", &temp))?;
        let (child, launch) = spawn(backend, options, dir.path(), &ports, Detach::No)?;
        let mut server = Self { backend, child, ports, url: launch.url, dir, options: options.clone() };
        await_ready(backend, &mut server.child, server.dir.path(), &launch.ready, options.ready_within)?;
        Ok(server)
    }

    /// Where it is asked: `http://127.0.0.1:PORT`, or `127.0.0.1:PORT` for one that does not speak HTTP.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of the port called `name`; `BACKENDS` lists the names.
    ///
    /// # Errors
    /// [`Error::Port`] lists the names there are.
    pub fn port(&self, name: &str) -> Result<u16> {
        self.ports.get(name)
    }

    /// Asks `path?key=value...` at its address and waits up to 20 s, whatever the status of the answer.
    ///
    /// # Errors
    /// [`Error::Http`] if there is no answer.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response> {
        http::get(&format!("{}{}", self.url, http::with_query(path, query)), REQUEST_TIMEOUT)
    }

    /// The id of its process, for measuring it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    ///
    /// # Errors
    /// [`Error::Io`] if its log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.dir.path().join(LOG);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ends its process and waits, up to `grace` for a clean end. Its ports and data are kept for [`Self::resume`].
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be waited for.
    pub fn interrupt(&mut self, grace: Duration) -> Result<()> {
        let ended = process::stop_child(&mut self.child, grace);
        ended.map(|_| ()).map_err(Error::io("end the process of", self.dir.path()))
    }

    /// Starts it again after [`Self::interrupt`], on the same ports with the data that it left, and waits until it is ready.
    /// Its log begins anew.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn resume(&mut self) -> Result<()> {
        let (child, launch) = spawn(self.backend, &self.options, self.dir.path(), &self.ports, Detach::No)?;
        self.child = child;
        let limit = self.options.ready_within;
        await_ready(self.backend, &mut self.child, self.dir.path(), &launch.ready, limit)
    }

    /// Where it is installed.
    pub(crate) fn place(&self) -> Result<Place> {
        Ok(self.backend.place(&self.options.home()?))
    }

    /// Ends it and waits, up to `grace` for a clean end; then returns its log.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be waited for or its log cannot be read.
    pub fn stop(mut self, grace: Duration) -> Result<String> {
        process::stop_child(&mut self.child, grace)
            .map_err(Error::io("end the process of", self.dir.path()))?;
        self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail(self.backend.name, &tail(&self.dir.path().join(LOG)));
        }
        // Nobody could act on a failure here; the process is gone or cannot be ended.
        let _ended = process::stop_child(&mut self.child, DROP_GRACE);
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failing test, and only then")]
fn print_tail(name: &str, tail: &str) {
    eprintln!("the end of the log of {name}:\n{tail}");
}

/// The log inside a server's directory.
pub(crate) const LOG: &str = "log.txt";

/// Whether the server stays when the process that starts it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detach {
    /// It belongs to us, and Ctrl-C reaches it too.
    No,
    /// A process group of its own, so that Ctrl-C in our terminal does not end it.
    Yes,
}

/// Starts the process; both its outputs go to `LOG` in `dir`.
pub(crate) fn spawn(
    backend: &'static Backend,
    options: &Options,
    dir: &Path,
    ports: &Ports,
    detach: Detach,
) -> Result<(Child, Launch)> {
    let home = options.home()?;
    let launch = backend.launch.ok_or(Error::Kind { name: backend.name, is: "tool", wanted: "server" })?;
    if !is_installed(&home, backend) {
        return Err(Error::NotInstalled { name: backend.name, version: backend.version });
    }
    let place = backend.place(&home);
    let launch = launch(&Site { place: &place, dir, ports, options })?;
    let path = dir.join(LOG);
    let log = File::create(&path).map_err(Error::io("create", &path))?;
    for words in &launch.before {
        run_before(backend, words, &log, dir)?;
    }
    let words = options.wrapper.iter().chain([&launch.program]).chain(&launch.args).chain(&options.args);
    let mut command = command(words, dir, &log)?;
    command.envs(options.env.iter().map(|(key, value)| (key, value)));
    if detach == Detach::Yes {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| Error::Spawn { program, source })?;
    Ok((child, launch))
}

fn run_before(backend: &'static Backend, words: &[String], log: &File, dir: &Path) -> Result<()> {
    let mut command = command(words.iter(), dir, log)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|source| Error::Spawn { program, source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Ended { name: backend.name, status, tail: tail(&dir.join(LOG)) })
}

fn command<'a>(mut words: impl Iterator<Item = &'a String>, dir: &Path, log: &File) -> Result<Command> {
    let handle = || log.try_clone().map_err(Error::io("open", &dir.join(LOG)));
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).current_dir(dir).stdin(Stdio::null()).stdout(handle()?).stderr(handle()?);
    Ok(command)
}

/// Waits until the server is ready; on failure its process is ended before the error is returned.
pub(crate) fn await_ready(
    backend: &'static Backend,
    child: &mut Child,
    dir: &Path,
    ready: &Ready,
    limit: Duration,
) -> Result<()> {
    let log = dir.join(LOG);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io("wait for the process in", dir))? {
            return Err(Error::Ended { name: backend.name, status, tail: tail(&log) });
        }
        if is_ready(ready, &log) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let detail = format!(" to become ready; the end of its log:\n{}", tail(&log));
            process::stop_child(child, DROP_GRACE).map_err(Error::io("end the process in", dir))?;
            return Err(Error::Timeout { what: backend.name.to_owned(), limit, detail });
        }
        std::thread::sleep(POLL);
    }
}

fn is_ready(ready: &Ready, log: &Path) -> bool {
    match ready {
        Ready::Http(url) => http::get(url, PROBE_TIMEOUT).is_ok_and(|response| response.status == 200),
        Ready::Tcp(port) => std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, *port)).is_ok(),
        Ready::Log(text) => {
            std::fs::read(log).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_says_how_to_install_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { home: Some(Home::at(dir.path())), ..Options::default() };
        let error = Server::start("tempo", &options).unwrap_err().to_string();
        assert!(error.ends_with("is not installed: run `cargo xtask backends install tempo`"), "{error}");
    }

    #[test]
    fn a_tool_cannot_be_started_as_a_server() {
        let error = Server::start("telemetrygen", &Options::default()).unwrap_err().to_string();
        assert_eq!(error, "telemetrygen is a tool, not a server");
    }

    fn wait_for(script: &str, ready: &Ready, limit: Duration) -> (Result<()>, Child) {
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join(LOG)).unwrap();
        let words = ["sh", "-c", script].map(str::to_owned);
        let mut child = command(words.iter(), dir.path(), &log).unwrap().spawn().unwrap();
        let result = await_ready(find("tempo").unwrap(), &mut child, dir.path(), ready, limit);
        (result, child)
    }

    #[test]
    fn a_server_is_ready_when_its_log_says_so() {
        let (result, mut child) =
            wait_for("echo now ready; exec sleep 60", &Ready::Log("ready"), Duration::from_secs(20));
        result.unwrap();
        process::stop_child(&mut child, Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn a_server_that_ends_or_hangs_is_reported_with_its_log() {
        let (result, _) = wait_for("echo bad port; exit 7", &Ready::Log("ready"), Duration::from_secs(20));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("(exit status: 7)") && error.ends_with("bad port"), "{error}");
        let (result, mut child) =
            wait_for("echo hm; exec sleep 60", &Ready::Tcp(1), Duration::from_millis(500));
        assert!(result.unwrap_err().to_string().ends_with("hm"));
        assert!(child.try_wait().unwrap().is_some(), "the process outlived its failed start");
    }
}
