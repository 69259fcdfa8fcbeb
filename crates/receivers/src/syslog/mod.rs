//! Syslog over UDP, TCP and TLS: RFC 5424 and RFC 3164, and the framings of RFC 6587 and RFC 5425.
//!
//! Over TCP a sender waits while the pipelines are full, as `stream_session` has it. UDP has nobody to tell: what finds no room
//! is dropped and counted, and so is what the kernel dropped before it could be read.
//!
//! Deliberately not here: RELP and DTLS.

mod messages;
mod udp;
mod zone;

use std::time::Duration;

use codec::syslog::{DEFAULT_MAX_MESSAGE_BYTES, Framing, SCOPE, SyslogStream, Zone};
use engine::{
    BoxFuture, BuildContext, BuildError, Claim, Receiver, ReceiverConfig, ReceiverContext, Serving,
};
use model::{AckMode, Signal};
use net::Listen;
use net::config::ServerTls;
use net::udp::UdpReceiver;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::{Connections, bind, positive};
use crate::stream_session::{DRAIN_TIMEOUT, Session, Settings};
use messages::{Messages, Problems};
use udp::Datagrams;

/// Both of UDP and TCP. The well-known port, 514, is for root alone.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:5514";
/// What every receiver must take (RFC 5424, section 6.1).
const LEAST_MESSAGE_BYTES: usize = 480;

/// Receives syslog messages, RFC 5424 or RFC 3164, whichever each is. With neither `udp` nor `tcp` it listens on both, else on
/// those that are given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SyslogConfig {
    /// Datagrams, one message each.
    udp: Option<UdpConfig>,
    /// Connections, in plain text or TLS.
    tcp: Option<TcpConfig>,
    /// When more is read of a TCP connection: `received`, `durable` or `delivered`. UDP waits for nothing. Default: durable where
    /// every exporter behind has a buffer, else received.
    ack: Option<AckMode>,
    /// Longest message in bytes; a longer one is cut and tagged `_line_cut`. Default: 65536 (64 KiB).
    max_message_bytes: usize,
    /// The zone of RFC 3164 times, which name none: `UTC`, `local`, an offset such as `+02:00`, or a name such as
    /// `Europe/Berlin`. Default: UTC.
    time_zone: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct UdpConfig {
    /// Where to listen, `host:port`. Default: 127.0.0.1:5514.
    endpoint: String,
    /// What the kernel is asked to keep for us while we are busy, in bytes; it gives at most `net.core.rmem_max`. Default:
    /// 4194304 (4 MiB).
    receive_buffer_bytes: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TcpConfig {
    /// Where to listen, `host:port`. Default: 127.0.0.1:5514.
    endpoint: String,
    /// TLS, as RFC 5425 has it. Default: plain text.
    tls: Option<ServerTls>,
    /// Where a message ends: `octet_counting` (its length stands before it), `newline`, or `auto` (seen for each). Default: auto.
    framing: FramingConfig,
    /// Connections at one time; more are closed at once. Default: 1024.
    max_connections: usize,
    /// How long a message may stay unfinished, in milliseconds, before it is taken as it is and the connection closed.
    /// Default: 60000.
    message_timeout_ms: u64,
    /// How long a connection may be silent between two messages, in milliseconds, before it is closed. Default: for ever,
    /// since a host that logs nothing is not a dead one.
    idle_timeout_ms: Option<u64>,
}

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FramingConfig {
    /// Seen for each message.
    #[default]
    Auto,
    /// A length before each message.
    OctetCounting,
    /// A line break after each message.
    Newline,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            udp: None,
            tcp: None,
            ack: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            time_zone: "UTC".to_owned(),
        }
    }
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { endpoint: DEFAULT_ENDPOINT.to_owned(), receive_buffer_bytes: 4 << 20 }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            tls: None,
            framing: FramingConfig::Auto,
            max_connections: 1024,
            message_timeout_ms: 60_000,
            idle_timeout_ms: None,
        }
    }
}

impl From<FramingConfig> for Framing {
    fn from(framing: FramingConfig) -> Self {
        match framing {
            FramingConfig::Auto => Self::Auto,
            FramingConfig::OctetCounting => Self::OctetCounting,
            FramingConfig::Newline => Self::Newline,
        }
    }
}

/// The settings with their defaults filled in and looked through.
struct Syslog {
    udp: Option<UdpConfig>,
    tcp: Option<TcpConfig>,
    max_message_bytes: usize,
    zone: Zone,
}

impl ReceiverConfig for SyslogConfig {
    const NAME: &'static str = "syslog";
    const SUMMARY: &'static str = "syslog over UDP, TCP and TLS, RFC 5424 and RFC 3164";
    const SIGNALS: &'static [Signal] = &[Signal::Logs];

    fn claims(&self) -> Vec<Claim> {
        let default = || DEFAULT_ENDPOINT.to_owned();
        if self.listens_on_both() {
            return vec![Claim::Udp(default()), Claim::Tcp(default())];
        }
        let udp = self.udp.iter().map(|udp| Claim::Udp(udp.endpoint.clone()));
        udp.chain(self.tcp.iter().map(|tcp| Claim::Tcp(tcp.endpoint.clone()))).collect()
    }

