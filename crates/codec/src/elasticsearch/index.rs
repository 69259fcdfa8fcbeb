//! Names of indices, as Logstash and Beats users write them: `meshara-logs-%{+yyyy.MM.dd}`, `app-%{[service.name]}`.
//!
//! ```text
//! pattern = *( text | "%{+" date "}" | "%{" "[" name "]" *( "[" name "]" ) [ ":" default ] "}" | "%{" name "}" )
//! date    = fields of Joda-Time: yyyy yy YYYY xxxx MM M dd d HH H mm m ss s SSS DDD ww e; 'text'; anything but letters
//! ```
//! Dates are UTC. `Y` is the year, as in Joda-Time (in Java's own formatter it is the year of the week). `xxxx.ww` is the ISO
//! week. `%{[a][b]}` and `%{[a.b]}` are the same field. A field that a record does not have is its default, or `unknown`.
//!
//! Invariant: whatever a record holds, the name is one that Elasticsearch takes: lower case, at most 255 bytes, none of
//! `\ / * ? " < > | , # :` and space, not beginning with `-`, `_` or `+`. Nor does a field bring in a name that begins with a
//! dot, which would be that of a system index.

use crate::timestamp::{Civil, digits};

/// Most bytes of a name (Elasticsearch: "Index name limitations").
const MAX_NAME: usize = 255;
/// Most bytes of a data stream's dataset and namespace (ECS: `data_stream.dataset`).
const MAX_PART: usize = 100;
/// Most bytes of a pattern.
const MAX_PATTERN: usize = 1024;
/// What stands for a field that a record does not have.
const UNKNOWN: &str = "unknown";

/// Why a pattern is none. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPattern {
    parts: Vec<Part>,
    /// Whether the name is part of a data stream's, whose parts are joined by `-`.
    stream_part: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Date(DateField),
    Field { name: String, default: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DateField {
    Year,
    YearOfCentury,
    WeekYear,
    Week(usize),
    Month(usize),
    Day(usize),
    DayOfYear(usize),
    DayOfWeek,
    Hour(usize),
    Minute(usize),
    Second(usize),
    Millis,
}

/// `type-dataset-namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataStream {
    /// Such as `logs`.
    pub kind: String,
    /// Such as `meshara` or `%{[service.name]}`.
    pub dataset: IndexPattern,
    /// Such as `production`.
    pub namespace: IndexPattern,
}

/// Where documents go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An index, or an alias to write to.
    Index(IndexPattern),
    /// A data stream.
    DataStream(DataStream),
}

impl DataStream {
    /// Reads the three parts of a name.
    ///
    /// # Errors
    /// [`PatternError`], also for a type that has fields or a `-`.
    pub fn parse(kind: &str, dataset: &str, namespace: &str) -> Result<Self, PatternError> {
        let constant = IndexPattern::parse_as(kind, true)?;
        if kind.is_empty() || constant.parts.iter().any(|part| !matches!(part, Part::Text(_))) {
            return Err(PatternError(format!("data_stream.type {kind:?} must be a plain name such as logs")));
        }
        Ok(Self {
            kind: kind.to_owned(),
            dataset: IndexPattern::parse_as(dataset, true)?,
            namespace: IndexPattern::parse_as(namespace, true)?,
        })
    }
}

impl Target {
    /// Writes the name into `out`, which is emptied first. `field` appends the value of a field, and says whether there was one.
    pub fn render(
        &self,
        unix_nano: u64,
        mut field: impl FnMut(&str, &mut String) -> bool,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        match self {
            Self::Index(pattern) => pattern.append(unix_nano, &mut field, MAX_NAME, out),
            Self::DataStream(stream) => {
                out.extend_from_slice(stream.kind.as_bytes());
                for part in [&stream.dataset, &stream.namespace] {
                    out.push(b'-');
                    part.append(unix_nano, &mut field, MAX_PART, out);
                }
            }
        }
    }
}

