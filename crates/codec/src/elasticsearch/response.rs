//! The answer to a bulk request: what became of each document.
//!
//! ```text
//! {"took":3,"errors":true,"items":[{"create":{"status":201}},
//!                                  {"create":{"status":400,"error":{"type":"...","reason":"..."}}}]}
//! ```
//!
//! | status of an item | verdict |
//! |---|---|
//! | 2xx; 409 of a document with an id of its content | delivered |
//! | 429, 408, 5xx; any with `cluster_block_exception` (a full disk) | to be sent again |
//! | other | refused, with a reason |
//!
//! Each item is judged by its own status, whatever `errors` says. It is read in one pass, without a tree. Where the answer
//! breaks off, or is none, the items that were read count and the others are to be sent again.
//!
//! Invariant: at most as many positions are kept as there were documents, and one message a reason. Nothing that a server
//! quotes from a document gets into a message.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Asks the server for no more than is read here.
pub const FILTER_PATH: &str = "took,errors,items.*.status,items.*.error.type,items.*.error.reason";

/// Most characters of what a server says that are kept.
const MAX_TEXT: usize = 200;

/// What became of the documents of one body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Positions of documents that are to be sent again, in order.
    pub retry: Vec<usize>,
    /// The others that were not taken, by reason.
    pub refusals: Vec<Refusal>,
    /// Why the first of `retry` was not taken.
    pub message: String,
}

/// Documents refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `mapping`, `version_conflict`, `index_missing`, `index_name`, `pipeline`, `shard_limit`, `forbidden`, `too_large` or `refused`.
    pub reason: &'static str,
    /// Their positions, in order.
    pub positions: Vec<usize>,
    /// What the server said of the first one.
    pub message: String,
}

/// What one status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The document is there.
    Delivered,
    /// Trying again may help.
    Retry,
    /// It will never be taken.
    Refused(&'static str),
}

impl Verdict {
    /// Judges an item. `content_ids`: whether a conflict can only be with the same document.
    pub fn of(status: u16, kind: &str, reason: &str, content_ids: bool) -> Self {
        if kind == "cluster_block_exception" {
            return Self::Retry;
        }
        Self::Refused(match status {
            200..300 => return Self::Delivered,
            409 if content_ids => return Self::Delivered,
            408 | 429 | 500.. => return Self::Retry,
            409 => "version_conflict",
            404 => "index_missing",
            401 | 403 => "forbidden",
            413 => "too_large",
            _ if reason.contains("pipeline with id") => "pipeline",
            _ if reason.contains("maximum shards open") => "shard_limit",
            _ => match kind {
                "mapper_parsing_exception"
                | "document_parsing_exception"
                | "strict_dynamic_mapping_exception"
                | "illegal_argument_exception" => "mapping",
                "invalid_index_name_exception" => "index_name",
                "index_not_found_exception" => "index_missing",
                _ => "refused",
            },
        })
    }
}

/// Reads the answer to a body of `items` documents.
pub fn read(body: &[u8], items: usize, content_ids: bool) -> Answer {
    let mut reader =
        Reader { items, content_ids, read: 0, listed: false, errors: None, answer: Answer::default() };
    let mut json = serde_json::Deserializer::from_slice(body);
    let outcome = (&mut reader).deserialize(&mut json).and_then(|()| json.end());
    let Reader { read, listed, errors, mut answer, .. } = reader;
    let problem = match outcome {
        Err(_) => "the answer breaks off or is not that of a bulk request",
        // Servers that speak only part of the protocol may leave the list out where all is well.
        Ok(()) if errors == Some(false) && (!listed || read == 0) => return answer,
        Ok(()) if read < items => "the answer says nothing of some documents",
        // More than were sent: whatever they are, they are not ours.
        Ok(()) if read > items => {
            answer = Answer { retry: (0..items).collect(), ..Answer::default() };
            "the answer has more items than there were documents"
        }
        Ok(()) => return answer,
    };
    answer.retry.extend(read.min(items)..items);
    if answer.message.is_empty() {
        problem.clone_into(&mut answer.message);
    }
    answer
}

/// Type and reason of the error that a whole request was answered with, fit for a log.
pub fn error_of(body: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        error: ErrorBody<'a>,
    }
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    Some((safe_kind(&whole.error.kind), safe_reason(&whole.error.reason)))
}

struct Reader {
    items: usize,
    content_ids: bool,
    read: usize,
    listed: bool,
    errors: Option<bool>,
    answer: Answer,
}

