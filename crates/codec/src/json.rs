//! A small JSON reader for log lines: a tree that borrows from the line.
//!
//! It reads RFC 8259 with three decisions of its own: numbers keep their text (a 20-digit id must not lose digits), of two
//! members with one name the last one wins (as in Logstash), and a lone surrogate escape becomes U+FFFD (JavaScript emits
//! them). It deliberately knows no limits but two: how deep and how many values.
//!
//! Invariant: time is linear in the text, whatever the text.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::json_text::clean_prefix;

/// The members of an object, each name once.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// A number as it was written; it follows JSON's grammar.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Members<'a>),
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonFault {
    Syntax,
    TooDeep,
    TooManyValues,
}

/// Reads values one after the other. A clone goes on from the same place.
#[derive(Clone)]
pub(crate) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
    values_left: usize,
}

impl<'a> Parser<'a> {
    /// Reads `text`, whose arrays and objects may be nested `max_depth` deep.
    pub(crate) fn new(text: &'a str, max_depth: usize) -> Self {
        Self { text, at: 0, depth_left: max_depth, values_left: 0 }
    }

    /// How many values may follow, at all levels together.
    pub(crate) fn allow(&mut self, values: usize) {
        self.values_left = values;
    }

    /// The next byte that is not white space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank =
            rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len());
        self.at += blank;
        rest.get(blank).copied()
    }

    /// Takes `byte` if it is next, after white space.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Takes `byte`, which must be next.
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), JsonFault> {
        if self.take(byte) { Ok(()) } else { Err(JsonFault::Syntax) }
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), JsonFault> {
        if self.peek().is_none() { Ok(()) } else { Err(JsonFault::Syntax) }
    }

    pub(crate) fn value(&mut self) -> Result<Json<'a>, JsonFault> {
        self.values_left = self.values_left.checked_sub(1).ok_or(JsonFault::TooManyValues)?;
        match self.peek().ok_or(JsonFault::Syntax)? {
            b'{' => self.object().map(Json::Object),
            b'[' => self.array().map(Json::Array),
            b'"' => self.string().map(Json::String),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number().map(Json::Number),
        }
    }

    /// An object; the opening brace must be next.
    pub(crate) fn object(&mut self) -> Result<Members<'a>, JsonFault> {
        self.expect(b'{')?;
        self.depth_left = self.depth_left.checked_sub(1).ok_or(JsonFault::TooDeep)?;
        let mut members = Vec::new();
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(JsonFault::Syntax);
                }
                let name = self.string()?;
                self.expect(b':')?;
                members.push((name, self.value()?));
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.depth_left += 1;
        keep_last(&mut members);
        Ok(members)
    }

    /// A string, which must be next.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, JsonFault> {
        if self.peek() == Some(b'"') { self.string() } else { Err(JsonFault::Syntax) }
    }

    /// Reads over a value of any size, nested as deep as serde_json reads, and keeps nothing of it.
    pub(crate) fn skip(&mut self) -> Result<(), JsonFault> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<serde::de::IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                self.at += values.byte_offset();
                Ok(())
            }
            _ => Err(JsonFault::Syntax),
        }
    }

    fn array(&mut self) -> Result<Vec<Json<'a>>, JsonFault> {
        self.expect(b'[')?;
        self.depth_left = self.depth_left.checked_sub(1).ok_or(JsonFault::TooDeep)?;
        let mut elements = Vec::new();
        if !self.take(b']') {
            loop {
                elements.push(self.value()?);
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.depth_left += 1;
        Ok(elements)
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonFault> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(JsonFault::Syntax)
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
    fn number(&mut self) -> Result<&'a str, JsonFault> {
        let text = self.rest();
        let bytes = text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(end);
        if whole == 0 || (whole > 1 && bytes[end] == b'0') {
            return Err(JsonFault::Syntax);
        }
        end += whole;
        if bytes.get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            if fraction == 0 {
                return Err(JsonFault::Syntax);
            }
            end += 1 + fraction;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end.min(bytes.len()));
            if exponent == 0 {
                return Err(JsonFault::Syntax);
            }
            end += exponent;
        }
        self.at += end;
        Ok(&text[..end])
    }

    /// A string; the opening quote must be next.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonFault> {
        self.at += 1;
        let text = self.rest();
        let clean = clean_prefix(text.as_bytes());
        self.at += clean;
        if text.as_bytes().get(clean) == Some(&b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(&text[..clean]));
        }
        let mut owned = text[..clean].to_owned();
        loop {
            match self.rest().as_bytes() {
                [b'"', ..] => break,
                [b'\\', escape, ..] => {
                    self.at += 2;
                    let char = self.escape(*escape)?;
                    owned.push(char);
                }
                // A control character, or the end of the text.
                _ => return Err(JsonFault::Syntax),
            }
            let text = self.rest();
            let clean = clean_prefix(text.as_bytes());
            owned.push_str(&text[..clean]);
            self.at += clean;
        }
        self.at += 1;
        Ok(Cow::Owned(owned))
    }

    /// The character of an escape, after its backslash and letter were taken.
    fn escape(&mut self, letter: u8) -> Result<char, JsonFault> {
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.code_unit(self.at)?;
                self.at += 4;
                self.surrogates(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(JsonFault::Syntax),
        })
    }

    /// The four hexadecimal digits at `at`.
    fn code_unit(&self, at: usize) -> Result<u32, JsonFault> {
        let digits = self.text.as_bytes().get(at..at + 4).ok_or(JsonFault::Syntax)?;
        digits.iter().try_fold(0, |unit, &digit| {
            Ok(unit << 4 | char::from(digit).to_digit(16).ok_or(JsonFault::Syntax)?)
        })
    }

    /// The character that `unit` begins; takes the second half of a pair. `None` for a lone half.
    fn surrogates(&mut self, unit: u32) -> Option<char> {
        if !(0xd800..0xdc00).contains(&unit) || !self.rest().starts_with("\\u") {
            return char::from_u32(unit);
        }
        let low = self.code_unit(self.at + 2).ok().filter(|low| (0xdc00..0xe000).contains(low))?;
        self.at += 6;
        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
    }
}

