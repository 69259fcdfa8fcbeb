//! The parts of one message, borrowed from its text. What the forms are stands in [`super`].
//!
//! Invariant: every text has parts; whatever is not understood is in the body.

use super::structured::StructuredData;
use super::time::{self, Zone};
use crate::timestamp::parse_rfc3339;

/// The highest priority: facility 23, severity 7.
const MAX_PRI: u16 = 191;
const BOM: char = '\u{feff}';
/// No sequence number of Cisco's has more digits.
const MAX_SEQUENCE: usize = 12;

/// A message in its parts.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) pri: Option<u8>,
    pub(super) version: Option<u16>,
    pub(super) time: Time<'a>,
    pub(super) hostname: Option<&'a str>,
    pub(super) appname: Option<&'a str>,
    pub(super) proc_id: Option<&'a str>,
    pub(super) msg_id: Option<&'a str>,
    pub(super) sequence: Option<&'a str>,
    pub(super) data: StructuredData<'a>,
    pub(super) body: &'a str,
    pub(super) fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Time<'a> {
    /// None was said.
    #[default]
    None,
    /// Nanoseconds since 1970.
    At(u64),
    /// One that cannot be read.
    Bad(&'a str),
    /// There should be one.
    Missing,
}

/// Why a part of the message was left in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Neither a priority nor a header.
    Text,
    /// An RFC 5424 header that breaks off.
    Header,
    /// Structured data that breaks a rule.
    StructuredData,
}

impl<'a> Parts<'a> {
    /// Reads a message without line break at its end; `now_unix_nano` is when it was received.
    pub(super) fn of(text: &'a str, zone: &Zone, now_unix_nano: u64) -> Self {
        let Some((pri, rest)) = pri(text) else {
            return Self::rfc3164(text, zone, now_unix_nano).unwrap_or_else(|| Self {
                body: text,
                fault: Some(Fault::Text),
                ..Self::default()
            });
        };
        let parts = match version(rest) {
            Some((version, header)) => Self::rfc5424(version, header).unwrap_or_else(|| Self {
                body: rest,
                fault: Some(Fault::Header),
                ..Self::default()
            }),
            None => Self::rfc3164(rest, zone, now_unix_nano).unwrap_or_else(|| Self {
                body: rest,
                time: Time::Missing,
                ..Self::default()
            }),
        };
        Self { pri: Some(pri), ..parts }
    }

    /// `header` begins with the time.
    fn rfc5424(version: u16, header: &'a str) -> Option<Self> {
        let mut rest = header;
        let mut field = || {
            let (field, after) = rest.split_once(' ')?;
            rest = after;
            (!field.is_empty()).then_some((field != "-").then_some(field))
        };
        let (time, hostname, appname, proc_id, msg_id) = (field()?, field()?, field()?, field()?, field()?);
        let time = match time {
            None => Time::None,
            Some(time) => parse_rfc3339(time).map_or(Time::Bad(time), Time::At),
        };
        let (data, body, fault) = match StructuredData::read(rest) {
            Some((data, body)) => (data, body.strip_prefix(' ').unwrap_or(body), None),
            None => (StructuredData::default(), rest, Some(Fault::StructuredData)),
        };
        let body = body.strip_prefix(BOM).unwrap_or(body);
        let version = Some(version);
        Some(Self { version, time, hostname, appname, proc_id, msg_id, data, body, fault, ..Self::default() })
    }

    /// `None` if there is no time.
    fn rfc3164(text: &'a str, zone: &Zone, now_unix_nano: u64) -> Option<Self> {
        let find = |text| time::find(text, zone, now_unix_nano);
        let mut parts = Self::default();
        let found = find(text).or_else(|| {
            let (sequence, after) = sequence(text)?;
            parts.sequence = Some(sequence);
            find(after).or_else(|| {
                let (host, after) = after.split_once(": ")?;
                parts.hostname = (!host.is_empty() && !host.contains(' ')).then_some(host);
                parts.hostname.and_then(|_| find(after))
            })
        })?;
        parts.time = Time::At(found.unix_nano);
        let mut content = match found.rest.strip_prefix(':') {
            // Cisco ends its time with a colon, and has no host behind it.
            Some(after) => after.trim_start_matches(' '),
            None => found.rest.trim_start_matches(' '),
        };
        if !found.rest.starts_with(':') && parts.hostname.is_none() {
            if let Some(after) = zone_name(content) {
                content = after;
            } else if tag(content).is_none() {
                let (host, after) = content.split_once(' ').unwrap_or((content, ""));
                parts.hostname = (!host.is_empty() && host != "-").then_some(host);
                content = after;
            }
        }
        match tag(content) {
            Some(tag) => {
                parts.appname = Some(tag.name);
                parts.proc_id = tag.pid;
                parts.body = tag.rest.strip_prefix(' ').unwrap_or(tag.rest);
            }
            None => parts.body = content,
        }
        parts.body = parts.body.strip_prefix(BOM).unwrap_or(parts.body);
        Some(parts)
    }
}