impl Reader {
    fn item(&mut self, outcome: &Outcome<'_>) {
        let position = self.read;
        self.read += 1;
        if position >= self.items {
            return;
        }
        let error = outcome.error.as_ref();
        let (kind, reason) = error.map_or(("", ""), |error| (&error.kind, &error.reason));
        match Verdict::of(outcome.status, kind, reason, self.content_ids) {
            Verdict::Delivered => {}
            Verdict::Retry => {
                if self.answer.retry.is_empty() {
                    self.answer.message = told(outcome.status, kind, reason);
                }
                self.answer.retry.push(position);
            }
            Verdict::Refused(label) => {
                let refusals = &mut self.answer.refusals;
                match refusals.iter_mut().find(|refusal| refusal.reason == label) {
                    Some(refusal) => refusal.positions.push(position),
                    None => {
                        let message = told(outcome.status, kind, reason);
                        refusals.push(Refusal { reason: label, positions: vec![position], message });
                    }
                }
            }
        }
    }
}

fn told(status: u16, kind: &str, reason: &str) -> String {
    format!("{status} {}: {}", safe_kind(kind), safe_reason(reason))
}

/// The name of an error, if it is one.
fn safe_kind(kind: &str) -> String {
    kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect()
}

/// What a server says, up to the first quotation; of what stands in brackets only the names of fields, types and the like.
fn safe_reason(reason: &str) -> String {
    const NAMED: [&str; 9] =
        ["field ", "fields ", "for ", "from ", "index ", "mapper ", "pipeline with id ", "to ", "type "];
    let mut safe = String::new();
    let mut rest = reason.split(['\'', '"']).next().unwrap_or_default();
    while let Some((before, inside)) = rest.split_once('[') {
        safe.push_str(before);
        let (name, after) = inside.split_once(']').unwrap_or((inside, ""));
        let named = NAMED.iter().any(|word| before.ends_with(word));
        safe.push('[');
        safe.push_str(if named { name } else { "..." });
        safe.push(']');
        rest = after;
    }
    safe.push_str(rest);
    safe.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[derive(Deserialize)]
struct Outcome<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<ErrorBody<'a>>,
}

/// `{"type":..,"reason":..}`, or a text as old servers and proxies have it.
#[derive(Default)]
struct ErrorBody<'a> {
    kind: Cow<'a, str>,
    reason: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for ErrorBody<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ErrorBody<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ErrorBody { kind: Cow::Borrowed(""), reason: Cow::Owned(text.to_owned()) })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut error = ErrorBody::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.as_ref() {
                        "type" => error.kind = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "reason" => error.reason = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(error)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Top(self))
    }
}

struct Top<'r>(&'r mut Reader);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer to a bulk request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "errors" => self.0.errors = Some(map.next_value()?),
                "items" if !self.0.listed => {
                    self.0.listed = true;
                    map.next_value_seed(Items(self.0))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Items<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(Item(outcome)) = items.next_element()? {
            self.0.item(&outcome);
        }
        Ok(())
    }
}

