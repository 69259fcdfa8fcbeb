//! What a destination says of a request.

use std::time::{Duration, SystemTime};

use engine::Rejected;
use http::StatusCode;
use net::client::{HttpResponse, retry_after};

use super::version::Version;

/// Reasons for the metric of dropped records.
pub(super) const REFUSED: &str = "refused_by_destination";
const OUT_OF_ORDER: &str = "out_of_order";
const DUPLICATE: &str = "duplicate_sample";
const OUT_OF_BOUNDS: &str = "out_of_bounds";

/// What Prometheus, Mimir and Cortex call what they do not take. The first that is found in a line counts.
const PHRASES: [(&str, &str); 8] = [
    ("out of order exemplar", ""),
    ("duplicate sample", DUPLICATE),
    ("duplicate-timestamp", DUPLICATE),
    ("out of order", OUT_OF_ORDER),
    ("out-of-order", OUT_OF_ORDER),
    ("too old", OUT_OF_BOUNDS),
    ("too-old", OUT_OF_BOUNDS),
    ("out of bounds", OUT_OF_BOUNDS),
];

/// Most characters of what a destination says that are kept.
const MAX_TEXT: usize = 200;

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Taken, so many samples and native histograms of it as the headers say; `None` without headers.
    Taken(Option<u64>),
    /// Some of it was not taken, for good; so many samples were.
    Partly { written: u64 },
    /// Something in it is refused, and nobody says what.
    Records,
    /// The version is not spoken.
    Version,
    /// It may be tried again.
    Later(Option<Duration>),
    /// Nothing of the kind will be taken.
    Request,
}

pub(super) fn verdict(answer: &HttpResponse, version: Version) -> Verdict {
    // 1.0 has no such headers; where Prometheus sends them all the same, they say nothing.
    let written = written(answer).filter(|_| version == Version::V2);
    match answer.status {
        status if status.is_success() => Verdict::Taken(written),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Verdict::Version,
        StatusCode::TOO_MANY_REQUESTS => Verdict::Later(retry_after(&answer.headers, SystemTime::now())),
        status if status.is_server_error() => Verdict::Later(retry_after(&answer.headers, SystemTime::now())),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            written.map_or(Verdict::Records, |written| Verdict::Partly { written })
        }
        _ => Verdict::Request,
    }
}

/// Samples and native histograms written.
fn written(answer: &HttpResponse) -> Option<u64> {
    let header = |name: &str| -> Option<u64> { answer.headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let samples = header("x-prometheus-remote-write-samples-written");
    let histograms = header("x-prometheus-remote-write-histograms-written");
    match (samples, histograms) {
        (None, None) => None,
        (samples, histograms) => Some(samples.unwrap_or(0).saturating_add(histograms.unwrap_or(0))),
    }
}

/// So many lost records, by the reasons that the answer gives; which they are is left open. Prometheus has a line for each sample.
pub(super) fn reasons(answer: &HttpResponse, lost: u64) -> Vec<Rejected> {
    let text = String::from_utf8_lossy(&answer.body);
    let mut found: Vec<(&'static str, u64)> = Vec::new();
    for line in text.lines() {
        let reason =
            PHRASES.iter().find(|(phrase, _)| line.contains(phrase)).map_or(REFUSED, |(_, reason)| *reason);
        match found.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => found.push((reason, 1)),
        }
    }
    found.retain(|(reason, _)| !reason.is_empty());
    let message = said(answer);
    let mut left = lost;
    let last = found.len().saturating_sub(1);
    let mut rejected = Vec::new();
    for (n, (reason, lines)) in found.iter().enumerate() {
        let items = if n == last { left } else { left.min(*lines) };
        left -= items;
        if items > 0 {
            rejected.push(Rejected { reason, items, message: message.clone(), payloads: Vec::new() });
        }
    }
    if found.is_empty() && lost > 0 {
        rejected.push(Rejected { reason: REFUSED, items: lost, message, payloads: Vec::new() });
    }
    rejected
}

/// The status and what the answer begins with, without the labels that destinations quote: those are the user's data.
pub(super) fn said(answer: &HttpResponse) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let line = text.trim().lines().next().unwrap_or_default();
    let end = ["{", " for series", " series", ", got", ", labels", "\"", "'"]
        .iter()
        .filter_map(|quote| line.find(quote))
        .min()
        .unwrap_or(line.len());
    let said: String = line[..end].chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    match said.trim() {
        "" => format!("HTTP {}", answer.status),
        said => format!("HTTP {}: {said}", answer.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpResponse {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| drop(map.insert(*name, value.parse().unwrap())));
        let status = StatusCode::from_u16(status).unwrap();
        HttpResponse { status, headers: map, body: body.to_owned().into(), truncated: false }
    }

    #[test]
    fn lost_samples_have_the_reasons_of_the_lines() {
        let body = "out of order sample for series {a=\"secret\"}\nduplicate sample for timestamp for series {b=\"x\"}\n\
                    out of order sample for series {c=\"y\"}\nout of order exemplar for series {c=\"y\"}\n";
        let found = reasons(&answer(400, &[], body), 3);
        let counts: Vec<_> = found.iter().map(|r| (r.reason, r.items)).collect();
        assert_eq!(counts, [(OUT_OF_ORDER, 2), (DUPLICATE, 1)]);
        assert!(found.iter().all(|r| r.message == "HTTP 400 Bad Request: out of order sample"));
        let found = reasons(&answer(400, &[], ""), 3);
        assert_eq!((found[0].reason, found[0].items), (REFUSED, 3));
        assert!(reasons(&answer(400, &[], "out of order exemplar"), 0).is_empty());
    }

    #[test]
    fn statuses_mean_what_the_specification_says() {
        let written = [
            ("x-prometheus-remote-write-samples-written", "4"),
            ("x-prometheus-remote-write-histograms-written", "1"),
        ];
        let of =
            |status, headers: &[(&'static str, &str)]| verdict(&answer(status, headers, ""), Version::V2);
        assert!(matches!(of(204, &written), Verdict::Taken(Some(5))));
        assert!(matches!(of(200, &[]), Verdict::Taken(None)));
        assert!(matches!(of(400, &written), Verdict::Partly { written: 5 }));
        assert!(matches!(of(400, &[]), Verdict::Records));
        assert!(matches!(of(413, &[]), Verdict::Records));
        assert!(matches!(of(415, &[]), Verdict::Version));
        assert!(
            matches!(of(503, &[("retry-after", "7")]), Verdict::Later(Some(wait)) if wait == Duration::from_secs(7))
        );
        assert!(matches!(of(500, &[]), Verdict::Later(None)));
        assert!(matches!(of(429, &[]), Verdict::Later(None)));
        assert!(matches!(of(401, &[]), Verdict::Request));
        assert!(matches!(verdict(&answer(400, &written, ""), Version::V1), Verdict::Records));
    }
}
