//! Times in text: RFC 3339 and its ISO 8601 relatives, to nanoseconds since 1970, and back.
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

/// A moment on the calendar and the clock, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: u32,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    /// Of the second.
    pub(crate) nanos: u32,
    /// Days since 1970-01-01, a Thursday.
    pub(crate) days: u32,
}

impl Civil {
    /// Nanoseconds since 1970 reach to the year 2554.
    pub(crate) fn of(unix_nano: u64) -> Self {
        const DAY: u64 = 86_400;
        let (seconds, nanos) = (unix_nano / 1_000_000_000, (unix_nano % 1_000_000_000) as u32);
        let (days, clock) = ((seconds / DAY) as u32, (seconds % DAY) as u32);
        // Years are counted from March, so that the leap day is the last of its year; 719,468 days lie between
        // 0000-03-01 and 1970-01-01, and 146,097 days are 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u32::from(month <= 2);
        let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
        Self { year, month, day, hour, minute, second, nanos, days }
    }
}

/// Appends `2026-03-01T12:30:00.123Z`: with milliseconds, or with nanoseconds where milliseconds would lose some.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_nano: u64) {
    let time = Civil::of(unix_nano);
    digits(out, time.year, 4);
    for (before, value) in
        [(b'-', time.month), (b'-', time.day), (b'T', time.hour), (b':', time.minute), (b':', time.second)]
    {
        out.push(before);
        digits(out, value, 2);
    }
    out.push(b'.');
    match time.nanos % 1_000_000 {
        0 => digits(out, time.nanos / 1_000_000, 3),
        _ => digits(out, time.nanos, 9),
    }
    out.push(b'Z');
}

/// Appends `value` in decimal with at least `width` digits, of which there are at most 10.
pub(crate) fn digits(out: &mut Vec<u8>, value: u32, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_the_calendar_is_that_of_jiff(nanos: u64, whole in any::<bool>()) {
            let nanos = if whole { nanos / 1_000_000 * 1_000_000 } else { nanos };
            let mut text = Vec::new();
            write_rfc3339(&mut text, nanos);
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(parse_rfc3339(&text), Some(nanos), "{}", text);
            let zoned = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_zoned(TimeZone::UTC);
            let civil = Civil::of(nanos);
            prop_assert_eq!(
                (civil.year as i16, civil.month as i8, civil.day as i8),
                (zoned.year(), zoned.month(), zoned.day())
            );
        }
    }

    #[test]
    fn milliseconds_are_enough_where_they_lose_nothing() {
        let written = |nanos| {
            let mut text = Vec::new();
            write_rfc3339(&mut text, nanos);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(1_772_366_400_123_000_000), "2026-03-01T12:00:00.123Z");
        assert_eq!(written(1_772_366_400_000_000_001), "2026-03-01T12:00:00.000000001Z");
        assert_eq!(written(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

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
