//! A raw gRPC relay with its driver and its sink, to find out what the plumbing alone costs.
//!
//! ```text
//! relay sink  127.0.0.1:24317                    answers every call with an empty message (tonic: 16 KiB frames)
//! relay net   127.0.0.1:14317 127.0.0.1:24317    passes every call on as it is
//! relay tonic 127.0.0.1:14317 127.0.0.1:24317    the same on tonic, with bytes as its codec
//! relay drive 127.0.0.1:14317 SECONDS BYTES CALLS_AT_ONCE
//! ```
//! `net` and `tonic` print, every second with traffic, calls, CPU microseconds a call (user and system), and how
//! many messages came in a buffer that nobody else holds (such a buffer can be edited in place).
//! `FRAME=16384` makes `net` take small frames only, as if all its clients were grpc-go.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use net::body::Limits;
use net::grpc::{CallError, Client, ClientOptions, Code, Request, Status, Unary, UnaryService};
use net::server::{HttpOptions, NoHooks, serve};
use net::{BoxError, Encoding, Listen, Unlimited};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

static CALLS: AtomicUsize = AtomicUsize::new(0);
static UNSHARED: AtomicUsize = AtomicUsize::new(0);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sink", listen] => tonic_server(listen, None).await,
        ["net", listen, target] => net_relay(listen, target).await,
        ["tonic", listen, target] => {
            tokio::spawn(report());
            let channel = tonic::transport::Channel::from_shared(format!("http://{target}"))?.connect_lazy();
            tonic_server(listen, Some(channel)).await
        }
        ["drive", target, seconds, bytes, at_once] => {
            drive(target, seconds.parse()?, bytes.parse()?, at_once.parse()?).await
        }
        _ => Err("see the head of examples/relay.rs".into()),
    }
}

struct Relay {
    client: Client,
}

impl UnaryService for Relay {
    type Method = ();
    type Permit = Unlimited;

    fn route(&self, path: &str) -> Option<()> {
        (path == PATH).then_some(())
    }

    fn permit(&self) -> Unlimited {
        Unlimited
    }

    async fn call(&self, (): (), request: Request<Unlimited>) -> Result<Bytes, Status> {
        CALLS.fetch_add(1, Relaxed);
        UNSHARED.fetch_add(usize::from(request.message.is_unique()), Relaxed);
        let sent = self.client.call(PATH, vec![request.message], Encoding::Identity, &HeaderMap::new()).await;
        sent.map_err(|error| match error {
            CallError::Status(status) => status,
            other => Status::new(Code::Unavailable, other.to_string()),
        })
    }
}

async fn net_relay(listen: &str, target: &str) -> Result<(), BoxError> {
    tokio::spawn(report());
    let client = Client::new(ClientOptions::new(target))?;
    let mut options = HttpOptions::default();
    if let Ok(frame) = std::env::var("FRAME") {
        options.max_frame_bytes = frame.parse()?;
    }
    let bound = Listen::new(listen).bind().await?;
    let relay = Unary::new(Relay { client }, Limits::default());
    let _ = serve(bound, options, Arc::new(NoHooks), std::future::pending(), relay).await;
    Ok(())
}

async fn drive(target: &str, seconds: u64, bytes: usize, at_once: usize) -> Result<(), BoxError> {
    let client = Client::new(ClientOptions::new(target))?;
    let message: Bytes = (0..bytes).map(|i| ((i * 31) >> 3) as u8).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..at_once)
        .map(|_| {
            let (client, message) = (client.clone(), message.clone());
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while Instant::now() < end {
                    client.call(PATH, vec![message.clone()], Encoding::Identity, &HeaderMap::new()).await?;
                    calls += 1;
                }
                Ok::<_, CallError>(calls)
            })
        })
        .collect();
    let mut calls = 0;
    for worker in workers {
        calls += worker.await??;
    }
    println!("{} calls/s", calls / seconds);
    Ok(())
}

/// User and system time of this process so far, from the 14th and 15th field of /proc/self/stat (10 ms ticks).
fn cpu_micros() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|f| f.parse::<u64>().ok()).unwrap_or(0) * 10_000;
    (next(), next())
}

async fn report() {
    let mut last = (0, 0, (0, 0));
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = (CALLS.load(Relaxed), UNSHARED.load(Relaxed), cpu_micros());
        let calls = now.0 - last.0;
        let per_call = |micros: u64| micros as f64 / calls as f64;
        let (user, system) = (per_call(now.2.0 - last.2.0), per_call(now.2.1 - last.2.1));
        if calls > 0 {
            let (both, unshared) = (user + system, now.1 - last.1);
            println!(
                "{calls} calls, {both:.0} us a call: {user:.0} user + {system:.0} system; {unshared} unshared"
            );
        }
        last = now;
    }
}

/// tonic's server: a relay to `channel`, or a sink.
async fn tonic_server(listen: &str, channel: Option<tonic::transport::Channel>) -> Result<(), BoxError> {
    tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(TonicRelay { channel })
        .serve(listen.parse()?)
        .await?;
    Ok(())
}

#[derive(Clone)]
struct TonicRelay {
    channel: Option<tonic::transport::Channel>,
}

impl tonic::server::NamedService for TonicRelay {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

type Answer = http::Response<tonic::body::Body>;

impl tower_service::Service<http::Request<tonic::body::Body>> for TonicRelay {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let relay = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(64 << 20);
            Ok(grpc.unary(relay, request).await)
        })
    }
}

impl tonic::server::UnaryService<Bytes> for TonicRelay {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let channel = self.channel.clone();
        Box::pin(async move {
            CALLS.fetch_add(1, Relaxed);
            let Some(channel) = channel else {
                return Ok(tonic::Response::new(Bytes::new()));
            };
            UNSHARED.fetch_add(usize::from(request.get_ref().is_unique()), Relaxed);
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
            grpc.unary(request, http::uri::PathAndQuery::from_static(PATH), Raw).await
        })
    }
}

/// A codec that passes bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}
