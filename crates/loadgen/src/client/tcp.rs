//! Lines over TCP. There are no answers: a server that is slow leaves the connection unread, and writing waits.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::payload::Payload;

/// A connection. Once broken it stays so: what was on its way is lost, and a run with losses is no measurement.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Mutex<TcpStream>,
}

impl Connection {
    pub(super) async fn open(target: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(target).await.map_err(|e| format!("connect: {e}"))?;
        Ok(Self { stream: Mutex::new(stream) })
    }

    pub(super) async fn write(&self, payload: &Payload) -> Result<u64, String> {
        let mut stream = self.stream.lock().await;
        stream.write_all(&payload.framed).await.map_err(|e| format!("write: {e}"))?;
        Ok(0)
    }
}
