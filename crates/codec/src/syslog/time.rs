//! Times in RFC 3164 headers, which lack year and zone, and the relatives of that form.
//!
//! ```text
//! Feb  5 17:32:18        Feb 05 17:32:18.123        Feb 5 2026 17:32:18        *Feb  5 17:32:18.123 UTC:
//! 2026-02-05T17:32:18.123+01:00
//! ```

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::timestamp::parse_rfc3339;

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const NANOS_PER_DAY: i128 = 86_400 * 1_000_000_000;
/// No RFC 3339 time is longer.
const MAX_RFC3339: usize = 40;

/// The zone of times that name none.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }
}

impl From<TimeZone> for Zone {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

/// A time at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Nanoseconds since 1970.
    pub(super) unix_nano: u64,
    /// What follows it; begins with a space or a colon, or is empty.
    pub(super) rest: &'a str,
}

/// Reads a time in any of the forms; `now_unix_nano` tells the year.
pub(super) fn find<'a>(text: &'a str, zone: &Zone, now_unix_nano: u64) -> Option<Found<'a>> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return rfc3339(text);
    }
    // Cisco marks a clock that is not set, or was, and is not in step now.
    let text = text.strip_prefix(['*', '.']).unwrap_or(text);
    let mut cursor = Cursor(text);
    let month = cursor.month()?;
    cursor.spaces()?;
    let day = cursor.number(1, 2)?;
    cursor.spaces()?;
    let (year, hour) = year_and_hour(&mut cursor)?;
    cursor.byte(b':')?;
    let minute = cursor.number(2, 2)?;
    cursor.byte(b':')?;
    let second = cursor.number(2, 2)?;
    let nanos = cursor.fraction();
    let zone = if cursor.utc() { &TimeZone::UTC } else { &zone.0 };
    // A leap second is the second before it.
    let time =
        Time::new(hour as i8, minute as i8, second.min(59) as i8, nanos).ok().filter(|_| second <= 60)?;
    if !(cursor.0.is_empty() || cursor.0.starts_with([' ', ':'])) {
        return None;
    }
    let at = |year: i16| {
        let date = Date::new(year, month, day as i8).ok()?;
        instant(date.to_datetime(time), zone)
    };
    let nanos = match year {
        Some(year) => at(year as i16),
        None => nearest(zone, now_unix_nano, at),
    };
    Some(Found { unix_nano: u64::try_from(nanos?).ok()?, rest: cursor.0 })
}

fn rfc3339(text: &str) -> Option<Found<'_>> {
    let end = text.bytes().take(MAX_RFC3339 + 1).position(|byte| byte == b' ').unwrap_or(text.len());
    let (time, rest) = text.split_at(end);
    // Only with a T: `2026-02-05` alone is no time, and a number is text.
    if time.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let (time, colon) = time.strip_suffix(':').map_or((time, false), |time| (time, true));
    let rest = if colon { &text[end - 1..] } else { rest };
    Some(Found { unix_nano: parse_rfc3339(time)?, rest })
}

/// `hh`, or `yyyy` and `hh`.
fn year_and_hour(cursor: &mut Cursor<'_>) -> Option<(Option<u32>, u32)> {
    let digits = cursor.0.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 4 {
        return Some((None, cursor.number(2, 2)?));
    }
    let year = cursor.number(4, 4)?;
    cursor.spaces()?;
    Some((Some(year), cursor.number(2, 2)?))
}

/// The time `at` a year, in the year that brings it nearest to its receipt.
fn nearest(zone: &TimeZone, now_unix_nano: u64, at: impl Fn(i16) -> Option<i128>) -> Option<i128> {
    let now = i128::from(now_unix_nano);
    let year = Timestamp::from_nanosecond(now).ok()?.to_zoned(zone.clone()).year();
    let this_year = at(year);
    // The usual case needs no other candidates.
    if this_year.is_some_and(|time| (time - now).abs() < 180 * NANOS_PER_DAY) {
        return this_year;
    }
    // 29 February: the last leap year may be up to eight years ago (1896 to 1904), in our time four.
    let others = [year - 1, year + 1, year - 2, year - 3].map(&at);
    others.into_iter().chain([this_year]).flatten().min_by_key(|time| (time - now).abs())
}

fn instant(local: DateTime, zone: &TimeZone) -> Option<i128> {
    // An hour that occurs twice is the first; one that is skipped is as if the clock had not been changed.
    zone.to_ambiguous_timestamp(local).compatible().ok().map(Timestamp::as_nanosecond)
}

struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn month(&mut self) -> Option<i8> {
        let name = self.0.as_bytes().get(..3)?;
        let number = MONTHS.chunks(3).position(|month| month == name)?;
        self.0 = &self.0[3..];
        i8::try_from(number + 1).ok()
    }

    /// One space or two.
    fn spaces(&mut self) -> Option<()> {
        let rest = self.0.strip_prefix(' ')?;
        self.0 = rest.strip_prefix(' ').unwrap_or(rest);
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(char::from(byte))?;
        Some(())
    }

    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if digits < min {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        number.parse().ok()
    }

    /// Nanoseconds of `.123`; 0 if there is no fraction.
    fn fraction(&mut self) -> i32 {
        let Some(rest) = self.0.strip_prefix(['.', ',']) else { return 0 };
        let digits = rest.bytes().take(9).take_while(u8::is_ascii_digit).count();
        let Ok(number) = rest[..digits].parse::<i32>() else { return 0 };
        self.0 = &rest[digits..];
        number * 10_i32.pow(9 - u32::try_from(digits).unwrap_or(9))
    }

    /// Takes a zone that means UTC.
    fn utc(&mut self) -> bool {
        for name in [" UTC", " GMT", " Z", "Z"] {
            if let Some(rest) = self.0.strip_prefix(name)
                && (rest.is_empty() || rest.starts_with([' ', ':']))
            {
                self.0 = rest;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz;
    use proptest::prelude::*;

    /// Received at noon of a day.
    fn at(text: &str, now: &str, zone: &Zone) -> Option<String> {
        let now = now.parse::<Timestamp>().unwrap().as_nanosecond();
        let found = find(text, zone, u64::try_from(now).unwrap())?;
        let time = Timestamp::from_nanosecond(i128::from(found.unix_nano)).unwrap();
        Some(format!("{time}{}", found.rest))
    }

    fn of(text: &str) -> Option<String> {
        at(text, "2026-03-01T12:00:00Z", &Zone::utc())
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("Mar  1 11:59:58 host", "2026-03-01T11:59:58Z host"),
            ("Mar 1 11:59:58", "2026-03-01T11:59:58Z"),
            ("Mar 01 11:59:58.25 host", "2026-03-01T11:59:58.25Z host"),
            ("Feb 28 2019 23:59:60: %ASA", "2019-02-28T23:59:59Z: %ASA"),
            ("*Mar  1 18:46:11.123 UTC: %SYS", "2026-03-01T18:46:11.123Z: %SYS"),
            (".Mar  1 18:46:11 CEST: %SYS", "2026-03-01T18:46:11Z CEST: %SYS"),
            ("2026-03-01T12:00:00.000003+02:00 host", "2026-03-01T10:00:00.000003Z host"),
            ("2026-03-01T12:00:00Z: text", "2026-03-01T12:00:00Z: text"),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "Mar",
            "Mar 1",
            "Mär  1 11:59:58",
            "mar  1 11:59:58",
            "Mar 32 11:59:58",
            "Mar  1 24:00:00",
            "Mar  1 11:59:61",
            "Mar  1 11:59:58x",
            "Mar  1 1:59:58",
            "2026-03-01 12:00:00",
            "2026",
            "é",
            "2026-03-01T99:00:00Z host",
            "Mar   1 11:59:58",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn the_year_is_the_nearest() {
        let utc = Zone::utc();
        let at = |text, now: &str| at(text, now, &utc).unwrap();
        assert_eq!(at("Dec 31 23:59:59", "2026-01-01T00:00:01Z"), "2025-12-31T23:59:59Z");
        assert_eq!(at("Jan  1 00:00:01", "2025-12-31T23:59:59Z"), "2026-01-01T00:00:01Z");
        assert_eq!(at("Aug  1 00:00:00", "2026-03-01T12:00:00Z"), "2026-08-01T00:00:00Z");
        assert_eq!(at("Feb 29 12:00:00", "2026-03-01T12:00:00Z"), "2024-02-29T12:00:00Z");
        assert_eq!(at("Feb 29 12:00:00", "2028-03-01T12:00:00Z"), "2028-02-29T12:00:00Z");
    }

    #[test]
    fn the_zone_is_applied_with_its_summer_time() {
        let west = Zone::from(TimeZone::fixed(tz::offset(-5)));
        assert_eq!(at("Mar  1 07:00:00", "2026-03-01T12:00:00Z", &west).unwrap(), "2026-03-01T12:00:00Z");
        let berlin = Zone::from(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        assert_eq!(at("Mar  1 13:00:00", "2026-03-01T12:00:00Z", &berlin).unwrap(), "2026-03-01T12:00:00Z");
        assert_eq!(at("Jul  1 14:00:00", "2026-07-01T12:00:00Z", &berlin).unwrap(), "2026-07-01T12:00:00Z");
        assert_eq!(
            at("Jul  1 14:00:00 UTC", "2026-07-01T12:00:00Z", &berlin).unwrap(),
            "2026-07-01T14:00:00Z"
        );
        // The year is that of the zone: midnight is over there, not in Greenwich.
        assert_eq!(at("Jan  1 00:30:00", "2025-12-31T23:30:00Z", &berlin).unwrap(), "2025-12-31T23:30:00Z");
    }

    proptest! {
        /// A time within half a year of its receipt is read as what it was.
        #[test]
        fn what_was_written_is_read(now in 0_i64..4_000_000_000, ago in -15_000_000_i64..15_000_000) {
            let time = Timestamp::from_second((now - ago).max(0)).unwrap();
            let zoned = time.to_zoned(TimeZone::UTC);
            let month = &MONTHS[(zoned.month() as usize - 1) * 3..][..3];
            let text = format!(
                "{} {:>2} {:02}:{:02}:{:02}",
                std::str::from_utf8(month).unwrap(), zoned.day(), zoned.hour(), zoned.minute(), zoned.second()
            );
            let found = find(&text, &Zone::utc(), now as u64 * 1_000_000_000).unwrap();
            prop_assert_eq!(found.unix_nano, time.as_second() as u64 * 1_000_000_000);
        }
    }
}