/// The priority and what follows it.
fn pri(text: &str) -> Option<(u8, &str)> {
    let inside = text.strip_prefix('<')?;
    let digits = inside.bytes().take(4).take_while(u8::is_ascii_digit).count();
    if !(1..=3).contains(&digits) {
        return None;
    }
    let rest = inside[digits..].strip_prefix('>')?;
    let pri = inside[..digits].parse().ok().filter(|pri: &u16| *pri <= MAX_PRI)?;
    Some((u8::try_from(pri).ok()?, rest))
}

/// The version of RFC 5424, if a nil value or a year follows it, and what follows it.
fn version(text: &str) -> Option<(u16, &str)> {
    let (version, rest) = text.split_at_checked(text.bytes().take(4).position(|byte| byte == b' ')?)?;
    let rest = &rest[1..];
    let numeric = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    let version = version.parse().ok().filter(|_| numeric)?;
    let year = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    let follows = match rest.as_bytes() {
        [b'-', b' ', ..] => true,
        date if date.len() >= 5 => year(&date[..4]) && date[4] == b'-',
        _ => false,
    };
    follows.then_some((version, rest))
}

/// Cisco's sequence number and what follows it.
fn sequence(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take(MAX_SEQUENCE + 1).take_while(u8::is_ascii_digit).count();
    if !(1..=MAX_SEQUENCE).contains(&digits) {
        return None;
    }
    Some((&text[..digits], text[digits..].strip_prefix(": ")?))
}

/// What follows a zone's name, where Cisco puts one: `CEST: %SYS-...`.
fn zone_name(text: &str) -> Option<&str> {
    let letters = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    let after = text[letters..].strip_prefix(": ").filter(|_| letters >= 3)?;
    after.starts_with('%').then_some(after)
}

/// The name of a program, and what follows its colon.
struct Tag<'a> {
    name: &'a str,
    pid: Option<&'a str>,
    rest: &'a str,
}

