//! Syslog: RFC 5424, RFC 3164 and what is sent in their name, into log records; RFC 6587 framing.
//!
//! ```text
//! message = "<" PRI ">" ( rfc5424 | rfc3164 | text )  |  rfc3164  |  text
//! rfc5424 = VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID SP ( "-" | 1*element ) [ SP [BOM] MSG ]
//! rfc3164 = [ SEQ ":" SP ] time [ SP HOSTNAME ] [ SP TAG [ "[" PID "]" ] ":" ] SP MSG
//! time    = Mmm dd [ yyyy ] hh:mm:ss [ fraction ] [ zone ]  |  RFC 3339
//! ```
//!
//! Which of them it is, is seen for each message. It becomes one log record, whose attributes are named as the OpenTelemetry
//! Collector's syslog receiver names them, since that is what dashboards and queries know:
//!
//! | in the message | in the record |
//! |---|---|
//! | MSG | the body, without BOM, and without line breaks and NULs at its end |
//! | PRI | severity number and text; `priority`, `facility` (integers), `facility_text` |
//! | TIMESTAMP | the time; the observed time where there is none |
//! | VERSION | `version` (integer) |
//! | HOSTNAME, APP-NAME or TAG, PROCID or PID, MSGID | `hostname`, `appname`, `proc_id`, `msg_id`; a nil value (`-`) has no attribute |
//! | SEQ, as Cisco counts its messages | `sequence` |
//! | STRUCTURED-DATA | `structured_data`: a map of SD-ID to a map of names to texts; a name that repeats has an array of them |
//!
//! Severity numbers are those of the logs data model, appendix B. An RFC 3164 time has neither year nor zone: the zone is a
//! setting, and the year is the one that brings the time nearest to its receipt. `Mmm dd` with a year, fractions, `UTC` and
//! Cisco's sequence numbers and marks (`*`, `.`) are understood; other names of zones are ambiguous and not looked at.
//!
//! Nothing that was sent is lost for being wrong. What could not be read stays in the body, is counted, and is tagged in `tags`:
//!
//! | counted | tag | when | the record |
//! |---|---|---|---|
//! | `pri` | `_syslogparsefailure` if there is no header either | no `<0>` to `<191>` in front | no severity; without a header the whole text is the body |
//! | `header` | `_syslogparsefailure` | an RFC 5424 message breaks off within its header | the body is all after the PRI |
//! | `structured_data` | `_syslogparsefailure` | it breaks a rule, or there is none | the body begins where it should have begun |
//! | `timestamp` | `_timestampparsefailure` | RFC 5424: not a time. RFC 3164: a PRI, and no time after it | RFC 5424: attribute `timestamp`. RFC 3164: all after the PRI is the body, without a tag |
//! | `cut` | `_line_cut` | longer than the limit, or broken off by its sender | what is left |
//! | `invalid_utf8` | | | U+FFFD in place of the bytes |
//! | `framing` | | octet counting was told, and there is no count | read to the next line break |
//!
//! Sans-io: [`SyslogStream`] is the state of one connection, [`SyslogDecoder`] takes framed messages such as datagrams. Not here:
//! records grouped by host (a batch has one resource), names of zones other than UTC, and NUL as the end of a message.

mod frame;
mod header;
mod message;
mod structured;
mod time;

pub use frame::{Frame, FrameReader, Framing};
pub use message::SyslogDecoder;
pub use time::Zone;

use crate::logs::LogsBuilder;

/// The scope of the records.
pub const SCOPE: &str = "floodway/syslog";

/// Bytes of a message that are taken if nothing else is said. Every datagram is shorter.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 10;

/// What has come in, as counts since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written.
    pub messages: u64,
    /// Messages without a priority.
    pub no_pri: u64,
    /// RFC 5424 messages whose header could not be read.
    pub bad_headers: u64,
    /// RFC 5424 messages whose structured data could not be read.
    pub bad_structured_data: u64,
    /// Messages with a priority and no time that can be read.
    pub bad_timestamps: u64,
    /// Messages over the limit or broken off.
    pub cut: u64,
    /// Messages in which invalid UTF-8 was replaced by U+FFFD.
    pub invalid_utf8: u64,
    /// Frames without the octet count that they should have had.
    pub bad_framing: u64,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct SyslogStream {
    frames: FrameReader,
    decoder: SyslogDecoder,
}

impl SyslogStream {
    /// A connection on which nothing came in yet. Messages may have `max_message_bytes` bytes.
    pub fn new(framing: Framing, max_message_bytes: usize, zone: Zone) -> Self {
        Self {
            frames: FrameReader::new(framing, max_message_bytes),
            decoder: SyslogDecoder::new(max_message_bytes, zone),
        }
    }

    /// Adds the messages of `chunk` to `batch`, until the batch is full or the chunk is used up: returns how many of its bytes
    /// were taken. The caller then finishes the batch and pushes the rest.
    #[must_use = "what was not taken must be pushed again"]
    pub fn push(&mut self, chunk: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        let mut rest = chunk;
        while !rest.is_empty() && !batch.is_full() {
            if let Some(frame) = self.frames.next(&mut rest) {
                self.decoder.frame(frame, now_unix_nano, batch);
            }
        }
        chunk.len() - rest.len()
    }

    /// Adds what the connection sent last, if it ended within a message.
    pub fn finish(&mut self, now_unix_nano: u64, batch: &mut LogsBuilder) {
        if let Some(frame) = self.frames.finish() {
            self.decoder.frame(frame, now_unix_nano, batch);
        }
    }

    /// Bytes of a message whose end has not come yet.
    pub fn held_bytes(&self) -> usize {
        self.frames.held_bytes()
    }

    /// Whether a message has begun whose end has not come yet, the rest of one that was cut included.
    pub fn is_inside(&self) -> bool {
        self.frames.is_inside()
    }

    /// Messages that ended on this connection, empty ones included.
    pub fn ended(&self) -> u64 {
        self.frames.ended()
    }

    /// What has come in on this connection.
    pub fn counters(&self) -> Counters {
        Counters { bad_framing: self.frames.bad_framing(), ..self.decoder.counters() }
    }
}
