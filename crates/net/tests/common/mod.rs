//! What the tests share: a memory budget, an echo service, tonic with raw bytes as its codec.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use bytes::{Buf, BufMut, Bytes};
use net::body::Limits;
use net::grpc::{Code, Request, Status, Unary, UnaryService};
use net::server::{Drained, Handler, Hooks, HttpOptions, NoHooks, serve};
use net::{Admission, Bound, Full, Listen};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A budget in bytes, with its high-water mark.
#[derive(Debug, Default)]
pub struct Budget {
    pub limit: usize,
    pub used: AtomicUsize,
    pub peak: AtomicUsize,
}

pub struct Permit {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    pub fn permit(self: &Arc<Self>) -> Permit {
        Permit { budget: Arc::clone(self), held: 0 }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
}

impl Admission for Permit {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let now = self.budget.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if now > self.budget.limit {
            self.budget.used.fetch_sub(bytes, Ordering::SeqCst);
            return Err(Full::Now { retry_after: Duration::from_millis(1500) });
        }
        self.held += bytes;
        self.budget.peak.fetch_max(now, Ordering::SeqCst);
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.budget.used.fetch_sub(bytes, Ordering::SeqCst);
        self.held -= bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::SeqCst);
    }
}

/// Answers with its message; `/test.Echo/Fail` fails with RetryInfo, `/test.Echo/Slow` takes 300 ms.
pub struct Echo {
    pub budget: Arc<Budget>,
    pub refused: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
pub enum Method {
    Say,
    Fail,
    Slow,
    Length,
}

impl UnaryService for Echo {
    type Method = Method;
    type Permit = Permit;

    fn route(&self, path: &str) -> Option<Method> {
        match path {
            "/test.Echo/Say" => Some(Method::Say),
            "/test.Echo/Fail" => Some(Method::Fail),
            "/test.Echo/Slow" => Some(Method::Slow),
            "/test.Echo/Length" => Some(Method::Length),
            _ => None,
        }
    }

    fn permit(&self) -> Permit {
        self.budget.permit()
    }

    async fn call(&self, method: Method, request: Request<Permit>) -> Result<Bytes, Status> {
        assert!(request.permit.held >= request.message.len());
        match method {
            Method::Say => Ok(request.message),
            Method::Length => Ok(Bytes::copy_from_slice(&(request.message.len() as u64).to_be_bytes())),
            Method::Slow => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(request.message)
            }
            Method::Fail => {
                Err(Status::new(Code::Unavailable, "later – 100 % full")
                    .retry_after(Duration::from_millis(2500)))
            }
        }
    }

    fn refused(&self, _status: &Status) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }
}

pub fn echo(budget: &Arc<Budget>, limits: Limits) -> Unary<Echo> {
    Unary::new(Echo { budget: Arc::clone(budget), refused: Arc::default() }, limits)
}

/// A running server.
pub struct Server {
    pub addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

impl Server {
    pub async fn start(handler: impl Handler) -> Self {
        let bound = Listen::new("127.0.0.1:0").bind().await.unwrap();
        Self::on(bound, HttpOptions::default(), Arc::new(NoHooks), handler)
    }

    pub fn on(bound: Bound, options: HttpOptions, hooks: Arc<dyn Hooks>, handler: impl Handler) -> Self {
        let addr = bound.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(bound, options, hooks, stopped, handler));
        Self { addr, stop, task }
    }

    pub async fn stop(self) -> Drained {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

/// tonic codec that passes bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

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
