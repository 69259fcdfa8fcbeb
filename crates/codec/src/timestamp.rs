//! Times in text: RFC 3339 and its ISO 8601 relatives, to nanoseconds since 1970.
//!
//! ```text
//! 2026-03-01T12:30:00.123456789+02:00      2026-03-01 12:30:00,123Z      2026-03-01T12:30:00
//! ```
//! Without an offset the time is UTC. Offsets are applied and then forgotten: OTLP has no place for them.

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

/// No time is longer than this many bytes; it bounds the work on hostile input.
const MAX_LEN: usize = 64;

/// The time in nanoseconds since 1970 (UTC), or `None`: not a time, before 1970, or more digits than nanoseconds.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    if text.len() > MAX_LEN {
        return None;
    }
    let instant = PARSER.parse_timestamp(text).or_else(|_| {
        PARSER.parse_datetime(text).and_then(|civil| Ok(civil.to_zoned(TimeZone::UTC)?.timestamp()))
    });
    u64::try_from(instant.ok()?.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_offset_and_fraction() {
        const SECOND: u64 = 1_000_000_000;
        let noon = 1_772_366_400 * SECOND;
        for (text, time) in [
            ("2026-03-01T12:00:00Z", noon),
            ("2026-03-01T12:00:00", noon),
            ("2026-03-01T14:00:00+02:00", noon),
            ("2026-03-01T14:00:00+0200", noon),
            ("2026-03-01T12:00:00.5Z", noon + SECOND / 2),
            ("2026-03-01T12:00:00.123456789Z", noon + 123_456_789),
            ("2026-03-01 12:00:00,001Z", noon + 1_000_000),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_rfc3339(text), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for bad in [
            "",
            "yesterday",
            "1772366400",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-03-01T25:00:00Z",
            "2026-03-01T12:00:00Zzz",
            "12:00:00",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(parse_rfc3339(&"2".repeat(1 << 20)), None);
    }
}
