//! OTLP over gRPC: one HTTP/2 connection, any number of calls at once.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::net::TcpStream;

use super::{MAX_ANSWER, MAX_ERROR_CHARS};
use crate::error::{Error, Result};
use crate::grpc::{self, Signal};
use crate::payload::{Payload, PayloadSet};

/// The parts of a request that are the same for all.
#[derive(Clone, Debug)]
pub(super) struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    pub(super) fn new(target: &str, payloads: &PayloadSet) -> Result<Self> {
        let uri = format!("http://{target}{}", payloads.spec.signal.path());
        let uri = uri.parse().map_err(|_| Error::Setting(format!("{target} is not host:port")))?;
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        if payloads.spec.gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        Ok(Self { uri, headers })
    }
}

/// A connection, opened anew when it broke.
#[derive(Debug)]
pub(crate) struct Connection {
    target: String,
    template: Template,
    sender: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    pub(super) fn new(target: &str, template: Template) -> Self {
        Self { target: target.to_owned(), template, sender: tokio::sync::Mutex::new(None) }
    }

    /// The sender of the open connection; opens it if there is none.
    pub(super) async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let mut slot = self.sender.lock().await;
        if let Some(open) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(&self.target).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| format!("connect: {e}"))?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|e| format!("HTTP/2 handshake: {e}"))?;
        // Ends with the connection; its error reaches the senders as errors of their requests.
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// One call; the number of records that a partial success rejected, or why it failed.
    pub(super) async fn export(&self, payload: &Payload, signal: Signal) -> Result<u64, String> {
        let mut sender = self.sender().await?;
        sender.ready().await.map_err(|e| format!("HTTP/2: {e}"))?;
        let mut request = Request::new(Full::new(payload.framed.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.template.uri.clone();
        *request.headers_mut() = self.template.headers.clone();
        let response = sender.send_request(request).await.map_err(|e| format!("HTTP/2: {e}"))?;
        read_answer(response, signal).await
    }
}

async fn read_answer(response: Response<Incoming>, signal: Signal) -> Result<u64, String> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(format!("HTTP status {}", head.status));
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| format!("answer: {e}"))?;
    // A server that has nothing but an error to say puts its status into the headers.
    let status = match body.trailers() {
        Some(trailers) if trailers.contains_key("grpc-status") => trailers,
        _ => &head.headers,
    };
    let text = |name: &str| status.get(name).and_then(|value| value.to_str().ok());
    let code: u32 = text("grpc-status").and_then(|code| code.parse().ok()).ok_or("answer: no grpc-status")?;
    if code != 0 {
        let message: String =
            text("grpc-message").unwrap_or_default().chars().take(MAX_ERROR_CHARS).collect();
        return Err(format!("{} {message}", grpc::status_name(code)).trim_end().to_owned());
    }
    rejected_records(&body.to_bytes(), signal)
}

/// What a partial success rejected (OTLP specification, "Partial Success").
fn rejected_records(framed: &[u8], signal: Signal) -> Result<u64, String> {
    let Some(message) = framed.get(grpc::FRAME_HEADER_LEN..).filter(|message| !message.is_empty()) else {
        return Ok(0);
    };
    let unreadable = |e| format!("answer: {e}");
    let rejected = if signal == Signal::Logs {
        let answer = ExportLogsServiceResponse::decode(message).map_err(unreadable)?;
        answer.partial_success.map_or(0, |partial| partial.rejected_log_records)
    } else {
        let answer = ExportTraceServiceResponse::decode(message).map_err(unreadable)?;
        answer.partial_success.map_or(0, |partial| partial.rejected_spans)
    };
    Ok(u64::try_from(rejected).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    #[test]
    fn partial_success_is_read() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "no".into() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        let framed = grpc::frame(&answer.encode_to_vec(), false);
        assert_eq!(rejected_records(&framed, Signal::Traces), Ok(3));
        assert_eq!(rejected_records(&grpc::frame(&[], false), Signal::Traces), Ok(0));
        assert_eq!(rejected_records(&[], Signal::Logs), Ok(0));
        assert!(rejected_records(&grpc::frame(&[0xff], false), Signal::Logs).is_err());
    }
}
