//! Datagrams, many to a system call, and the count of those that the kernel dropped.
//!
//! On Linux one `recvmmsg` fills up to [`BATCH`] buffers, and with GRO a buffer may hold several datagrams of a sender; both by
//! quinn-udp, since a system call for each of a hundred thousand small messages a second costs more than reading them. Elsewhere
//! a call takes one.
//!
//! The kernel drops datagrams when the socket's buffer is full. It tells how many in `/proc/net/udp`, which is read here by the
//! socket's inode; `SO_RXQ_OVFL` would tell it beside each datagram, and so only when another one arrives.
//!
//! Invariant: buffers are taken once, at start: [`BATCH`] of 64 KiB. Nothing is ever sent.

use crate::listen::{BindError, bind_first, explain};
use crate::share::{Lease, Registry};
use quinn_udp::{RecvMeta, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Buffers filled at once.
pub const BATCH: usize = 32;
/// No datagram, and nothing that GRO makes of several, is longer.
const BUFFER_BYTES: usize = 64 << 10;

static SOCKETS: Registry<Entry> = Registry::new();

/// A socket as it is shared.
#[derive(Debug)]
struct Entry {
    socket: std::net::UdpSocket,
    /// What the kernel dropped and somebody was told of.
    told_drops: AtomicU64,
}

/// A bound socket that takes datagrams.
#[derive(Debug)]
pub struct UdpReceiver {
    socket: UdpSocket,
    state: UdpSocketState,
    local_addr: SocketAddr,
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH],
    /// The socket's inode, where there is `/proc`.
    inode: Option<String>,
    lease: Lease<Entry>,
}

impl UdpReceiver {
    /// Binds `endpoint`, `host:port`, and asks the kernel for a receive buffer of so many bytes. The kernel gives what it allows
    /// (`net.core.rmem_max`); [`receive_buffer_bytes`](Self::receive_buffer_bytes) tells.
    ///
    /// # Errors
    /// [`BindError`]: a bad address, or one that cannot be bound.
    pub async fn bind(endpoint: &str, receive_buffer_bytes: usize) -> Result<Self, BindError> {
        let held = |port| SOCKETS.holds_port(port);
        let lease = bind_first(endpoint, bind_or_share, held).await?;
        let refused = |source| explain(endpoint, source);
        let socket = lease.socket.try_clone().map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        // Less than was asked for means more drops under load, which are counted.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(receive_buffer_bytes);
        let state = UdpSocketState::new((&socket).into()).map_err(refused)?;
        let socket = UdpSocket::from_std(socket).map_err(refused)?;
        Ok(Self {
            local_addr: socket.local_addr().map_err(refused)?,
            inode: inode(&socket),
            socket,
            state,
            buffers: vec![0; BATCH * BUFFER_BYTES],
            metas: [RecvMeta::default(); BATCH],
            lease,
        })
    }

    /// The address in use, with the port that the system chose.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The receive buffer that the kernel gave, in bytes of its own accounting (on Linux twice what was asked for); 0 if it
    /// does not say.
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        socket2::SockRef::from(&self.socket).recv_buffer_size().unwrap_or(0)
    }

    /// Waits until there may be datagrams. Cancel safe.
    ///
    /// # Errors
    /// The runtime is going away.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands what is there to `each`, one datagram after the other, for one batch, and returns how many there were.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, and what the kernel says otherwise.
    pub fn try_recv(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices: Vec<_> = self.buffers.chunks_mut(BUFFER_BYTES).map(IoSliceMut::new).collect();
        let (socket, state, metas) = (&self.socket, &self.state, &mut self.metas);
        let filled = socket.try_io(Interest::READABLE, || state.recv(socket.into(), &mut slices, metas))?;
        let mut datagrams = 0;
        for (buffer, meta) in self.buffers.chunks(BUFFER_BYTES).zip(&self.metas).take(filled) {
            let bytes = &buffer[..meta.len.min(buffer.len())];
            for datagram in bytes.chunks(meta.stride.max(1)) {
                each(datagram);
                datagrams += 1;
            }
        }
        Ok(datagrams)
    }

    /// Datagrams that the kernel dropped and nobody was told of yet, whoever shares the socket; `None` where it does not tell. Reads a
    /// file.
    #[must_use]
    pub fn new_kernel_drops(&self) -> Option<u64> {
        let inode = self.inode.as_deref()?;
        let table = if self.local_addr.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
        let now = drops_in(&std::fs::read_to_string(table).ok()?, inode)?;
        // The kernel's own counter has 32 bits on some systems: one that begins again is seen as none.
        Some(now.saturating_sub(self.lease.told_drops.fetch_max(now, Ordering::AcqRel)))
    }
}

