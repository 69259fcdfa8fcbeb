//! Starts the built program and talks to it over plain sockets.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A libp2p peer id (Ed25519, base58btc).
pub(crate) const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// Nothing that these tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program in a folder, without variables that would change what it does.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodway"));
    for name in [
        "FLOODWAY_LOG",
        "OTLP_GRPC",
        "OTLP_HTTP",
        "LOGSTASH",
        "ADMIN",
        "DATA",
        "LISTEN",
        "TARGET",
        "REDACT_KEY",
    ] {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

/// Runs a command to its end.
pub(crate) fn run(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Addresses that were free a moment ago.
pub(crate) struct Ports {
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) logstash: String,
    pub(crate) admin: String,
}

impl Ports {
    pub(crate) fn pick() -> Self {
        let listeners: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |n: usize| listeners[n].local_addr().unwrap().to_string();
        Self { otlp_grpc: address(0), otlp_http: address(1), logstash: address(2), admin: address(3) }
    }
}

/// A running program; killed when dropped.
pub(crate) struct Floodway {
    child: Child,
    log: PathBuf,
}

impl Floodway {
    /// Runs a configuration file that takes its addresses as quickstart.yaml does.
    pub(crate) fn start(file: &Path, folder: &Path, ports: &Ports) -> Self {
        let log = folder.join("floodway.log");
        let child = command(folder)
            .arg("run")
            .arg(file)
            .env("OTLP_GRPC", &ports.otlp_grpc)
            .env("OTLP_HTTP", &ports.otlp_http)
            .env("LOGSTASH", &ports.logstash)
            .env("ADMIN", &ports.admin)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits until it takes requests.
    pub(crate) fn ready(&mut self, ports: &Ports) {
        let started = Instant::now();
        while TcpStream::connect(&ports.admin).is_err()
            || http(&ports.admin, "GET", "/ready", "").status != 200
        {
            if self.child.try_wait().unwrap().is_some() || started.elapsed() > PATIENCE {
                panic!("did not get ready:\n{}", fs::read_to_string(&self.log).unwrap());
            }
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let signal = if name == "INT" { Signal::INT } else { Signal::TERM };
        let id = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits for its end; the exit code and everything it logged.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        (status.code(), fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Floodway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until it is there.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Sends text as `nc` does.
pub(crate) fn write(address: &str, text: &str) {
    TcpStream::connect(address).unwrap().write_all(text.as_bytes()).unwrap();
}

#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// One HTTP/1.1 request. Status 0 if there is no answer.
pub(crate) fn http(address: &str, method: &str, path: &str, body: &str) -> Response {
    let Ok(mut socket) = TcpStream::connect(address) else {
        return Response::default();
    };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut text = String::new();
    if socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_string(&mut text)).is_err() {
        return Response::default();
    }
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Response::default();
    };
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Response { status, headers, body: body.to_owned() }
}
