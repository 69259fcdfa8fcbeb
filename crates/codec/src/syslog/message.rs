//! One message to one log record. The mapping is described in [`super`].

use std::borrow::Cow;

use model::Writer;

use super::header::{Fault, Parts, Time};
use super::{Counters, Frame, Zone};
use crate::lines::limited;
use crate::logs::{LogsBuilder, any_value, attribute, log_record, string_attribute};
use crate::severity;

const PARSE_FAILURE: &str = "_syslogparsefailure";
const TIMESTAMP_FAILURE: &str = "_timestampparsefailure";
const CUT: &str = "_line_cut";

/// The facilities by their code, as syslog.conf names them (RFC 5424, section 6.2.1, table 1).
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// Turns messages into log records.
#[derive(Clone, Debug)]
pub struct SyslogDecoder {
    max_message_bytes: usize,
    zone: Zone,
    counters: Counters,
}

impl SyslogDecoder {
    /// `zone` is that of RFC 3164 times, which name none. Datagrams of more than `max_message_bytes` bytes are cut.
    pub fn new(max_message_bytes: usize, zone: Zone) -> Self {
        Self { max_message_bytes, zone, counters: Counters::default() }
    }

    /// What was decoded so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Adds the record of a datagram to `batch`.
    pub fn datagram(&mut self, bytes: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) {
        self.frame(limited(bytes, self.max_message_bytes).into(), now_unix_nano, batch);
    }

    /// Adds the record of a message to `batch`; an empty one has none. Line breaks and NULs at its end are its sender's way of
    /// ending it.
    pub fn frame(&mut self, frame: Frame<'_>, now_unix_nano: u64, batch: &mut LogsBuilder) {
        let end = frame.bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
        let Some(bytes) = end.and_then(|end| frame.bytes.get(..=end)) else {
            return;
        };
        let text = String::from_utf8_lossy(bytes);
        let parts = Parts::of(&text, &self.zone, now_unix_nano);
        self.count(&parts, frame.cut, matches!(text, Cow::Owned(_)));
        batch.record(|w| write(w, &parts, frame.cut, now_unix_nano));
    }

    fn count(&mut self, parts: &Parts<'_>, cut: bool, invalid_utf8: bool) {
        let counters = &mut self.counters;
        counters.messages += 1;
        counters.no_pri += u64::from(parts.pri.is_none());
        counters.bad_headers += u64::from(parts.fault == Some(Fault::Header));
        counters.bad_structured_data += u64::from(parts.fault == Some(Fault::StructuredData));
        counters.bad_timestamps += u64::from(matches!(parts.time, Time::Bad(_) | Time::Missing));
        counters.cut += u64::from(cut);
        counters.invalid_utf8 += u64::from(invalid_utf8);
    }
}

fn write(w: &mut Writer, parts: &Parts<'_>, cut: bool, now: u64) {
    let time = if let Time::At(time) = parts.time { time } else { now };
    w.fixed64(log_record::TIME_UNIX_NANO, time);
    if let Some(pri) = parts.pri {
        let (number, name) = severity::of_syslog(pri);
        w.uint(log_record::SEVERITY_NUMBER, u64::from(number));
        w.string(log_record::SEVERITY_TEXT, name);
    }
    w.message(log_record::BODY, |w| w.string(any_value::STRING, parts.body));
    write_attributes(w, parts);
    write_tags(w, parts, cut);
    w.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now);
}

fn write_attributes(w: &mut Writer, parts: &Parts<'_>) {
    if let Some(pri) = parts.pri {
        integer(w, "priority", pri.into());
        integer(w, "facility", (pri >> 3).into());
        let name = FACILITIES.get(usize::from(pri >> 3)).copied().unwrap_or_default();
        string_attribute(w, log_record::ATTRIBUTES, "facility_text", name);
    }
    if let Some(version) = parts.version {
        integer(w, "version", version.into());
    }
    let bad_time = if let Time::Bad(text) = parts.time { Some(text) } else { None };
    for (name, text) in [
        ("timestamp", bad_time),
        ("hostname", parts.hostname),
        ("appname", parts.appname),
        ("proc_id", parts.proc_id),
        ("msg_id", parts.msg_id),
        ("sequence", parts.sequence),
    ] {
        if let Some(text) = text {
            string_attribute(w, log_record::ATTRIBUTES, name, text);
        }
    }
    if !parts.data.is_empty() {
        attribute(w, log_record::ATTRIBUTES, "structured_data", |w| parts.data.write(w));
    }
}

fn integer(w: &mut Writer, name: &str, value: i64) {
    attribute(w, log_record::ATTRIBUTES, name, |w| w.int(any_value::INT, value));
}

fn write_tags(w: &mut Writer, parts: &Parts<'_>, cut: bool) {
    let tags = [
        parts.fault.map(|_| PARSE_FAILURE),
        matches!(parts.time, Time::Bad(_)).then_some(TIMESTAMP_FAILURE),
        cut.then_some(CUT),
    ];
    if tags.iter().all(Option::is_none) {
        return;
    }
    attribute(w, log_record::ATTRIBUTES, "tags", |w| {
        w.message(any_value::ARRAY, |w| {
            for tag in tags.into_iter().flatten() {
                w.message(any_value::VALUES, |w| w.string(any_value::STRING, tag));
            }
        });
    });
}
