//! `Retry-After`, RFC 9110 section 10.2.3: seconds, or a date in any of HTTP's three formats.

use http::{HeaderMap, header};
use std::time::{Duration, SystemTime};

/// Longest delay that is believed.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// How long a server wants us to wait, counted from `now`. At most an hour; a date that has passed is zero.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit stand for a very long time.
        return Some(value.parse().map_or(MAX_DELAY, |s| Duration::from_secs(s).min(MAX_DELAY)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(MAX_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(value: &'static str, now: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).map(|d| d.as_secs())
    }

    #[test]
    fn seconds_and_dates() {
        assert_eq!(read("120", 0), Some(120));
        assert_eq!(read(" 0 ", 0), Some(0));
        assert_eq!(read("99999999999999999999999", 0), Some(3600));
        // RFC 9110's own example, 784111777 seconds after the epoch, in its three spellings.
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read(date, 784_111_747), Some(30), "{date}");
            assert_eq!(read(date, 784_111_900), Some(0));
            assert_eq!(read(date, 0), Some(3600));
        }
        for bad in ["", "-1", "1.5", "soon"] {
            assert_eq!(read(bad, 0), None, "{bad}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), None);
    }
}
