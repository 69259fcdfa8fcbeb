//! The admin server: how the program is, for people, for probes and for Prometheus.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | 200 or 503, JSON: the status of the whole and of each component |
//! | `/ready` | 200 when requests are taken, else 503 |
//! | `/metrics` | Prometheus text format |
//! | `/` | a page that shows what flows, made of the other three |
//! | POST `/admin/reload` | the file is read again; JSON: what changed, or what is wrong with 400, 409, 500 or 503; see `reload` |
//! | POST `/admin/circuit-breaker/reset` | what waits for a destination that is down is tried at once; see [`breaker`] |
//!
//! It has no password, and binds to loopback unless told otherwise. What changes something is a POST and is refused to pages of other
//! sites: see [`guard`].

mod breaker;
mod guard;
mod health;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use engine::Monitor;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use net::server::{HttpOptions, NoHooks};
use net::{Body, Listen};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::exit;
use crate::reload::{Desk, FailureKind, Unavailable};
use crate::telemetry::Telemetry;

const PAGE: &str = include_str!("page.html");
const PATHS: &str =
    "there is /, /health, /ready, /metrics, POST /admin/reload and POST /admin/circuit-breaker/reset here\n";
const RELOAD: &str = "/admin/reload";
const MAX_CONNECTIONS: usize = 64;
/// At the end, for answers that are being written.
const DRAIN: Duration = Duration::from_secs(1);

/// The running server; nothing if it is switched off.
pub(crate) struct Admin {
    state: Arc<State>,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct State {
    telemetry: Telemetry,
    desk: Desk,
    /// Set once the graph runs.
    monitor: OnceLock<Monitor>,
}

impl Admin {
    /// Binds and serves.
    pub(crate) async fn start(
        settings: &config::Admin,
        telemetry: Telemetry,
        desk: Desk,
    ) -> anyhow::Result<Self> {
        let state = Arc::new(State { telemetry, desk, monitor: OnceLock::new() });
        if !settings.enabled {
            return Ok(Self { state, server: None });
        }
        let listen = Listen::new(&settings.endpoint).max_connections(MAX_CONNECTIONS);
        let bound = listen.bind().await.context("the admin server cannot listen (`admin.endpoint`)");
        let bound = bound.map_err(|error| exit::no_start(format!("{error:#}")))?;
        let (stop, stopped) = oneshot::channel();
        let handler_state = Arc::clone(&state);
        let handler = move |request: http::Request<Incoming>| {
            let (request, _) = request.into_parts();
            let state = Arc::clone(&handler_state);
            async move { answer(&state, &request).await }
        };
        let options = HttpOptions { drain_timeout: DRAIN, ..HttpOptions::default() };
        let shutdown = async {
            let _ = stopped.await;
        };
        let serving = serve(bound, options, shutdown, handler);
        Ok(Self { state, server: Some((stop, tokio::spawn(serving))) })
    }

    /// Shows a graph from now on.
    pub(crate) fn watch(&self, monitor: Monitor) {
        let _ = self.state.monitor.set(monitor);
    }

    /// Stops serving.
    pub(crate) async fn stop(self) {
        if let Some((stop, task)) = self.server {
            let _ = stop.send(());
            let _ = tokio::time::timeout(2 * DRAIN, task).await;
        }
    }
}

async fn serve<H: net::server::Handler>(
    bound: net::Bound,
    options: HttpOptions,
    shutdown: impl Future<Output = ()>,
    handler: H,
) {
    let _ = net::server::serve(bound, options, Arc::new(NoHooks), shutdown, handler).await;
}

async fn answer(state: &State, request: &Parts) -> Response<Body> {
    let (method, path) = (&request.method, request.uri.path());
    let looks = matches!(path, "/" | "/health" | "/ready" | "/metrics");
    let acts = matches!(path, RELOAD | breaker::PATH);
    let mut response = if !looks && !acts {
        text(StatusCode::NOT_FOUND, PATHS)
    } else if looks && method != Method::GET && method != Method::HEAD {
        not_allowed("GET, HEAD", "only GET and HEAD are answered here\n")
    } else if acts && method != Method::POST {
        not_allowed("POST", "only POST is answered here\n")
    } else if acts && guard::is_foreign(&request.headers, &request.uri) {
        text(StatusCode::FORBIDDEN, "refused: a page of another site sent this through a browser\n")
    } else {
        let monitor = state.monitor.get();
        match path {
            "/" => page(),
            "/health" => {
                health::health(monitor.map(Monitor::status), state.telemetry.uptime(), state.desk.last())
            }
            "/ready" => health::ready(monitor.map(Monitor::status)),
            RELOAD => reload(state).await,
            breaker::PATH => breaker::reset(monitor, request.uri.query()),
            _ => full(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", state.telemetry.render()),
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

fn not_allowed(methods: &'static str, message: &'static str) -> Response<Body> {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, message);
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    refused
}

async fn reload(state: &State) -> Response<Body> {
    if state.monitor.get().is_none() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the program is starting");
    }
    match state.desk.ask().await {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(failure)) if failure.kind == FailureKind::Invalid => json(StatusCode::BAD_REQUEST, &failure),
        Ok(Err(failure)) => json(StatusCode::INTERNAL_SERVER_ERROR, &failure),
        Err(Unavailable::Busy) => refused(StatusCode::CONFLICT, "a reload is under way"),
        Err(Unavailable::NotRunning) => refused(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping"),
    }
}

fn refused(status: StatusCode, error: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "result": "failed", "error": error }))
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_string(body) {
        Ok(text) => full(status, "application/json", text + "\n"),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be shown\n"),
    }
}

fn page() -> Response<Body> {
    let mut page = full(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    page
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    full(status, "text/plain; charset=utf-8", body)
}

/// A response whose length is announced, so that HEAD tells the same as GET.
fn full(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}