impl IndexPattern {
    /// Reads a pattern for the name of an index.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_as(text, false)
    }

    fn parse_as(text: &str, stream_part: bool) -> Result<Self, PatternError> {
        let fail = |what: String| PatternError(format!("{text:?}: {what}"));
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(fail(format!("a name has 1 to {MAX_PATTERN} bytes")));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("%{") {
            literal(&mut parts, &rest[..start]);
            let Some(len) = rest[start + 2..].find('}') else {
                return Err(fail("a `%{` has no `}`".to_owned()));
            };
            let inside = &rest[start + 2..start + 2 + len];
            match inside.strip_prefix('+') {
                Some(date) => date_fields(date, &mut parts),
                None => reference(inside).map(|part| parts.push(part)),
            }
            .map_err(fail)?;
            rest = &rest[start + 3 + len..];
        }
        literal(&mut parts, rest);
        let pattern = Self { parts, stream_part };
        pattern.check_texts().map_err(fail)?;
        Ok(pattern)
    }

    fn check_texts(&self) -> Result<(), String> {
        for (n, part) in self.parts.iter().enumerate() {
            let Part::Text(text) = part else { continue };
            if let Some(c) = text.chars().find(|&c| !legal(c, self.stream_part)) {
                let hint = if c.is_uppercase() { "; names are lower case" } else { "" };
                return Err(format!("{c:?} may not stand in such a name{hint}"));
            }
            if n == 0 && text.starts_with(['-', '_', '+']) {
                return Err("a name cannot begin with -, _ or +".to_owned());
            }
        }
        match &self.parts[..] {
            [Part::Text(text)] if text == "." || text == ".." => Err("that is no name".to_owned()),
            _ => Ok(()),
        }
    }

    /// Appends the name, at most `max` bytes.
    fn append(
        &self,
        unix_nano: u64,
        field: &mut impl FnMut(&str, &mut String) -> bool,
        max: usize,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let time = Civil::of(unix_nano);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Date(date) => date.append(&time, out),
                Part::Field { name, default } => {
                    let mut value = String::new();
                    if !field(name, &mut value) || value.is_empty() {
                        value.clone_from(default);
                    }
                    self.sanitised(&value, out, start, start + max);
                }
            }
        }
        out.truncate(start + cut(&out[start..], max));
        if matches!(&out[start..], b"" | b"." | b"..") {
            out.truncate(start);
            out.extend_from_slice(UNKNOWN.as_bytes());
        }
    }

    /// Appends a value with what names cannot hold replaced by `_`; stops where the name is long enough.
    fn sanitised(&self, value: &str, out: &mut Vec<u8>, start: usize, end: usize) {
        for c in value.chars().flat_map(char::to_lowercase) {
            if out.len() >= end {
                break;
            }
            let c = if legal(c, self.stream_part) { c } else { '_' };
            if out.len() == start && matches!(c, '-' | '_' | '+' | '.') {
                continue;
            }
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if out.len() == start {
            // What comes next may not begin a name.
            out.extend_from_slice(UNKNOWN.as_bytes());
        }
    }
}

/// Whether a character may stand in a name. Letters that Unicode still wants to lower are not taken.
fn legal(c: char, stream_part: bool) -> bool {
    match c {
        '\\' | '/' | '*' | '?' | '"' | '<' | '>' | '|' | ' ' | ',' | '#' | ':' => false,
        '-' => !stream_part,
        c if c.is_ascii() => !c.is_ascii_control() && !c.is_ascii_uppercase(),
        c => c.is_alphanumeric() && c.to_lowercase().eq([c]),
    }
}

/// The most of `name` that fits `max` bytes without a broken character.
fn cut(name: &[u8], max: usize) -> usize {
    if name.len() <= max {
        return name.len();
    }
    (0..=max).rev().find(|&at| name.get(at).is_none_or(|b| b & 0xc0 != 0x80)).unwrap_or(0)
}

fn literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => before.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// `[a][b]:default`, `[a.b]` or `a`.
fn reference(inside: &str) -> Result<Part, String> {
    let hint = "write %{[service.name]}, or %{[service.name]:none} with what stands for records without it";
    let default = UNKNOWN.to_owned();
    if !inside.starts_with('[') {
        return match inside.is_empty() || inside.contains(['[', ']', ':', '{']) {
            true => Err(format!("%{{{inside}}} names no field: {hint}")),
            false => Ok(Part::Field { name: inside.to_owned(), default }),
        };
    }
    let Some(end) = inside.rfind(']') else {
        return Err(format!("%{{{inside}}} lacks a `]`: {hint}"));
    };
    let name = inside[1..end].replace("][", ".");
    let default = match &inside[end + 1..] {
        "" => default,
        rest => {
            rest.strip_prefix(':').ok_or_else(|| format!("after `]` comes `:` or `}}`: {hint}"))?.to_owned()
        }
    };
    if name.is_empty() || name.contains(['[', ']']) {
        return Err(format!("%{{{inside}}} names no field: {hint}"));
    }
    Ok(Part::Field { name, default })
}

