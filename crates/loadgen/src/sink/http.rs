//! The backends that are plain HTTP: Prometheus's remote-write receiver, Loki's push API, Elasticsearch's `_bulk`.
//!
//! Every request is kept, inflated, decoded by prost (or counted by lines) and answered as the real server answers a request
//! that it took whole.

use std::io::Read as _;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prost::Message as _;

use super::{MAX_MESSAGE, Shared};
use crate::grpc::Signal;
use crate::wire::{loki, remote_write};

/// A backend of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Remote-write, both versions.
    RemoteWrite,
    /// Loki's push API with protobuf.
    Loki,
    /// Elasticsearch's bulk API.
    Bulk,
}

impl Api {
    /// The backend that has this path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v1/write" => Some(Self::RemoteWrite),
            "/loki/api/v1/push" => Some(Self::Loki),
            _ if path.ends_with("/_bulk") => Some(Self::Bulk),
            _ => None,
        }
    }
}

/// Takes a request and answers it.
pub(super) async fn answer(api: Api, request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    match receive(api, request, shared).await {
        Ok(records) => taken(api, records),
        Err(message) => {
            let mut response = Response::new(Full::new(Bytes::from(message.clone())));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            shared.find(|findings| {
                findings.malformed += 1;
                findings.last_error = Some(message);
            });
            response
        }
    }
}

async fn receive(api: Api, request: Request<Incoming>, shared: &Shared) -> Result<u64, String> {
    let header = |name: &str| request.headers().get(name).map(|v| v.as_bytes().to_vec()).unwrap_or_default();
    let (encoding, kind) = (header("content-encoding"), header("content-type"));
    let turn = shared.arrived.fetch_add(1, Relaxed);
    let body = Limited::new(request.into_body(), MAX_MESSAGE).collect().await;
    let body = body.map_err(|e| format!("body: {e}"))?.to_bytes();
    let plain = match (api, &encoding[..]) {
        (Api::Bulk, b"gzip") => {
            let mut plain = Vec::new();
            let read = GzDecoder::new(&body[..]).take(MAX_MESSAGE as u64).read_to_end(&mut plain);
            read.map_err(|e| format!("gzip: {e}"))?;
            plain.into()
        }
        (Api::Bulk, _) => body.clone(),
        _ => unsnap(&body)?,
    };
    let (signal, records) = match api {
        Api::RemoteWrite => (Signal::Metrics, samples(&plain, &kind)?),
        Api::Loki => {
            let request = loki::PushRequest::decode(&plain[..]).map_err(|e| format!("prost: {e}"))?;
            (Signal::Logs, request.streams.iter().map(|stream| stream.entries.len() as u64).sum())
        }
        Api::Bulk => (Signal::Logs, memchr::memchr_iter(b'\n', &plain).count() as u64 / 2),
    };
    if shared.check_every != 0 && turn.is_multiple_of(shared.check_every) {
        shared.search(&plain);
    }
    shared.requests.fetch_add(1, Relaxed);
    shared.bytes.fetch_add(body.len() as u64, Relaxed);
    shared.records[signal as usize].fetch_add(records, Relaxed);
    Ok(records)
}

fn unsnap(body: &[u8]) -> Result<Bytes, String> {
    let length = snap::raw::decompress_len(body).map_err(|e| format!("snappy: {e}"))?;
    if length > MAX_MESSAGE {
        return Err("inflates to more than 64 MiB".into());
    }
    snap::raw::Decoder::new().decompress_vec(body).map(Bytes::from).map_err(|e| format!("snappy: {e}"))
}

fn samples(plain: &[u8], kind: &[u8]) -> Result<u64, String> {
    if memchr::memmem::find(kind, b"io.prometheus.write.v2.Request").is_some() {
        let request = remote_write::Request::decode(plain).map_err(|e| format!("prost: {e}"))?;
        let known = |series: &remote_write::TimeSeries| {
            series.labels_refs.iter().all(|reference| (*reference as usize) < request.symbols.len())
        };
        if !request.timeseries.iter().all(known) {
            return Err("a label refers to no symbol".into());
        }
        return Ok(request.timeseries.iter().map(|series| series.samples.len() as u64).sum());
    }
    let request = remote_write::WriteRequest::decode(plain).map_err(|e| format!("prost: {e}"))?;
    Ok(request.timeseries.iter().map(|series| series.samples.len() as u64).sum())
}

fn taken(api: Api, records: u64) -> Response<Full<Bytes>> {
    let body = match api {
        Api::Bulk => {
            let items = vec!["{\"create\":{\"status\":201}}"; records as usize].join(",");
            format!("{{\"took\":1,\"errors\":false,\"items\":[{items}]}}")
        }
        _ => String::new(),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    match api {
        Api::Bulk => {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        Api::RemoteWrite => {
            let zero = HeaderValue::from(0);
            headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(records));
            headers.insert("x-prometheus-remote-write-histograms-written", zero.clone());
            headers.insert("x-prometheus-remote-write-exemplars-written", zero);
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        Api::Loki => *response.status_mut() = StatusCode::NO_CONTENT,
    }
    response
}
