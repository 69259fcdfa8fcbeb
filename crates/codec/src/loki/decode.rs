//! The bodies of pushes to log records. What a stream and an entry become:
//!
//! | in the push | in OTLP |
//! |---|---|
//! | the labels of a stream | attributes of a resource, renamed where the settings say so |
//! | timestamp | the time; the time of receipt where there is none |
//! | line | the body, a string |
//! | structured metadata | attributes of the record |
//! | `trace_id`, `span_id` there (or in a line of JSON), in hexadecimal | the record's ids |
//! | `level`, `detected_level` or `severity` there, else a label of such a name | severity text and number; it stays where it was too |

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::wire::{Field, Wire, WireError, read_field};
use model::{Request, View};

use super::entry::{Entry, LEVEL_NAMES};
use super::labels::{self, Labels, LabelsError};
use super::{NANOS_A_SECOND, field};
use crate::json::JsonFault;
use crate::logs::{BatchLimits, LogsBuilder, string_attribute};

/// The scope of the records.
const SCOPE: &str = "floodway/loki_push";

/// Why a push was not decoded. No message quotes the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Not protobuf.
    #[error("not a Loki push request: {0}")]
    Wire(#[from] WireError),
    /// A field of another wire type than the schema says.
    #[error("not a Loki push request: field {number} of {message} has the wrong type")]
    Type {
        /// The message that it stands in.
        message: &'static str,
        /// Its number.
        number: u32,
    },
    /// The labels of a stream.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// Neither labels nor an object of them.
    #[error("a stream has no labels")]
    Unlabelled,
    /// A time that OTLP has no place for, or none at all.
    #[error("a timestamp is no time since 1970 in nanoseconds")]
    Timestamp,
    /// Too much structured metadata.
    #[error("an entry has more than {} pairs of structured metadata", super::entry::MAX_METADATA)]
    Metadata,
    /// Not JSON.
    #[error("the body is not valid JSON")]
    Json,
    /// JSON of another shape.
    #[error("not a Loki push request: {0}")]
    Shape(&'static str),
    /// The records would be larger than the limit.
    #[error("the push makes more than the limit of {limit} bytes of log records: send smaller batches")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
}

impl From<JsonFault> for PushError {
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::Syntax => Self::Json,
            JsonFault::TooDeep => Self::Shape("labels and structured metadata cannot be nested"),
            JsonFault::TooManyValues => {
                Self::Shape("a stream has too many labels or an entry too much metadata")
            }
        }
    }
}

/// What a push held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// The records, if there are any.
    pub request: Option<Request>,
    /// Texts in which invalid UTF-8 was replaced by U+FFFD.
    pub invalid_utf8: u64,
}

/// How pushes are decoded.
#[derive(Clone, Debug)]
pub struct PushDecoder {
    /// Most bytes of the OTLP request that a push becomes.
    pub max_bytes: usize,
    /// What labels are called as attributes, where that is not their own name.
    pub renames: Arc<BTreeMap<String, String>>,
}

impl PushDecoder {
    /// Decodes an inflated protobuf body. `tenant` becomes the attribute `loki.tenant` of every resource.
    pub fn protobuf(&self, body: &[u8], now_unix_nano: u64, tenant: Option<&str>) -> Result<Push, PushError> {
        let mut streams = self.streams(now_unix_nano, tenant);
        let mut entry = Entry::default();
        for stream in fields(View::root(body)) {
            let stream = stream?;
            if stream.number == field::STREAMS {
                streams.protobuf(View::at(body, message(stream, "PushRequest")?), &mut entry)?;
            }
        }
        streams.finish()
    }

    /// Decodes a JSON body, of either shape.
    pub fn json(&self, body: &[u8], now_unix_nano: u64, tenant: Option<&str>) -> Result<Push, PushError> {
        let mut streams = self.streams(now_unix_nano, tenant);
        let text = String::from_utf8_lossy(body);
        streams.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        super::json::decode(&text, &mut streams)?;
        streams.finish()
    }

    fn streams(&self, now: u64, tenant: Option<&str>) -> Streams<'_> {
        let mut batch = LogsBuilder::new(SCOPE, BatchLimits::default());
        if let Some(tenant) = tenant {
            batch = batch.resource("loki.tenant", tenant);
        }
        Streams { decoder: self, batch, now, invalid_utf8: 0, level: None }
    }
}

/// The streams of one push, as they are decoded.
pub(super) struct Streams<'d> {
    decoder: &'d PushDecoder,
    batch: LogsBuilder,
    now: u64,
    pub(super) invalid_utf8: u64,
    /// The level that the present stream's labels name.
    level: Option<String>,
}