/// `{"create": outcome}`, whatever the action is called.
struct Item<'a>(Outcome<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Action;
        impl<'de> Visitor<'de> for Action {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some((_, outcome)) = map.next_entry::<IgnoredAny, Outcome<'de>>()? else {
                    return Err(serde::de::Error::custom("an item without an action"));
                };
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(Item(outcome)),
                    Some(_) => Err(serde::de::Error::custom("an item with two actions")),
                }
            }
        }
        deserializer.deserialize_map(Action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16, kind: &str, reason: &str) -> String {
        match kind {
            "" => format!("{{\"create\":{{\"status\":{status}}}}}"),
            _ => serde_json::json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}})
                .to_string(),
        }
    }

    fn body(items: &[String]) -> String {
        format!("{{\"took\":1,\"errors\":true,\"items\":[{}]}}", items.join(","))
    }

    #[test]
    fn each_item_is_judged_by_its_own_status() {
        let items = [
            item(201, "", ""),
            item(429, "es_rejected_execution_exception", "queue full"),
            item(400, "mapper_parsing_exception", "failed to parse field [a] of type [long]"),
            item(409, "version_conflict_engine_exception", "[x]: version conflict"),
            item(503, "unavailable_shards_exception", "primary shard is not active"),
            item(403, "cluster_block_exception", "index read-only"),
            item(400, "document_parsing_exception", "x"),
            item(404, "index_not_found_exception", "no such index [a]"),
        ];
        let text = body(&items);
        let answer = read(text.as_bytes(), 8, true);
        assert_eq!(answer.retry, [1, 4, 5]);
        let refused: Vec<_> = answer.refusals.iter().map(|r| (r.reason, &r.positions[..])).collect();
        assert_eq!(refused, [("mapping", &[2, 6][..]), ("index_missing", &[7])]);
        assert_eq!(answer.message, "429 es_rejected_execution_exception: queue full");
        assert_eq!(
            answer.refusals[0].message,
            "400 mapper_parsing_exception: failed to parse field [a] of type [long]"
        );
        assert_eq!(read(text.as_bytes(), 8, false).refusals[1].reason, "version_conflict");
        // `errors` does not decide.
        assert_eq!(read(text.replace("true", "false").as_bytes(), 8, true), answer);
    }

    #[test]
    fn what_breaks_off_counts_as_far_as_it_was_read() {
        let text = body(&[item(201, "", ""), item(400, "mapper_parsing_exception", "x"), item(201, "", "")]);
        for len in 0..text.len() {
            let answer = read(&text.as_bytes()[..len], 3, true);
            let refused: usize = answer.refusals.iter().map(|r| r.positions.len()).sum();
            assert!(!answer.message.is_empty(), "{len}");
            let read = 3 - answer.retry.len();
            assert_eq!(answer.retry, (read..3).collect::<Vec<_>>(), "{len}");
            assert_eq!(refused, usize::from(read > 1), "{len}");
        }
        assert_eq!(read(text.as_bytes(), 3, true).retry, [0; 0]);
    }

    #[test]
    fn answers_that_are_none() {
        let short = body(&[item(201, "", "")]);
        for text in [
            "",
            "{}",
            "null",
            "[]",
            "OK",
            "{\"took\":1}",
            "{\"errors\":true}",
            "<html>",
            "{\"errors\":true,\"items\":[]}",
        ] {
            assert_eq!(read(text.as_bytes(), 2, true).retry, [0, 1], "{text}");
        }
        assert_eq!(read(short.as_bytes(), 2, true).retry, [1]);
        let long = body(&[item(400, "x", "y"), item(201, "", ""), item(201, "", "")]);
        let answer = read(long.as_bytes(), 2, true);
        assert_eq!((answer.retry, answer.refusals.len()), (vec![0, 1], 0));
        for text in ["{\"took\":1,\"errors\":false}", "{\"errors\":false,\"items\":[]}"] {
            assert_eq!(read(text.as_bytes(), 2, true), Answer::default(), "{text}");
        }
    }

    #[test]
    fn nothing_is_quoted_from_a_document() {
        for (reason, safe) in [
            (
                "failed to parse field [n] of type [long] in document with id 'secret'. Preview of field's value: 'secret'",
                "failed to parse field [n] of type [long] in document with id ",
            ),
            (
                "mapper [a.b] cannot be changed from type [long] to [text]",
                "mapper [a.b] cannot be changed from type [long] to [text]",
            ),
            ("cannot parse [secret] as x", "cannot parse [...] as x"),
            ("For input string: \"secret\"", "For input string: "),
            ("broken [secret", "broken [...]"),
            ("a\nb\u{1b}[0m", "ab[...]"),
        ] {
            assert_eq!(safe_reason(reason), safe);
            assert!(!safe_reason(reason).contains("secret"));
        }
        assert_eq!(safe_reason(&"é".repeat(1000)).chars().count(), 200);
    }

    #[test]
    fn errors_of_whole_requests() {
        let json = r#"{"error":{"root_cause":[{"type":"x"}],"type":"security_exception","reason":"no permissions"},"status":403}"#;
        assert_eq!(error_of(json.as_bytes()), Some(("security_exception".into(), "no permissions".into())));
        assert_eq!(error_of(b"{\"error\":\"Unauthorized\"}"), Some((String::new(), "Unauthorized".into())));
        for none in ["", "<html>", "{}", "{\"error\":3}"] {
            assert_eq!(error_of(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn an_error_may_be_a_text_and_the_action_of_any_name() {
        let text = r#"{"errors":true,"items":[{"index":{"_id":"1","status":400,"error":"Failed [x]"}}]}"#;
        let answer = read(text.as_bytes(), 1, true);
        assert_eq!(answer.refusals[0].message, "400 : Failed [...]");
        assert_eq!(answer.refusals[0].reason, "refused");
    }
}
