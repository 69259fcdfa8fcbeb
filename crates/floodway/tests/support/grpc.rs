//! A small gRPC client on bare HTTP/2: it sends the frames that it is given, right or wrong, in the pieces and at the pace it is
//! told to.
//!
//! ```text
//! message = 0 or 1 (compressed)  length (4 bytes, big endian)  bytes
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

const PATIENCE: Duration = Duration::from_secs(30);

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The status code, 0 for OK.
    pub(crate) code: i32,
    /// The text of the status, percent-decoded no further than it came.
    pub(crate) message: String,
    /// The body: for OK one framed message.
    pub(crate) body: Vec<u8>,
    /// Whether the status says when to come again (RetryInfo).
    pub(crate) has_retry_info: bool,
}

pub(crate) fn path(signal: &str) -> &'static str {
    match signal {
        "traces" => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "logs" => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "metrics" => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        _ => panic!("no signal {signal}"),
    }
}

/// A framed message.
pub(crate) fn frame(message: &[u8], is_compressed: bool) -> Vec<u8> {
    let mut framed = vec![u8::from(is_compressed)];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// A connection; every call waits for its end.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    send: SendRequest<Bytes>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|| panic!("nobody speaks HTTP/2 on port {port}"))
    }

    /// `None` if nobody is there.
    pub(crate) fn try_connect(port: u16) -> Option<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (send, connection) = h2::client::handshake(stream).await.ok()?;
            tokio::spawn(connection);
            Some(send)
        })?;
        Some(Self { runtime, send })
    }

    /// Exports `message`.
    pub(crate) fn export(&self, signal: &str, message: &[u8]) -> Outcome {
        self.call(path(signal), &[], vec![frame(message, false)], Duration::ZERO)
    }

    /// As [`Client::export`]; `None` if the connection breaks, or no answer comes in time.
    pub(crate) fn try_export(&self, signal: &str, message: &[u8]) -> Option<Outcome> {
        let request = request(path(signal), &[]);
        let call = exchange(self.send.clone(), request, vec![frame(message, false)], Duration::ZERO);
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await }).ok()?.ok()
    }

    /// Exports `message`, compressed.
    pub(crate) fn export_gzip(&self, signal: &str, message: &[u8]) -> Outcome {
        let framed = frame(&super::http::gzip(message), true);
        self.call(path(signal), &[("grpc-encoding", "gzip")], vec![framed], Duration::ZERO)
    }

    /// Calls `path` with a body in pieces, each sent `pause` after the one before.
    pub(crate) fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        pieces: Vec<Vec<u8>>,
        pause: Duration,
    ) -> Outcome {
        let call = exchange(self.send.clone(), request(path, headers), pieces, pause);
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await })
            .expect("an answer within 30 s")
            .expect("an answer")
    }
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

async fn exchange(
    send: SendRequest<Bytes>,
    request: Request<()>,
    pieces: Vec<Vec<u8>>,
    pause: Duration,
) -> Result<Outcome, h2::Error> {
    let (response, mut stream) = send.ready().await?.send_request(request, false)?;
    let sending = tokio::spawn(async move {
        let last = pieces.len().saturating_sub(1);
        for (n, piece) in pieces.into_iter().enumerate() {
            if n > 0 {
                tokio::time::sleep(pause).await;
            }
            // The server may have answered and closed the stream before all is sent.
            if send_piece(&mut stream, piece.into(), n == last).await.is_err() {
                return;
            }
        }
    });
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    sending.abort();
    let find = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name))?;
        Some(value.to_str().unwrap_or_default().to_owned())
    };
    Ok(Outcome {
        code: find("grpc-status").map_or(-1, |code| code.parse().unwrap()),
        message: find("grpc-message").unwrap_or_default(),
        body: bytes,
        has_retry_info: find("grpc-status-details-bin").is_some(),
    })
}

/// Sends as fast as the window allows: h2 itself would take it all into memory.
async fn send_piece(
    stream: &mut h2::SendStream<Bytes>,
    mut piece: Bytes,
    is_last: bool,
) -> Result<(), h2::Error> {
    if piece.is_empty() {
        return stream.send_data(piece, is_last);
    }
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(granted) = granted else { return Ok(()) };
        let now = piece.split_to(granted?.min(piece.len()));
        stream.send_data(now, is_last && piece.is_empty())?;
    }
    Ok(())
}
