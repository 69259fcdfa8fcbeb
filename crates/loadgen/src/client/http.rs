//! Remote-write over HTTP/1.1: one connection, one request at a time.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{MAX_ANSWER, MAX_ERROR_CHARS};
use crate::payload::Payload;

/// A connection, opened anew when it broke.
#[derive(Debug)]
pub(crate) struct Connection {
    target: String,
    path: &'static str,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    pub(super) async fn open(target: &str, path: &'static str) -> Result<Self, String> {
        let sender = Mutex::new(Some(handshake(target).await?));
        Ok(Self { target: target.to_owned(), path, sender })
    }

    pub(super) async fn post(&self, payload: &Payload) -> Result<u64, String> {
        let mut slot = self.sender.lock().await;
        let mut sender = match slot.take().filter(|sender| !sender.is_closed()) {
            Some(open) => open,
            None => handshake(&self.target).await?,
        };
        sender.ready().await.map_err(|e| format!("HTTP: {e}"))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.path)
            .header("host", &self.target)
            .header("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "2.0.0")
            .body(Full::new(payload.framed.clone()))
            .map_err(|e| format!("request: {e}"))?;
        let response = sender.send_request(request).await.map_err(|e| format!("HTTP: {e}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| format!("answer: {e}"))?.to_bytes();
        *slot = Some(sender);
        if status.is_success() {
            return Ok(0);
        }
        let said: String = String::from_utf8_lossy(&body).chars().take(MAX_ERROR_CHARS).collect();
        Err(format!("HTTP status {status}: {}", said.trim()))
    }
}

async fn handshake(target: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(target).await.map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| format!("connect: {e}"))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|e| format!("HTTP handshake: {e}"))?;
    // Ends with the connection; its error reaches the sender as the error of its request.
    tokio::spawn(connection);
    Ok(sender)
}