/// Of members with one name keeps the last.
fn keep_last(members: &mut Members<'_>) {
    // Comparing each with each is faster for the few members that objects have.
    const FEW: usize = 12;
    let mut dropped = Vec::new();
    if members.len() <= FEW {
        for (index, (name, _)) in members.iter().enumerate() {
            if members[index + 1..].iter().any(|(later, _)| later == name) {
                dropped.push(index);
            }
        }
    } else {
        let mut later = HashSet::with_capacity(members.len());
        for (index, (name, _)) in members.iter().enumerate().rev() {
            if !later.insert(name.as_ref()) {
                dropped.push(index);
            }
        }
        dropped.reverse();
    }
    if dropped.is_empty() {
        return;
    }
    let mut dropped = dropped.into_iter().peekable();
    let mut index = 0;
    members.retain(|_| {
        let keep = dropped.next_if_eq(&index).is_none();
        index += 1;
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Json<'_>, JsonFault> {
        let mut parser = Parser::new(text, 10);
        parser.allow(1_000);
        let value = parser.value()?;
        parser.end()?;
        Ok(value)
    }

    fn of_serde(value: &serde_json::Value) -> Json<'static> {
        use serde_json::Value;
        match value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Number(n) => Json::Number(n.to_string().leak()),
            Value::String(s) => Json::String(Cow::Owned(s.clone())),
            Value::Array(a) => Json::Array(a.iter().map(of_serde).collect()),
            Value::Object(o) => {
                Json::Object(o.iter().map(|(k, v)| (Cow::Owned(k.clone()), of_serde(v))).collect())
            }
        }
    }

    #[test]
    fn what_is_no_json() {
        for bad in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "tru",
            "NaN",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "1 2",
            "[1 2]",
            "]",
            "{}}",
            "'a'",
            "\u{feff}1",
        ] {
            assert_eq!(parse(bad), Err(JsonFault::Syntax), "{bad:?}");
            assert!(serde_json::from_str::<serde_json::Value>(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn surrogates_pair_or_are_replaced() {
        for (text, value) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00x""#, "\u{fffd}x"),
            (r#""\ud83dA""#, "\u{fffd}A"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        ] {
            assert_eq!(parse(text), Ok(Json::String(value.into())), "{text}");
        }
        assert_eq!(parse(r#""\ud83d\u12""#), Err(JsonFault::Syntax));
    }

    #[test]
    fn the_last_of_a_name_wins() {
        let last = |names: &[&str]| {
            let text: Vec<_> = names.iter().enumerate().map(|(i, n)| format!("\"{n}\":{i}")).collect();
            let text = format!("{{{}}}", text.join(",")).leak();
            let Ok(Json::Object(members)) = parse(text) else { panic!("{text}") };
            members.into_iter().map(|(n, v)| format!("{n}={v:?}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(last(&["a", "b", "a", "a", "c"]), r#"b=Number("1") a=Number("3") c=Number("4")"#);
        let many: Vec<_> = (0..40).map(|i| ["a", "b", "c"][i % 3]).collect();
        assert_eq!(last(&many), r#"b=Number("37") c=Number("38") a=Number("39")"#);
    }

    #[test]
    fn limits() {
        let nested = |n| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&nested(10)).is_ok());
        assert_eq!(parse(&nested(11)), Err(JsonFault::TooDeep));
        assert_eq!(parse(&nested(1_000_000)), Err(JsonFault::TooDeep));
        let wide = |n| format!("[{}]", vec!["1"; n].join(","));
        assert!(parse(&wide(999)).is_ok());
        assert_eq!(parse(&wide(1_000)), Err(JsonFault::TooManyValues));
    }

    #[test]
    fn a_hundred_thousand_names_take_linear_time() {
        let text: Vec<_> = (0..100_000).map(|i| format!("\"k{}\":1", i % 70_000)).collect();
        let text = format!("{{{}}}", text.join(","));
        let mut parser = Parser::new(&text, 3);
        parser.allow(usize::MAX);
        assert_eq!(parser.object().map(|members| members.len()), Ok(70_000));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "(\\PC|[\\x00-\\x22\\\\]){0,10}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..20)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(value in any_json(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(parse(&text), Ok(of_serde(&value)));
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_text(value in any_json(), at: prop::sample::Index, with in "[\\[\\]{}\":,0-9eE.\\-\\\\tn a]{0,2}") {
            let mut text: Vec<char> = value.to_string().chars().collect();
            let at = at.index(text.len());
            text.splice(at..at + 1, with.chars());
            let text: String = text.into_iter().collect();
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            // Only serde_json minds lone surrogates; nothing here writes any.
            prop_assert_eq!(parse(&text).is_ok(), serde.is_ok(), "{}", text);
        }
    }
}
