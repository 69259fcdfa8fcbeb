//! Senders as real ones are: several connections, each request is sent again until it is acknowledged, every acknowledgement noted.
//!
//! ```text
//! numbers ascend over all senders -> a run of them a request -> sent, and again, until yes -> noted as acknowledged
//! ```
//! Half of the senders of OTLP speak gRPC, the others HTTP. A no that is for good ends the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::grpc;
use super::numbered::Kind;
use super::program::Floodway;
use super::rng::Rng;

/// How long one answer may take; then the connection is given up, as real clients do.
const PATIENCE: Duration = Duration::from_secs(10);

/// How senders send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    pub(crate) senders: usize,
    /// Most records a request.
    pub(crate) most: u64,
    /// Pause of a sender after an acknowledgement, in ms, at most.
    pub(crate) pause_ms: u64,
}

pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    load: Load,
    next: AtomicU64,
    /// 0: nobody is there.
    http: AtomicU16,
    grpc: AtomicU16,
    held: AtomicBool,
    finishing: AtomicBool,
    under_way: AtomicU64,
    acknowledged: Mutex<Vec<Range<u64>>>,
    told_to_wait: AtomicU64,
    refused_for_good: Mutex<Option<String>>,
}

/// What became of one attempt.
enum Answer {
    Yes,
    Later,
    Never(String),
    /// The connection is gone, and whether the request was taken is not known.
    Unknown,
}

impl Senders {
    /// They begin when they know where to: [`Senders::aim`].
    pub(crate) fn start(load: Load, mut rng: Rng) -> Self {
        let shared = Arc::new(Shared {
            load,
            next: AtomicU64::new(1),
            http: AtomicU16::new(0),
            grpc: AtomicU16::new(0),
            held: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            under_way: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            told_to_wait: AtomicU64::new(0),
            refused_for_good: Mutex::new(None),
        });
        let start = |n: usize| {
            let (shared, rng) = (Arc::clone(&shared), rng.fork());
            std::thread::spawn(move || shared.send(n, rng))
        };
        let threads = (0..load.senders).map(start).collect();
        Self { shared, threads }
    }

    /// There is somebody to send to.
    pub(crate) fn aim(&self, program: &Floodway) {
        self.shared.grpc.store(program.port("grpc"), Ordering::SeqCst);
        self.shared.http.store(program.port("http"), Ordering::SeqCst);
    }

    /// No new connections. Who tries a port where nobody listens may get itself for an answer, and take the port: Linux connects a
    /// socket to itself when it is given the port that it asks for.
    pub(crate) fn nobody_there(&self) {
        self.shared.http.store(0, Ordering::SeqCst);
        self.shared.grpc.store(0, Ordering::SeqCst);
    }

    /// Nobody sends from now on; returns when no attempt is under way.
    pub(crate) fn hold(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
        while self.shared.under_way.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
    }

    /// The runs that were acknowledged so far. Fails if one was refused for good.
    pub(crate) fn acknowledged(&self) -> Vec<Range<u64>> {
        if let Some(why) = &*self.shared.refused_for_good.lock().unwrap() {
            panic!("a sound request was refused for good: {why}");
        }
        self.shared.acknowledged.lock().unwrap().clone()
    }

    /// How many records were acknowledged so far.
    pub(crate) fn acknowledged_records(&self) -> u64 {
        self.acknowledged().iter().map(|run| run.end - run.start).sum()
    }

    /// How often a sender was told to come again later.
    pub(crate) fn told_to_wait(&self) -> u64 {
        self.shared.told_to_wait.load(Ordering::SeqCst)
    }

    /// Every sender sends what it has until it is acknowledged, and no more; the runs that were.
    pub(crate) fn finish(mut self) -> Vec<Range<u64>> {
        self.go_on();
        self.shared.finishing.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.acknowledged()
    }
}

impl Drop for Senders {
    /// Where a test has failed they end with the attempt under way.
    fn drop(&mut self) {
        self.shared.finishing.store(true, Ordering::SeqCst);
        let given_up = "the test has ended".to_owned();
        self.shared.refused_for_good.lock().unwrap().get_or_insert(given_up);
    }
}