/// `name:`, `name[pid]:` or `name[123]`, up to a space. A name alone could be any word.
fn tag(text: &str) -> Option<Tag<'_>> {
    let word = text.split_once(' ').map_or(text, |(word, _)| word);
    let (tag, rest) = match word.find("]:") {
        Some(at) => (&word[..=at], &text[at + 2..]),
        None => match word.strip_suffix(':') {
            Some(tag) => (tag, &text[word.len()..]),
            None => {
                let digits = word.strip_suffix(']')?.rsplit_once('[')?.1;
                let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                (all.then_some(word)?, &text[word.len()..])
            }
        },
    };
    let (name, pid) = match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((name, pid)) => (name, (!pid.is_empty()).then_some(pid)),
        None => (tag, None),
    };
    (!name.is_empty()).then_some(Tag { name, pid, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T12:00:00Z
    const NOW: u64 = 1_772_366_400_000_000_000;
    const NOON: Time<'_> = Time::At(NOW);

    fn of(text: &str) -> Parts<'_> {
        Parts::of(text, &Zone::utc(), NOW)
    }

    /// Priority, time, host, app, process, body.
    type Short<'a> = (Option<u8>, Time<'a>, &'a str, &'a str, &'a str, &'a str);

    fn short(text: &str) -> Short<'_> {
        let p = of(text);
        assert!(p.version.is_none() && p.msg_id.is_none() && p.data.is_empty(), "{text}");
        let or = Option::unwrap_or_default;
        (p.pri, p.time, or(p.hostname), or(p.appname), or(p.proc_id), p.body)
    }

    #[test]
    fn rfc_5424_examples() {
        let p = of(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed on /dev/pts/8",
        );
        assert_eq!((p.pri, p.version, p.time), (Some(34), Some(1), Time::At(1_065_910_455_003_000_000)));
        assert_eq!((p.hostname, p.appname, p.proc_id), (Some("mymachine.example.com"), Some("su"), None));
        assert_eq!((p.msg_id, p.body, p.fault), (Some("ID47"), "'su root' failed on /dev/pts/8", None));
        let p = of(
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        );
        assert_eq!((p.time, p.proc_id), (Time::At(1_061_727_255_000_003_000), Some("8710")));
        let p = of(
            r#"<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3"][examplePriority@32473 class="high"]"#,
        );
        assert_eq!((p.body, p.data.is_empty(), p.fault), ("", false, None));
        let p = of("<0>1 - - - - - -");
        assert_eq!((p.pri, p.time, p.hostname, p.body, p.fault), (Some(0), Time::None, None, "", None));
    }

    #[test]
    fn what_is_wrong_with_5424_stays_in_the_body() {
        let p = of("<34>1 2003-10-11T22:14:15Z host app");
        assert_eq!(
            (p.fault, p.body, p.pri),
            (Some(Fault::Header), "1 2003-10-11T22:14:15Z host app", Some(34))
        );
        let p = of("<34>1 2003-13-11T22:14:15Z host app - - - text");
        assert_eq!((p.fault, p.time, p.body), (None, Time::Bad("2003-13-11T22:14:15Z"), "text"));
        let p = of("<34>1 - host app 1 ID [a b=c] text");
        assert_eq!(
            (p.fault, p.hostname, p.body),
            (Some(Fault::StructuredData), Some("host"), "[a b=c] text")
        );
        let p = of("<34>1 - host app 1 ID text without data");
        assert_eq!((p.fault, p.body), (Some(Fault::StructuredData), "text without data"));
        // What only looks like a version is text.
        assert_eq!(short("<34>1 apple a day"), (Some(34), Time::Missing, "", "", "", "1 apple a day"));
    }

    #[test]
    fn rfc_3164_and_its_variants() {
        let su = "'su root' failed for lonvick on /dev/pts/8";
        assert_eq!(
            short(&format!("<34>Mar  1 12:00:00 mymachine su: {su}")),
            (Some(34), NOON, "mymachine", "su", "", su)
        );
        for (text, expected) in [
            ("<13>Mar  1 12:00:00 10.0.0.99 Use the BFG!", (NOON, "10.0.0.99", "", "", "Use the BFG!")),
            ("<13>Mar  1 12:00:00 h postfix/smtpd[42]: a: b", (NOON, "h", "postfix/smtpd", "42", "a: b")),
            ("<13>Mar  1 12:00:00 CRON[7]: (root) CMD", (NOON, "", "CRON", "7", "(root) CMD")),
            ("<13>Mar  1 12:00:00 app: text", (NOON, "", "app", "", "text")),
            ("<13>Mar  1 12:00:00 h app[7] text", (NOON, "h", "app", "7", "text")),
            ("<13>Mar  1 12:00:00 h app[7]:text", (NOON, "h", "app", "7", "text")),
            ("<13>Mar  1 12:00:00 h foo[bar] text", (NOON, "h", "", "", "foo[bar] text")),
            ("<13>Mar  1 12:00:00 h http://x/ y", (NOON, "h", "", "", "http://x/ y")),
            ("<13>Mar  1 12:00:00 h a::b[1]: x", (NOON, "h", "a::b", "1", "x")),
            ("<13>2026-03-01T13:00:00.0+01:00 h app[1]: x", (NOON, "h", "app", "1", "x")),
            ("<13>Mar  1 12:00:00 h", (NOON, "h", "", "", "")),
            ("<13>Mar  1 12:00:00", (NOON, "", "", "", "")),
            ("<13>", (Time::Missing, "", "", "", "")),
            ("<13>Error: disk full", (Time::Missing, "", "", "", "Error: disk full")),
            (
                "<166>Mar 01 2026 12:00:00 fw : %ASA-6-302013: Built",
                (NOON, "fw", "", "", ": %ASA-6-302013: Built"),
            ),
            ("<166>Mar 01 2026 12:00:00: %ASA-6-302013: Built", (NOON, "", "%ASA-6-302013", "", "Built")),
        ] {
            let (pri, time, host, app, pid, body) = short(text);
            assert!(pri.is_some());
            assert_eq!((time, host, app, pid, body), expected, "{text}");
        }
    }

    #[test]
    fn cisco_sequence_numbers_marks_and_zones() {
        for text in [
            "<189>29: *Mar  1 12:00:00.000: %SYS-5-CONFIG_I: Configured",
            "<189>29: .Mar  1 12:00:00 UTC: %SYS-5-CONFIG_I: Configured",
            "<189>29: Mar  1 12:00:00 CEST: %SYS-5-CONFIG_I: Configured",
            "<189>29: core1: *Mar  1 12:00:00.000 UTC: %SYS-5-CONFIG_I: Configured",
        ] {
            let p = of(text);
            assert_eq!(
                (p.sequence, p.time, p.appname),
                (Some("29"), NOON, Some("%SYS-5-CONFIG_I")),
                "{text}"
            );
            assert_eq!((p.hostname.is_some(), p.body), (text.contains("core1"), "Configured"), "{text}");
        }
    }

    #[test]
    fn without_a_priority() {
        assert_eq!(short("Mar  1 12:00:00 h app[1]: x"), (None, NOON, "h", "app", "1", "x"));
        for text in
            ["hello", "<192>x", "<>x", "<-1>x", "<1234>x", "<1", "<", "1 2026-03-01T12:00:00Z - - - - -", "é"]
        {
            let p = of(text);
            assert_eq!((p.pri, p.fault, p.body), (None, Some(Fault::Text), text));
        }
    }
}
