//! How prepared requests get to a server: one sender of one of the protocols.

mod grpc;
mod http;
mod tcp;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::grpc::Signal;
use crate::payload::{Form, Payload, PayloadSet};

/// Largest answer that is read, in bytes: an OTLP answer holds a count and a message.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of a server's message kept in an error text.
const MAX_ERROR_CHARS: usize = 160;

/// Sends one request at a time. Clones share a connection where the protocol can carry several requests at once.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// OTLP over gRPC.
    Grpc(Arc<grpc::Connection>, Signal),
    /// Remote-write over HTTP/1.1.
    Http(Arc<http::Connection>),
    /// Lines over TCP, which has no answers: written is all that a client ever knows.
    Tcp(Arc<tcp::Connection>),
}

impl Client {
    /// The senders of one connection (of `in_flight` connections, where each carries one request at a time; of one, where order
    /// is all there is).
    pub(crate) async fn connect(target: &str, in_flight: usize, payloads: &PayloadSet) -> Result<Vec<Self>> {
        let failed = |reason| Error::Connect { target: target.to_owned(), reason };
        match payloads.spec.form {
            Form::Otlp => {
                let template = grpc::Template::new(target, payloads)?;
                let connection = Arc::new(grpc::Connection::new(target, template));
                connection.sender().await.map_err(failed)?;
                let client = Self::Grpc(connection, payloads.spec.signal);
                Ok(vec![client; in_flight])
            }
            Form::RemoteWrite => {
                let mut clients = Vec::new();
                for _ in 0..in_flight {
                    let connection = http::Connection::open(target, "/api/v1/write").await.map_err(failed)?;
                    clients.push(Self::Http(Arc::new(connection)));
                }
                Ok(clients)
            }
            Form::Syslog | Form::JsonLines => {
                let connection = tcp::Connection::open(target).await.map_err(failed)?;
                Ok(vec![Self::Tcp(Arc::new(connection))])
            }
        }
    }

    /// Sends one request; the records that the answer says were rejected, or why it failed.
    pub(crate) async fn send(&self, payload: &Payload) -> Result<u64, String> {
        match self {
            Self::Grpc(connection, signal) => connection.export(payload, *signal).await,
            Self::Http(connection) => connection.post(payload).await,
            Self::Tcp(connection) => connection.write(payload).await,
        }
    }
}