impl Shared {
    fn send(&self, n: usize, mut rng: Rng) {
        let over_grpc = self.load.kind != Kind::Series && n % 2 == 1;
        let mut connection = None;
        while !self.finishing.load(Ordering::SeqCst) {
            let count = rng.within(1, self.load.most + 1);
            let first = self.next.fetch_add(count, Ordering::SeqCst);
            let run = first..first + count;
            let body = self.load.kind.encode(run.clone());
            while !self.attempt(&body, over_grpc, &mut connection, &mut rng) {
                if self.refused_for_good.lock().unwrap().is_some() {
                    return;
                }
            }
            self.acknowledged.lock().unwrap().push(run);
            std::thread::sleep(rng.millis(0, self.load.pause_ms + 1));
        }
    }

    /// Whether the request was acknowledged.
    fn attempt(
        &self,
        body: &[u8],
        over_grpc: bool,
        connection: &mut Option<Connection>,
        rng: &mut Rng,
    ) -> bool {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let answer = if self.held.load(Ordering::SeqCst) {
            None
        } else {
            let port = if over_grpc { &self.grpc } else { &self.http };
            let open = || Connection::open(port.load(Ordering::SeqCst), over_grpc);
            if connection.is_none() {
                *connection = open();
            }
            connection.as_mut().map(|connection| connection.ask(self.load.kind, body))
        };
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Some(Answer::Yes) => return true,
            Some(Answer::Later) => drop(self.told_to_wait.fetch_add(1, Ordering::SeqCst)),
            Some(Answer::Never(why)) => *self.refused_for_good.lock().unwrap() = Some(why),
            Some(Answer::Unknown) => *connection = None,
            None => {}
        }
        std::thread::sleep(rng.millis(1, 30));
        false
    }
}

enum Connection {
    Http(TcpStream),
    Grpc(grpc::Client),
}

impl Connection {
    fn open(port: u16, over_grpc: bool) -> Option<Self> {
        if port == 0 {
            return None;
        }
        if over_grpc {
            return grpc::Client::try_connect(port).map(Self::Grpc);
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self::Http(stream))
    }

    fn ask(&mut self, kind: Kind, body: &[u8]) -> Answer {
        match self {
            Self::Http(stream) => ask_http(stream, kind, body).unwrap_or(Answer::Unknown),
            Self::Grpc(client) => ask_grpc(client, kind, body),
        }
    }
}

fn ask_grpc(client: &grpc::Client, kind: Kind, body: &[u8]) -> Answer {
    // Those that the OTLP specification calls retryable, which are the statuses of a busy server and of a lost connection.
    const RETRYABLE: [i32; 7] = [1, 4, 8, 10, 11, 14, 15];
    match client.try_export(kind.signal(), body) {
        None => Answer::Unknown,
        // An empty message, framed: no partial success.
        Some(outcome) if outcome.code == 0 && outcome.body.len() <= 5 => Answer::Yes,
        Some(outcome) if RETRYABLE.contains(&outcome.code) => Answer::Later,
        Some(outcome) if outcome.code < 0 => Answer::Unknown,
        Some(outcome) => Answer::Never(format!("{outcome:?}")),
    }
}

fn ask_http(stream: &mut TcpStream, kind: Kind, body: &[u8]) -> std::io::Result<Answer> {
    let head = if kind == Kind::Series {
        "POST /api/v1/write HTTP/1.1\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n".to_owned()
    } else {
        format!("POST /v1/{} HTTP/1.1\r\n", kind.signal())
    };
    let head = format!(
        "{head}Host: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let (status, said) = read_answer(&mut BufReader::new(stream))?;
    Ok(match status {
        200 if said.is_empty() => Answer::Yes,
        204 => Answer::Yes,
        429 | 502 | 503 | 504 => Answer::Later,
        _ => Answer::Never(format!("{status}: {}", String::from_utf8_lossy(&said))),
    })
}

/// Status and body. Nothing comes after an answer before the next request, so the buffer around the stream loses nothing.
fn read_answer(reader: &mut BufReader<&mut TcpStream>) -> std::io::Result<(u16, Vec<u8>)> {
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(cut());
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(cut)?;
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok((status, body))
}
