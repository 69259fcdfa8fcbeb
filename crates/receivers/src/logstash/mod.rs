//! Logstash's JSON over TCP: one object a line, as winston-logstash, `nc` and Logstash's own `json_lines` codec send.
//!
//! TCP has no answers. A connection is read only as fast as its events are taken: while queues or the memory budget are
//! full it is left unread, so that the sender's kernel makes the sender wait; nothing is lost by it.
//!
//! Deliberately not here: Lumberjack (Beats), which has answers and is a receiver of its own.

mod events;

use std::time::Duration;

use codec::json_lines::{JsonLinesLimits, SCOPE};
use engine::{
    BoxFuture, BuildContext, BuildError, Claim, Receiver, ReceiverConfig, ReceiverContext, Serving,
};
use model::{AckMode, Signal};
use net::Listen;
use net::config::ServerTls;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::{Connections, bind, checked, positive};
use crate::stream_session::{DRAIN_TIMEOUT, Session, Settings};
use events::{Events, Problems};

/// Receives events as JSON lines over TCP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogstashConfig {
    /// Where to listen, `host:port`. Default: 127.0.0.1:5000.
    endpoint: String,
    /// TLS. Default: plain text.
    tls: Option<ServerTls>,
    /// When the next events are read: `received`, `durable` or `delivered`. Default: durable where every exporter behind has a
    /// buffer, else received.
    ack: Option<AckMode>,
    /// Connections at one time; more are closed at once. Default: 1024.
    max_connections: usize,
    /// Longest line in bytes; a longer one is cut and tagged `_line_cut`. Default: 1048576 (1 MiB).
    max_line_bytes: usize,
    /// How long a line may stay unfinished, in milliseconds, before it is taken as it is and the connection closed. A
    /// connection between two lines may be idle for ever. Default: 60000.
    line_timeout_ms: u64,
}

impl Default for LogstashConfig {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:5000".to_owned(),
            tls: None,
            ack: None,
            max_connections: 1024,
            max_line_bytes: JsonLinesLimits::default().max_line_bytes,
            line_timeout_ms: 60_000,
        }
    }
}

impl ReceiverConfig for LogstashConfig {
    const NAME: &'static str = "logstash";
    const SUMMARY: &'static str = "JSON lines over TCP, as Logstash's tcp input with the json_lines codec";
    const SIGNALS: &'static [Signal] = &[Signal::Logs];

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Tcp(self.endpoint.clone())]
    }

    fn ack(&self) -> Option<AckMode> {
        self.ack
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        if self.max_line_bytes < 1024 {
            return Err(BuildError::new(format!(
                "max_line_bytes is {}, too short for any event; give at least 1024",
                self.max_line_bytes
            )));
        }
        checked(&Listen::new(&self.endpoint))?;
        positive("max_connections", self.max_connections as u64)?;
        positive("line_timeout_ms", self.line_timeout_ms)?;
        Ok(self)
    }
}

impl Receiver for LogstashConfig {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            let listen =
                Listen::new(&self.endpoint).tls(self.tls.clone()).max_connections(self.max_connections);
            let bound = bind(listen).await?;
            tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), "Logstash JSON listens");
            let hooks = Connections::new(&context.metrics, "tcp");
            let limits =
                JsonLinesLimits { max_line_bytes: self.max_line_bytes, ..JsonLinesLimits::default() };
            let settings = Settings::new(&context, SCOPE, Duration::from_millis(self.line_timeout_ms));
            let problems = Problems::new(&context.metrics);
            let stop = async move { context.shutdown.requested().await };
            let serving: Serving = Box::pin(async move {
                let session = move |stream, _, shutdown| {
                    let events = Events::new(limits, problems.clone());
                    Session::new(settings.clone(), events, shutdown).run(stream)
                };
                let drained = net::server::serve_tcp(bound, hooks, stop, DRAIN_TIMEOUT, session).await;
                tracing::debug!(finished = drained.finished, cut = drained.cut, "Logstash JSON stopped");
            });
            Ok(serving)
        })
    }
}
