//! A receiver and its successor on one socket: nobody who connects is turned away, whoever of the two accepts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use net::body::Body;
use net::client::{Chunks, HttpClient, HttpClientOptions};
use net::server::{Drained, HttpOptions, NoHooks};
use net::share::sharing;
use net::udp::UdpReceiver;
use net::{Bound, Listen};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Served {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

/// Answers with the number of the server.
fn serve(bound: Bound, number: usize) -> Served {
    let (stop, stopped) = oneshot::channel();
    let handler = move |_: Request<Incoming>| async move { Response::new(Body::from(number.to_string())) };
    let stopped = async {
        let _ = stopped.await;
    };
    let task =
        tokio::spawn(net::server::serve(bound, HttpOptions::default(), Arc::new(NoHooks), stopped, handler));
    Served { stop, task }
}

/// One connection, one request; what goes wrong, if anything.
async fn ask(address: SocketAddr, pause: Duration) -> Result<usize, String> {
    let mut socket = TcpStream::connect(address).await.map_err(|e| format!("connect: {e}"))?;
    tokio::time::sleep(pause).await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).await.map_err(|e| format!("write: {e}"))?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.map_err(|e| format!("read: {e}"))?;
    let body = answer.strip_prefix("HTTP/1.1 200 OK").and_then(|rest| rest.split("\r\n\r\n").nth(1));
    body.and_then(|body| body.parse().ok()).ok_or(format!("answer: {answer:?}"))
}

/// HTTP/2 on a connection of its own.
async fn ask_http2(address: SocketAddr) -> Result<usize, String> {
    let socket = TcpStream::connect(address).await.map_err(|e| format!("connect: {e}"))?;
    let (mut send, connection) =
        h2::client::handshake(socket).await.map_err(|e| format!("handshake: {e}"))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).map_err(|e| format!("request: {e}"))?;
    let mut body = response.await.map_err(|e| format!("response: {e}"))?.into_body();
    let bytes = body.data().await.ok_or("no body")?.map_err(|e| format!("body: {e}"))?;
    drop(send);
    connection.abort();
    String::from_utf8_lossy(&bytes).parse().map_err(|e| format!("{e}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_connects_while_servers_change_places_is_served() {
    let listen = Listen::new("127.0.0.1:0").max_connections(10_000);
    let first = listen.bind().await.unwrap();
    let address = first.local_addr();
    let (end, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..12)
        .map(|n| {
            let (end, asked) = (Arc::clone(&end), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut servers = Vec::new();
                while !end.load(Ordering::SeqCst) {
                    let answer = match n {
                        0..4 => ask(address, Duration::ZERO).await,
                        4..8 => ask(address, Duration::from_millis(n * 7)).await,
                        _ => ask_http2(address).await,
                    };
                    servers.push(
                        answer.unwrap_or_else(|e| panic!("client {n}, request {}: {e}", servers.len())),
                    );
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                servers
            })
        })
        .collect();
    let listen = Listen { endpoint: address.to_string(), ..listen };
    let mut serving = serve(first, 0);
    let mut retired = Vec::new();
    for number in 1..=100 {
        let before = asked.load(Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < before + 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(clients.iter().all(|client| !client.is_finished()), "a client was not served");
        }
        let bound = sharing(listen.bind()).await.unwrap();
        let old = std::mem::replace(&mut serving, serve(bound, number));
        old.stop.send(()).unwrap();
        retired.push(old.task);
    }
    end.store(true, Ordering::SeqCst);
    let mut by_server = vec![0; 101];
    for client in clients {
        client.await.unwrap().into_iter().for_each(|server: usize| by_server[server] += 1);
    }
    assert!(by_server.iter().filter(|served| **served > 0).count() > 80, "{by_server:?}");
    for task in retired {
        assert_eq!(task.await.unwrap().cut, 0);
    }
    // The last one takes the port with it.
    serving.stop.send(()).unwrap();
    let _ = serving.task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert!(listen.bind().await.is_ok());
}

#[tokio::test]
async fn an_address_that_is_taken_stays_an_error_outside_of_sharing() {
    let first = Listen::new("127.0.0.1:0").bind().await.unwrap();
    let same = Listen::new(first.local_addr().to_string());
    assert!(same.bind().await.is_err());
    let second = sharing(same.bind()).await.unwrap();
    assert_eq!(first.local_addr(), second.local_addr());
    assert!(same.bind().await.is_err());
    drop(first);
    assert!(same.bind().await.is_err(), "the successor holds it");
    // An address that only overlaps cannot be shared, and the error says what it is.
    let all = Listen::new(format!("0.0.0.0:{}", second.local_addr().port()));
    let text = sharing(all.bind()).await.unwrap_err().to_string();
    assert!(text.contains("this program itself"), "{text}");
    drop(second);
    assert!(same.bind().await.is_ok(), "nobody holds it any more");
    // What another process holds is not ours to share.
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = sharing(Listen::new(foreign.local_addr().unwrap().to_string()).bind()).await.unwrap_err();
    assert!(text.to_string().contains("another collector"), "{text}");
}

#[tokio::test]
async fn connections_of_the_old_server_outlive_its_listener() {
    let listen = Listen::new("127.0.0.1:0");
    let bound = listen.bind().await.unwrap();
    let address = bound.local_addr();
    let old = serve(bound, 1);
    let client = HttpClient::new(&HttpClientOptions::new(format!("http://{address}"))).unwrap();
    let ask = || client.request(Method::GET, "/", HeaderMap::new(), Chunks::from(Bytes::new()));
    assert_eq!(ask().await.unwrap().body.as_ref(), b"1");
    let listen = Listen { endpoint: address.to_string(), ..listen };
    let new = serve(sharing(listen.bind()).await.unwrap(), 2);
    old.stop.send(()).unwrap();
    let _ = old.task.await.unwrap();
    assert_eq!(ask().await.unwrap().body.as_ref(), b"2", "the client connects again, to the new one");
    drop(new);
}

#[tokio::test]
async fn every_datagram_reaches_one_of_the_two() {
    let mut receiver = UdpReceiver::bind("127.0.0.1:0", 1 << 20).await.unwrap();
    let address = receiver.local_addr();
    assert!(UdpReceiver::bind(&address.to_string(), 1).await.is_err());
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(address).unwrap();
    let mut got = Vec::new();
    let mut take = |receiver: &mut UdpReceiver| {
        while receiver.try_recv(|datagram| got.push(u32::from_be_bytes(datagram.try_into().unwrap()))).is_ok()
        {
        }
    };
    for n in 0..2000_u32 {
        sender.send(&n.to_be_bytes()).unwrap();
        if n % 100 == 50 {
            let successor = sharing(UdpReceiver::bind(&address.to_string(), 1 << 20)).await.unwrap();
            receiver.readable().await.unwrap();
            take(&mut receiver);
            // What comes from here on waits in the socket for the successor.
            receiver = successor;
        }
    }
    receiver.readable().await.unwrap();
    take(&mut receiver);
    got.sort_unstable();
    assert_eq!(receiver.new_kernel_drops().unwrap_or(0), 0);
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
}
