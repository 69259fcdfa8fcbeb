//! Keeps web pages from giving orders: the admin server has no password, and a page that a person looks at can send requests to
//! loopback.
//!
//! A browser says whose page sends a POST (`Origin`, `Sec-Fetch-Site`; older ones `Referer`). Only our own page may; and only under an
//! address or `localhost`, since a name may be one that its owner points at this host (DNS rebinding). Programs such as curl send
//! none of these headers and pass.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, Uri};

const FETCH_SITE: &str = "sec-fetch-site";

/// True if a page of somebody else may have sent this.
pub(super) fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    let text =
        |value: Option<&http::HeaderValue>| value.map(|value| value.to_str().unwrap_or("?").to_owned());
    let site = text(headers.get(FETCH_SITE));
    let page = text(headers.get(ORIGIN)).or_else(|| text(headers.get(REFERER)));
    if site.is_none() && page.is_none() {
        return false;
    }
    // HTTP/2 has no Host.
    let host = text(headers.get(HOST)).or_else(|| uri.authority().map(ToString::to_string));
    let Some(host) = host.filter(|host| is_address(host)) else { return true };
    let own_site = site.is_none_or(|site| site == "same-origin");
    let own_page = page.is_none_or(|page| {
        page.strip_prefix("http://").and_then(|rest| rest.split('/').next()) == Some(host.as_str())
    });
    !(own_site && own_page)
}

/// An IP address or `localhost`, with a port or without.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn foreign(headers: &[(&'static str, &'static str)]) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        is_foreign(&headers.collect(), &Uri::from_static("/admin/reload"))
    }

    #[test]
    fn programs_and_our_own_page_pass() {
        for headers in [
            &[][..],
            &[("host", "127.0.0.1:13133")],
            &[("host", "floodway.example:13133"), ("user-agent", "curl/8")],
            &[
                ("host", "localhost:13133"),
                ("origin", "http://localhost:13133"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("host", "[::1]:13133"), ("origin", "http://[::1]:13133")],
            &[("host", "10.0.0.1"), ("referer", "http://10.0.0.1/")],
        ] {
            assert!(!foreign(headers), "{headers:?}");
        }
    }

    #[test]
    fn other_pages_are_refused() {
        for headers in [
            &[("host", "127.0.0.1:13133"), ("origin", "https://evil.example")][..],
            &[("host", "127.0.0.1:13133"), ("origin", "null")],
            &[("host", "127.0.0.1:13133"), ("origin", "http://127.0.0.1:8080")],
            &[("host", "127.0.0.1:13133"), ("origin", "http://127.0.0.1:13133.evil.example")],
            &[("host", "127.0.0.1:13133"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:13133"), ("sec-fetch-site", "same-site")],
            &[("host", "127.0.0.1:13133"), ("referer", "http://evil.example/127.0.0.1:13133")],
            // A name that was pointed at this host.
            &[
                ("host", "evil.example:13133"),
                ("origin", "http://evil.example:13133"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("host", "127.0.0.1.evil.example"), ("origin", "http://127.0.0.1.evil.example")],
            &[("origin", "http://127.0.0.1:13133")],
        ] {
            assert!(foreign(headers), "{headers:?}");
        }
    }
}
