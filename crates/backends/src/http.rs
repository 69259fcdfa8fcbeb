//! Just enough of an HTTP client to ask a server on loopback whether it is ready and what it has stored.
//!
//! Requests are HTTP/1.0, so that answers are never chunked and end with the connection. Deliberately absent: TLS, host
//! names, redirects, keep-alive. The body of an answer is limited to 64 MiB.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};

const BODY_LIMIT: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

/// Asks `http://ADDRESS:PORT/path?query` and waits for the whole answer, whatever its status.
///
/// # Errors
/// [`Error::Http`] for an address that is not `http://` with a literal IP address and a port, for connection failures,
/// when nothing arrives for `timeout`, and for an answer that is not HTTP.
pub fn get(url: &str, timeout: Duration) -> Result<Response> {
    exchange(url, timeout).map_err(|reason| Error::Http { url: url.to_owned(), reason })
}

/// `path?key=value&...` with the pairs percent-encoded.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let query: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn exchange(url: &str, timeout: Duration) -> std::result::Result<Response, String> {
    let rest = url.strip_prefix("http://").ok_or("not an http:// address")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let address: SocketAddr =
        authority.parse().map_err(|_| format!("{authority:?} is not IP-ADDRESS:PORT"))?;
    let mut stream =
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT.min(timeout)).map_err(|e| e.to_string())?;
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    stream.take(BODY_LIMIT).read_to_end(&mut answer).map_err(|e| e.to_string())?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> std::result::Result<Response, String> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("the answer has no end of headers")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|head| head.split(' ').nth(1))
        .and_then(|word| word.split_whitespace().next())
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| format!("not an HTTP status line: {:?}", head.lines().next().unwrap_or_default()))?;
    Ok(Response { status, body: String::from_utf8_lossy(&answer[end + 4..]).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    /// Answers one connection with fixed bytes and returns the request it got.
    fn serve(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 512];
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, thread)
    }

    #[test]
    fn asks_and_reads_to_the_end_of_the_connection() {
        let (url, server) = serve(b"HTTP/1.0 503 Service Unavailable\r\nX: y\r\n\r\nwait\r\n\r\nmore");
        let path = with_query("/api/search", &[("q", "{ name = \"a&b\" }")]);
        let response = get(&format!("{url}{path}"), Duration::from_secs(5)).unwrap();
        assert_eq!(response, Response { status: 503, body: "wait\r\n\r\nmore".to_owned() });
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /api/search?q=%7B%20name%20%3D%20%22a%26b%22%20%7D HTTP/1.0\r\n"),
            "{request}"
        );
    }

    #[test]
    fn what_is_not_http_is_an_error_that_names_the_address() {
        let (url, server) = serve(b"SSH-2.0-x\r\n\r\n");
        let error = get(&url, Duration::from_secs(5)).unwrap_err().to_string();
        server.join().unwrap();
        assert_eq!(error, format!("GET {url}: not an HTTP status line: \"SSH-2.0-x\""));
        assert!(
            get("https://127.0.0.1:1/", Duration::from_secs(1))
                .unwrap_err()
                .to_string()
                .contains("not an http:// address")
        );
        assert!(
            get("http://localhost:1/", Duration::from_secs(1))
                .unwrap_err()
                .to_string()
                .contains("IP-ADDRESS:PORT")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"HTTP/1.1 ".as_slice(), &bytes, b"\r\n\r\n"].concat());
        }
    }
}