fn bind_or_share(address: SocketAddr) -> io::Result<Lease<Entry>> {
    if let Some(lease) = SOCKETS.shared(address) {
        return Ok(lease);
    }
    let socket = std::net::UdpSocket::bind(address)?;
    Ok(SOCKETS.enter(socket.local_addr()?, Entry { socket, told_drops: AtomicU64::new(0) }))
}

fn inode(socket: &UdpSocket) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
}

/// The last column of the line whose tenth is the inode.
fn drops_in(table: &str, inode: &str) -> Option<u64> {
    let mut lines = table.lines().map(str::split_ascii_whitespace);
    lines.find(|columns| columns.clone().nth(9) == Some(inode))?.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn bound(buffer: usize) -> (UdpReceiver, std::net::UdpSocket) {
        let receiver = UdpReceiver::bind("127.0.0.1:0", buffer).await.unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr()).unwrap();
        (receiver, sender)
    }

    async fn all(receiver: &mut UdpReceiver, count: usize) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        while got.len() < count {
            tokio::time::timeout(Duration::from_secs(10), receiver.readable()).await.unwrap().unwrap();
            match receiver.try_recv(|datagram| got.push(datagram.to_vec())) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
        }
        got
    }

    #[tokio::test]
    async fn datagrams_come_whole_in_order_and_many_at_once() {
        let (mut receiver, sender) = bound(1 << 20).await;
        let sent: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 1 + usize::from(n) * 5]).collect();
        sent.iter().for_each(|datagram| assert_eq!(sender.send(datagram).unwrap(), datagram.len()));
        let mut first = 0;
        receiver.readable().await.unwrap();
        let counted = receiver.try_recv(|_| first += 1).unwrap();
        assert_eq!(counted, first);
        assert!(!cfg!(target_os = "linux") || first >= BATCH, "{first} datagrams in one call");
        let rest = all(&mut receiver, 100 - first).await;
        assert_eq!(rest, sent[first..]);
        assert!(receiver.try_recv(|_| {}).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
        assert_eq!(receiver.new_kernel_drops().unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn the_longest_and_the_shortest_datagram() {
        let (mut receiver, sender) = bound(1 << 20).await;
        let longest = vec![7; 65_507];
        sender.send(&longest).unwrap();
        sender.send(b"").unwrap();
        sender.send(b"x").unwrap();
        assert_eq!(all(&mut receiver, 2).await, [longest, b"x".to_vec()]);
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn what_the_kernel_dropped_is_counted() {
        let (mut receiver, sender) = bound(1).await;
        assert_eq!(receiver.new_kernel_drops(), Some(0));
        (0..1000).for_each(|_| assert_eq!(sender.send(&[0; 500]).unwrap(), 500));
        let dropped = receiver.new_kernel_drops().unwrap();
        assert_eq!(receiver.new_kernel_drops(), Some(0), "each is told once");
        assert!(dropped > 0 && dropped < 1000, "{dropped}");
        let got = all(&mut receiver, 1000 - dropped as usize).await;
        assert_eq!(got.len() as u64 + dropped, 1000);
    }

    #[test]
    fn the_table_of_the_kernel() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
                     71: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 8123 2 0000000000000000 12\n  \
                     72: 0100007F:158B 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 812 2 0000000000000000 7\n";
        assert_eq!(drops_in(table, "812"), Some(7));
        assert_eq!(drops_in(table, "8123"), Some(12));
        assert_eq!(drops_in(table, "81"), None);
    }

    #[tokio::test]
    async fn errors_teach() {
        let (receiver, _) = bound(1).await;
        let taken = receiver.local_addr().to_string();
        let text = UdpReceiver::bind(&taken, 1).await.unwrap_err().to_string();
        assert!(text.starts_with(&taken) && text.contains("another collector"), "{text}");
        assert!(UdpReceiver::bind("127.0.0.1", 1).await.unwrap_err().to_string().contains("no port"));
    }
}