    fn ack(&self) -> Option<AckMode> {
        self.ack
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        if self.max_message_bytes < LEAST_MESSAGE_BYTES {
            return Err(BuildError::new(format!(
                "max_message_bytes is {}, and every receiver must take {LEAST_MESSAGE_BYTES} (RFC 5424, section 6.1); give more",
                self.max_message_bytes
            )));
        }
        let zone = zone::find(&self.time_zone)?;
        let both = self.listens_on_both();
        let udp = self.udp.or_else(|| both.then(UdpConfig::default));
        let tcp = self.tcp.or_else(|| both.then(TcpConfig::default));
        udp.iter().try_for_each(UdpConfig::check)?;
        tcp.iter().try_for_each(TcpConfig::check)?;
        Ok(Box::new(Syslog { udp, tcp, max_message_bytes: self.max_message_bytes, zone }))
    }
}

impl SyslogConfig {
    fn listens_on_both(&self) -> bool {
        self.udp.is_none() && self.tcp.is_none()
    }
}

impl UdpConfig {
    fn check(&self) -> Result<(), BuildError> {
        check_endpoint("udp", &self.endpoint)?;
        positive("udp.receive_buffer_bytes", self.receive_buffer_bytes as u64)
    }
}

impl TcpConfig {
    fn check(&self) -> Result<(), BuildError> {
        check_endpoint("tcp", &self.endpoint)?;
        positive("tcp.max_connections", self.max_connections as u64)?;
        positive("tcp.message_timeout_ms", self.message_timeout_ms)?;
        positive("tcp.idle_timeout_ms", self.idle_timeout_ms.unwrap_or(1))
    }

    fn listen(&self) -> Listen {
        // RFC 5425 knows no ALPN, and no client that offers something else is to be turned away for it.
        Listen { alpn: &[], ..Listen::new(&self.endpoint) }
            .tls(self.tls.clone())
            .max_connections(self.max_connections)
    }
}

fn check_endpoint(section: &str, endpoint: &str) -> Result<(), BuildError> {
    net::listen::check(endpoint).map_err(|error| BuildError::new(format!("{section}: {error}")))
}

impl Receiver for Syslog {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            // Both are bound before either serves.
            let udp = match &self.udp {
                Some(udp) => Some(bind_udp(udp, &context).await?),
                None => None,
            };
            let tcp = match &self.tcp {
                Some(tcp) => Some(self.serve_tcp(tcp, &context).await?),
                None => None,
            };
            let datagrams =
                udp.map(|socket| Datagrams::new(&context, socket, self.max_message_bytes, self.zone.clone()));
            let serving: Serving = Box::pin(async move {
                let udp = async {
                    if let Some(datagrams) = datagrams {
                        datagrams.run(context.shutdown.clone()).await;
                    }
                };
                let tcp = async {
                    if let Some(tcp) = tcp {
                        tcp.await;
                    }
                };
                tokio::join!(udp, tcp);
            });
            Ok(serving)
        })
    }
}

async fn bind_udp(udp: &UdpConfig, context: &ReceiverContext) -> Result<UdpReceiver, BuildError> {
    let bound = UdpReceiver::bind(&udp.endpoint, udp.receive_buffer_bytes).await;
    let socket = bound.map_err(|error| BuildError::new(error.to_string()))?;
    tracing::info!(
        component = context.metrics.id(),
        address = %socket.local_addr(),
        receive_buffer_bytes = socket.receive_buffer_bytes(),
        "syslog listens on UDP"
    );
    Ok(socket)
}

impl Syslog {
    async fn serve_tcp(&self, tcp: &TcpConfig, context: &ReceiverContext) -> Result<Serving, BuildError> {
        let bound = bind(tcp.listen()).await?;
        let tls = bound.is_tls();
        tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), tls, "syslog listens on TCP");
        let hooks = Connections::new(&context.metrics, if tls { "tls" } else { "tcp" });
        let settings = Settings::new(context, SCOPE, Duration::from_millis(tcp.message_timeout_ms))
            .idle_timeout(tcp.idle_timeout_ms.map(Duration::from_millis));
        let problems = Problems::new(&context.metrics);
        let decoder = SyslogStream::new(tcp.framing.into(), self.max_message_bytes, self.zone.clone());
        let shutdown = context.shutdown.clone();
        let stop = async move { shutdown.requested().await };
        Ok(Box::pin(async move {
            let session = move |stream, _, shutdown| {
                let messages = Messages::new(decoder.clone(), problems.clone());
                Session::new(settings.clone(), messages, shutdown).run(stream)
            };
            let drained = net::server::serve_tcp(bound, hooks, stop, DRAIN_TIMEOUT, session).await;
            tracing::debug!(finished = drained.finished, cut = drained.cut, "syslog over TCP stopped");
        }))
    }
}
