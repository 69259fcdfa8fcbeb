//! `POST /admin/circuit-breaker/reset[?exporter=ID]`: for the person who has just mended a destination.
//!
//! Without an id every exporter's breaker is closed. What waited in a back-off is sent at once; no retry is lost or counted.
//!
//! ```json
//! { "reset": ["loki"] }
//! ```

use engine::Monitor;
use http::{Response, StatusCode};
use net::Body;

pub(super) const PATH: &str = "/admin/circuit-breaker/reset";

/// `monitor` is `None` before the graph runs.
pub(super) fn reset(monitor: Option<&Monitor>, query: Option<&str>) -> Response<Body> {
    let exporter = match exporter(query) {
        Ok(exporter) => exporter,
        Err(error) => return super::text(StatusCode::BAD_REQUEST, error),
    };
    let Some(monitor) = monitor else {
        return super::text(StatusCode::SERVICE_UNAVAILABLE, "nothing runs yet\n");
    };
    let reset = monitor.reset_breakers(exporter.as_deref());
    if exporter.is_some() && reset.is_empty() {
        return super::text(StatusCode::NOT_FOUND, "there is no such exporter; /health lists them by id\n");
    }
    let body = serde_json::json!({ "reset": reset });
    super::full(StatusCode::OK, "application/json", format!("{body}\n"))
}

/// The exporter that the query names.
fn exporter(query: Option<&str>) -> Result<Option<String>, &'static str> {
    let mut named = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("exporter", id)) if named.is_none() => {
                named = Some(decoded(id).ok_or("`exporter` is not percent-encoded UTF-8\n")?);
            }
            _ => return Err("the query may be `exporter=ID`, once, and nothing else\n"),
        }
    }
    Ok(named)
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(exporter(None), Ok(None));
        assert_eq!(exporter(Some("exporter=otlp%2Fsecond")), Ok(Some("otlp/second".to_owned())));
        assert_eq!(exporter(Some("exporter=otlp/second")), Ok(Some("otlp/second".to_owned())));
        for bad in [
            "exporters=a",
            "exporter",
            "exporter=a&exporter=b",
            "exporter=%4",
            "exporter=%zz",
            "exporter=%ff",
        ] {
            assert!(exporter(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(reset(None, Some("exporter=%")).status(), 400);
        assert_eq!(reset(None, None).status(), 503);
    }
}