/// The fields of a Joda-Time format.
fn date_fields(format: &str, parts: &mut Vec<Part>) -> Result<(), String> {
    if format.is_empty() {
        return Err("%{+} has no format; write for example %{+yyyy.MM.dd}".to_owned());
    }
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let Some(end) = quoted.find('\'') else {
                return Err(format!("%{{+{format}}} lacks a closing quote"));
            };
            literal(parts, if end == 0 { "'" } else { &quoted[..end] });
            rest = &quoted[end + 1..];
        } else if first.is_ascii_alphabetic() {
            let width = rest.bytes().take_while(|b| *b == first as u8).count();
            let field = date_field(first, width).ok_or_else(|| {
                format!(
                    "%{{+{format}}}: {:?} is no date field that can stand in a name; use yyyy, MM, dd, HH, xxxx.ww \
                     and the like",
                    &rest[..width]
                )
            })?;
            parts.push(Part::Date(field));
            rest = &rest[width..];
        } else {
            literal(parts, &rest[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(())
}

fn date_field(letter: char, width: usize) -> Option<DateField> {
    Some(match (letter, width) {
        ('y' | 'Y', 2) => DateField::YearOfCentury,
        ('y' | 'Y', 1 | 4) => DateField::Year,
        ('x', 1 | 4) => DateField::WeekYear,
        ('w', 1 | 2) => DateField::Week(width),
        ('M', 1 | 2) => DateField::Month(width),
        ('d', 1 | 2) => DateField::Day(width),
        ('D', 1..=3) => DateField::DayOfYear(width),
        ('e', 1) => DateField::DayOfWeek,
        ('H', 1 | 2) => DateField::Hour(width),
        ('m', 1 | 2) => DateField::Minute(width),
        ('s', 1 | 2) => DateField::Second(width),
        ('S', 3) => DateField::Millis,
        _ => return None,
    })
}

impl DateField {
    fn append(self, time: &Civil, out: &mut Vec<u8>) {
        let (value, width) = match self {
            Self::Year => (time.year, 4),
            Self::YearOfCentury => (time.year % 100, 2),
            Self::WeekYear => (iso_week(time).0, 4),
            Self::Week(width) => (iso_week(time).1, width),
            Self::Month(width) => (time.month, width),
            Self::Day(width) => (time.day, width),
            Self::DayOfYear(width) => (day_of_year(time), width),
            Self::DayOfWeek => (day_of_week(time), 1),
            Self::Hour(width) => (time.hour, width),
            Self::Minute(width) => (time.minute, width),
            Self::Second(width) => (time.second, width),
            Self::Millis => (time.nanos / 1_000_000, 3),
        };
        digits(out, value, width);
    }
}

/// Monday is 1. 1970-01-01 was a Thursday.
fn day_of_week(time: &Civil) -> u32 {
    (time.days + 3) % 7 + 1
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// 1 to 366.
fn day_of_year(time: &Civil) -> u32 {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = BEFORE.get(time.month as usize - 1).copied().unwrap_or_default();
    before + time.day + u32::from(time.month > 2 && is_leap(time.year))
}

/// Year and number of the week of ISO 8601: the one that holds this week's Thursday.
fn iso_week(time: &Civil) -> (u32, u32) {
    // Days from 1 January to this week's Thursday; negative in the last week of the year before.
    let thursday = i64::from(day_of_year(time)) - 1 + 4 - i64::from(day_of_week(time));
    let length = |year| if is_leap(year) { 366 } else { 365 };
    let (year, thursday) = if thursday < 0 {
        (time.year - 1, thursday + length(time.year - 1))
    } else if thursday >= length(time.year) {
        (time.year + 1, thursday - length(time.year))
    } else {
        (time.year, thursday)
    };
    (year, (thursday / 7 + 1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: u64 = 1_772_366_400_123_000_000; // 2026-03-01T12:00:00.123Z, a Sunday

    fn named(pattern: &str, time: u64, fields: &[(&str, &str)]) -> String {
        rendered(&Target::Index(IndexPattern::parse(pattern).unwrap()), time, fields)
    }

    fn rendered(target: &Target, time: u64, fields: &[(&str, &str)]) -> String {
        let mut out = b"left over".to_vec();
        let find = |name: &str, value: &mut String| {
            let found = fields.iter().find(|(key, _)| *key == name);
            found.inspect(|(_, text)| value.push_str(text)).is_some()
        };
        target.render(time, find, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_as_joda_writes_them() {
        for (pattern, name) in [
            ("meshara-logs-%{+yyyy.MM.dd}", "meshara-logs-2026.03.01"),
            ("l-%{+YYYY.MM.dd}", "l-2026.03.01"),
            ("l-%{+yy-M-d_H.m.s.SSS}", "l-26-3-1_12.0.0.123"),
            ("l-%{+HH.mm.ss}", "l-12.00.00"),
            ("l-%{+xxxx.ww}", "l-2026.09"),
            ("l-%{+yyyy.DDD.e}", "l-2026.060.7"),
            ("l-%{+yyyy'week'ww}", "l-2026week09"),
            ("l-%{+yyyy}-%{+MM}x", "l-2026-03x"),
            ("plain", "plain"),
            ("100%", "100%"),
        ] {
            assert_eq!(named(pattern, NOON, &[]), name, "{pattern}");
        }
    }

    #[test]
    fn fields_of_the_record() {
        let fields = [("service.name", "Back End"), ("a.b", "x"), ("level", "ERROR")];
        for (pattern, name) in [
            ("logs-%{[service.name]}", "logs-back_end"),
            ("%{[service.name]}-%{+yyyy}", "back_end-2026"),
            ("l-%{[a][b]}-%{[a.b]}-%{a.b}", "l-x-x-x"),
            ("l-%{level}", "l-error"),
            ("l-%{[nope]}", "l-unknown"),
            ("l-%{[nope]:None}", "l-none"),
            ("l-%{[nope]:}", "l-"),
        ] {
            assert_eq!(named(pattern, NOON, &fields), name, "{pattern}");
        }
    }

    #[test]
    fn what_a_field_holds_cannot_make_an_illegal_name() {
        for (value, name) in [
            (".kibana", "kibana"),
            ("-_+.x", "x"),
            ("a/b\\c*d?e\"f<g>h|i,j#k:l m", "a_b_c_d_e_f_g_h_i_j_k_l_m"),
            ("..", "unknown"),
            ("", "unknown"),
            ("\u{0}\n", "unknown"),
            ("ÄÖ", "äö"),
            ("a\u{1f600}", "a_"),
        ] {
            assert_eq!(named("%{[f]}", NOON, &[("f", value)]), name, "{value:?}");
        }
        let long = named("%{[f]}-%{+yyyy}", NOON, &[("f", &"é".repeat(400))]);
        assert!(long.len() <= 255 && long.len() > 250);
    }

    #[test]
    fn patterns_that_cannot_work_say_why() {
        for (pattern, why) in [
            ("", "1 to 1024"),
            ("Logs", "lower case"),
            ("a b", "' '"),
            ("a/b", "'/'"),
            ("-a", "begin with"),
            ("..", "no name"),
            ("l-%{+yyyy", "no `}`"),
            ("l-%{+}", "no format"),
            ("l-%{+EEE}", "\"EEE\""),
            ("l-%{+yyyyy}", "\"yyyyy\""),
            ("l-%{+yyyy'x}", "closing quote"),
            ("l-%{}", "names no field"),
            ("l-%{[]}", "names no field"),
            ("l-%{[a}", "lacks a `]`"),
            ("l-%{[a]x}", "after `]`"),
            ("l-%{+'T'}", "lower case"),
        ] {
            let error = IndexPattern::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(why), "{pattern}: {error}");
        }
        assert!(DataStream::parse("logs", "a-b", "c").unwrap_err().to_string().contains("'-'"));
        assert!(DataStream::parse("%{[x]}", "a", "c").unwrap_err().to_string().contains("plain name"));
    }

    #[test]
    fn parts_of_a_data_stream_have_no_dash() {
        let stream = DataStream::parse("logs", "%{[service.name]}", "production").unwrap();
        let name = rendered(&Target::DataStream(stream), NOON, &[("service.name", "front-end")]);
        assert_eq!(name, "logs-front_end-production");
    }

    proptest! {
        #[test]
        fn names_are_legal_whatever_fields_hold(value in "\\PC{0,300}|[-_+.A-Z\\x00-\\x20]{0,20}", time: u64) {
            for pattern in ["%{[f]}", "%{[f]}-%{+yyyy.MM.dd}", "l-%{[f]}%{[f]}"] {
                let name = named(pattern, time, &[("f", &value)]);
                prop_assert!(!name.is_empty() && name.len() <= 255);
                prop_assert!(!name.starts_with(['-', '_', '+', '.']));
                prop_assert_eq!(name.to_lowercase(), name.clone());
                prop_assert!(!name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':']));
                prop_assert!(!name.contains(char::is_control));
            }
        }

        #[test]
        fn weeks_are_those_of_jiff(seconds in 0u64..18_000_000_000) {
            let time = seconds * 1_000_000_000;
            let date = jiff::Timestamp::from_second(seconds as i64).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
            let week = date.iso_week_date();
            let naive = format!("{:04}.{:02}.{:03}", week.year(), week.week(), date.day_of_year());
            prop_assert_eq!(named("%{+xxxx.ww.DDD}", time, &[]), naive);
        }
    }
}