impl Streams<'_> {
    /// Begins the stream with these labels. Labels that are renamed into each other are refused.
    pub(super) fn begin(&mut self, labels: Labels<'_>) -> Result<(), PushError> {
        let level = LEVEL_NAMES.iter().find_map(|name| labels.iter().find(|(label, _)| label == name));
        self.level = level.map(|(_, value)| value.clone().into_owned());
        let mut attributes = Labels::with_capacity(labels.len());
        for (name, value) in labels {
            let name = self.decoder.renames.get(name.as_ref()).map_or(name, |new| Cow::Owned(new.clone()));
            labels::add(&mut attributes, name, value)?;
        }
        self.batch.begin_resource(|w| {
            attributes.iter().for_each(|(name, value)| string_attribute(w, 1, name, value));
        });
        Ok(())
    }

    /// Adds an entry to the present stream.
    pub(super) fn add(&mut self, entry: &Entry<'_>) -> Result<(), PushError> {
        entry.write(&mut self.batch, self.now, self.level.as_deref());
        let limit = self.decoder.max_bytes;
        if self.batch.bytes() > limit { Err(PushError::TooLarge { limit }) } else { Ok(()) }
    }

    fn protobuf<'a>(&mut self, stream: View<'a>, entry: &mut Entry<'a>) -> Result<(), PushError> {
        // A singular field counts where it stands last; the labels may come after the entries.
        let mut labels = None;
        for part in fields(stream) {
            let part = part?;
            if part.number == field::LABELS {
                labels = Some(message(part, "StreamAdapter")?);
            }
        }
        let text = utf8(stream.buf(), labels.ok_or(PushError::Unlabelled)?, &mut self.invalid_utf8);
        let labels = labels::parse(&text, &mut self.invalid_utf8)?;
        self.begin(labels)?;
        for part in fields(stream) {
            let part = part?;
            if part.number == field::ENTRIES {
                self.entry(View::at(stream.buf(), message(part, "StreamAdapter")?), entry)?;
                self.add(entry)?;
            }
        }
        Ok(())
    }

    fn entry<'a>(&mut self, view: View<'a>, entry: &mut Entry<'a>) -> Result<(), PushError> {
        const NAME: &str = "EntryAdapter";
        entry.clear();
        let (mut seconds, mut nanos) = (0, 0);
        for part in fields(view) {
            let part = part?;
            match part.number {
                // A message that stands in pieces is the union of its pieces.
                field::TIMESTAMP => {
                    timestamp(View::at(view.buf(), message(part, NAME)?), &mut seconds, &mut nanos)?;
                }
                field::LINE => entry.line = utf8(view.buf(), message(part, NAME)?, &mut self.invalid_utf8),
                field::METADATA => {
                    let (name, value) = self.pair(View::at(view.buf(), message(part, NAME)?))?;
                    entry.add(name, value)?;
                }
                _ => {}
            }
        }
        entry.time = time(seconds, nanos)?;
        Ok(())
    }

    fn pair<'a>(&mut self, view: View<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), PushError> {
        let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
        for part in fields(view) {
            let part = part?;
            let text = match part.number {
                field::NAME => &mut name,
                field::VALUE => &mut value,
                _ => continue,
            };
            *text = utf8(view.buf(), message(part, "LabelPairAdapter")?, &mut self.invalid_utf8);
        }
        Ok((name, value))
    }

    fn finish(mut self) -> Result<Push, PushError> {
        let request = self.batch.finish();
        let limit = self.decoder.max_bytes;
        if request.as_ref().is_some_and(|request| request.bytes().len() > limit) {
            return Err(PushError::TooLarge { limit });
        }
        Ok(Push { request, invalid_utf8: self.invalid_utf8 })
    }
}

/// The fields of a message whose bytes nobody has checked.
fn fields(view: View<'_>) -> impl Iterator<Item = Result<Field, WireError>> + '_ {
    let (mut at, end) = (view.range().start, view.range().end);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let field = read_field(view.buf(), at, end);
        at = field.as_ref().map_or(end, |field| field.end);
        Some(field)
    })
}

/// A length-delimited field, or the error that it is another.
fn message(field: Field, message: &'static str) -> Result<Field, PushError> {
    match field.wire {
        Wire::Len => Ok(field),
        _ => Err(PushError::Type { message, number: field.number }),
    }
}

fn timestamp(view: View<'_>, seconds: &mut i64, nanos: &mut i64) -> Result<(), PushError> {
    for part in fields(view) {
        let part = part?;
        let number = part.number;
        let value = match number {
            field::SECONDS => &mut *seconds,
            field::NANOS => &mut *nanos,
            _ => continue,
        };
        if part.wire != Wire::Varint {
            return Err(PushError::Type { message: "Timestamp", number });
        }
        *value = part.bits as i64;
    }
    Ok(())
}

fn time(seconds: i64, nanos: i64) -> Result<u64, PushError> {
    let nanos = u64::try_from(nanos).ok().filter(|n| *n < NANOS_A_SECOND).ok_or(PushError::Timestamp)?;
    let seconds = u64::try_from(seconds).map_err(|_| PushError::Timestamp)?;
    seconds.checked_mul(NANOS_A_SECOND).and_then(|time| time.checked_add(nanos)).ok_or(PushError::Timestamp)
}

fn utf8<'a>(buf: &'a [u8], field: Field, replaced: &mut u64) -> Cow<'a, str> {
    let text = String::from_utf8_lossy(buf.get(field.body_range()).unwrap_or_default());
    *replaced += u64::from(matches!(text, Cow::Owned(_)));
    text
}
