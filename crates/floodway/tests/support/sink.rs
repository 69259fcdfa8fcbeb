//! A destination in the test's own process, which notes the numbers of the records that arrive and can be as bad as real ones.
//!
//! It takes OTLP/HTTP and remote-write. A record has arrived when its whole request was read and no refusal is answered; where the
//! answer is cut off it has arrived all the same, and its sender will send it again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::numbered::Kind;
use super::rng::Rng;

/// How it treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Healthy,
    /// 503 to everything.
    Failing,
    /// 429 with a time to come again.
    Overloaded,
    /// Reads and says nothing until the mood is another.
    Hanging,
    /// Takes its time.
    Slow,
    /// Takes a request, and the connection breaks before the answer, of every second one.
    Cutting,
    /// Connections are closed as soon as they are there.
    Away,
}

const BAD_MOODS: [Mood; 6] =
    [Mood::Failing, Mood::Overloaded, Mood::Hanging, Mood::Slow, Mood::Cutting, Mood::Away];

pub(crate) struct Sink {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    weather: Option<JoinHandle<()>>,
}

struct Shared {
    kind: Kind,
    mood: Mutex<Mood>,
    /// How often each number arrived.
    arrived: Mutex<BTreeMap<u64, u32>>,
    /// What should not have come.
    faults: Mutex<Vec<String>>,
    requests: AtomicU64,
    calm: AtomicBool,
}

impl Sink {
    /// Listens until the test program ends.
    pub(crate) fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            kind,
            mood: Mutex::new(Mood::Healthy),
            arrived: Mutex::default(),
            faults: Mutex::default(),
            requests: AtomicU64::new(0),
            calm: AtomicBool::new(true),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, shared) = (socket.unwrap(), Arc::clone(&serving));
                // An error is the end of a connection, which is nothing new to its other end.
                std::thread::spawn(move || drop(shared.serve(&socket)));
            }
        });
        Self { port, shared, weather: None }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// From now on its mood changes by chance, until [`Sink::calm`].
    pub(crate) fn storm(&mut self, mut rng: Rng) {
        self.shared.calm.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.weather = Some(std::thread::spawn(move || {
            while !shared.calm.load(Ordering::SeqCst) {
                let mood = if rng.one_in(2) { Mood::Healthy } else { rng.pick(&BAD_MOODS) };
                *shared.mood.lock().unwrap() = mood;
                std::thread::sleep(rng.millis(20, 400));
            }
        }));
    }

    /// Healthy from now on.
    pub(crate) fn calm(&mut self) {
        self.shared.calm.store(true, Ordering::SeqCst);
        if let Some(weather) = self.weather.take() {
            weather.join().unwrap();
        }
        self.set(Mood::Healthy);
    }

    /// How often each number has arrived. Fails if anything came that was not sent so.
    pub(crate) fn arrived(&self) -> BTreeMap<u64, u32> {
        let faults = self.shared.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} requests of a wrong kind, first {}", faults.len(), faults[0]);
        self.shared.arrived.lock().unwrap().clone()
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn serve(&self, socket: &TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let mut reader = BufReader::new(socket);
        while self.mood() != Mood::Away {
            let Some(body) = read_request(&mut reader)? else { return Ok(()) };
            let Some(answer) = self.answer(&body) else { return Ok(()) };
            let mut writer = socket;
            writer.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    /// `None` closes the connection.
    fn answer(&self, body: &[u8]) -> Option<&'static str> {
        const OK: &str =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        const FAILING: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        const OVERLOADED: &str =
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
        let count = self.requests.fetch_add(1, Ordering::SeqCst);
        match self.mood() {
            Mood::Away => return None,
            Mood::Failing => return Some(FAILING),
            Mood::Overloaded => return Some(OVERLOADED),
            Mood::Hanging => {
                while self.mood() == Mood::Hanging {
                    std::thread::sleep(Duration::from_millis(10));
                }
                return None;
            }
            Mood::Slow => std::thread::sleep(Duration::from_millis(10 + count % 60)),
            Mood::Healthy | Mood::Cutting => {}
        }
        match self.kind.decode(body) {
            Ok(numbers) => {
                let mut arrived = self.arrived.lock().unwrap();
                numbers.into_iter().for_each(|n| *arrived.entry(n).or_default() += 1);
            }
            Err(fault) => self.faults.lock().unwrap().push(fault),
        }
        (self.mood() != Mood::Cutting || count.is_multiple_of(2)).then_some(OK)
    }
}

/// The body of the next request; `None` at the end of the connection. Lengths are always given here.
fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(body))
}
