//! `/health` and `/ready`.
//!
//! `/health` answers 503 only where a restart of the process may help: a receiver has ended, or the program is on its way out. A
//! destination that is down is not cured by that and would only lose what waits for it; it makes the status `degraded`, with 200.
//!
//! ```json
//! { "status": "ok", "version": "0.1.0", "uptime_seconds": 12, "ready": true, "budget": { "used_bytes": 0, "limit_bytes": 268435456 },
//!   "components": { "receivers.otlp": { "kind": "receiver", "id": "otlp", "state": "ok" } },
//!   "retiring": [], "reload": { "last": "failed", "at": "2026-01-31T12:00:00Z", "error": "..." } }
//! ```
//! `retiring` has what a reload replaced and is still at work; `reload` is there after the first one.
//!
//! | status | means | code |
//! |---|---|---|
//! | `starting` | receivers are not bound yet | 503 |
//! | `ok` | | 200 |
//! | `degraded` | a destination does not take what it is sent | 200 |
//! | `failing` | a receiver has ended | 503 |
//! | `stopping` | a stop signal came; what is inside is being delivered | 503 |

use std::collections::BTreeMap;
use std::time::Duration;

use engine::metrics::ComponentKind;
use engine::{ComponentStatus, State, Status};
use http::{Response, StatusCode};
use net::Body;
use serde::Serialize;

use crate::reload::Last;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
    /// By place in the configuration.
    components: BTreeMap<String, ComponentStatus>,
    retiring: Vec<ComponentStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<Last>,
}

#[derive(Serialize)]
struct Budget {
    used_bytes: usize,
    limit_bytes: usize,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

/// `status` is `None` before the graph runs.
pub(super) fn health(status: Option<Status>, uptime: Duration, reload: Option<Last>) -> Response<Body> {
    let word = status.as_ref().map_or("starting", word);
    let healthy = matches!(word, "ok" | "degraded");
    let ready = status.as_ref().is_some_and(|status| status.ready);
    let budget = status.as_ref().map(|status| Budget {
        used_bytes: status.budget_used_bytes,
        limit_bytes: status.budget_limit_bytes,
    });
    let (components, retiring) =
        status.map(|status| (status.components, status.retiring)).unwrap_or_default();
    let health = Health {
        status: word,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.as_secs(),
        ready,
        budget,
        components: components.into_iter().map(|c| (format!("{}s.{}", c.kind, c.id), c)).collect(),
        retiring,
        reload,
    };
    json(healthy, &health)
}

pub(super) fn ready(status: Option<Status>) -> Response<Body> {
    let ready = status.is_some_and(|status| status.ready);
    json(ready, &Ready { ready })
}

fn word(status: &Status) -> &'static str {
    let failing =
        |kind| status.components.iter().any(|c| c.kind == kind && matches!(c.state, State::Failing { .. }));
    if failing(ComponentKind::Receiver) {
        "failing"
    } else if !status.ready {
        "stopping"
    } else if failing(ComponentKind::Exporter) {
        "degraded"
    } else {
        "ok"
    }
}

fn json(good: bool, body: &impl Serialize) -> Response<Body> {
    super::json(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: bool, receiver: State, exporter: State) -> Status {
        let component = |kind, state| ComponentStatus {
            kind,
            id: "x".to_owned(),
            state,
            buffer: None,
            queue: None,
            breaker: None,
            dead_letters: None,
        };
        Status {
            ready,
            budget_used_bytes: 1,
            budget_limit_bytes: 2,
            components: vec![
                component(ComponentKind::Receiver, receiver),
                component(ComponentKind::Exporter, exporter),
            ],
            retiring: Vec::new(),
        }
    }

    #[test]
    fn words_and_codes() {
        let failing = || State::Failing { last_error: "refused".to_owned(), since_seconds: 1 };
        for (status, expected, code) in [
            (None, "starting", 503),
            (Some(status(true, State::Ok, State::Ok)), "ok", 200),
            (Some(status(true, State::Ok, failing())), "degraded", 200),
            (Some(status(false, failing(), State::Ok)), "failing", 503),
            (Some(status(false, State::Stopped, State::Ok)), "stopping", 503),
        ] {
            assert_eq!(status.as_ref().map_or("starting", word), expected);
            assert_eq!(health(status, Duration::ZERO, None).status(), code, "{expected}");
        }
    }
}
