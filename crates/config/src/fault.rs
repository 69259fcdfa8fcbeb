//! One thing that is wrong with a configuration, and where.
//!
//! Components read their settings through `erased_serde`, whose errors are text and nothing else. So a fault's place travels
//! inside its text, between two control characters that no YAML document can hold:
//!
//! ```text
//! U+0001 line ' ' column ' ' length ' ' path U+0002 message
//! ```
//!
//! [`Fault`]'s `Display` writes that form and `serde::de::Error::custom` takes it apart again. Nobody but this crate sees it.
//!
//! Invariant: the first place given to a fault stays; what encloses it does not overwrite it.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::node::Place;
use crate::suggest;

const OPEN: char = '\u{1}';
const CLOSE: char = '\u{2}';

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong and the likely fix. May hold values from the environment until the report takes them out.
    pub(crate) message: String,
    /// Where, if known.
    pub(crate) at: Option<Place>,
    /// The setting it is about: `receivers.otlp.grpc`; empty for the whole file.
    pub(crate) path: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, path: String::new() }
    }

    /// A fault at a place.
    pub(crate) fn at(place: Place, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), at: Some(place), path: path.into() }
    }

    /// Gives it a place unless it has one.
    pub(crate) fn or_at(mut self, place: Option<Place>, path: &str) -> Self {
        if self.at.is_none() {
            self.at = place;
            path.clone_into(&mut self.path);
        }
        self
    }

    /// Takes apart what `Display` wrote, wherever it stands in the text.
    pub(crate) fn from_text(text: &str) -> Self {
        let Some((before, rest)) = text.split_once(OPEN) else {
            return Self::new(text);
        };
        let Some((head, message)) = rest.split_once(CLOSE) else {
            return Self::new(text.replace([OPEN, CLOSE], ""));
        };
        let mut parts = head.splitn(4, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        let place = match (number(), number(), number()) {
            (Some(line), Some(column), Some(length)) => Some(Place { line, column, length }),
            _ => None,
        };
        let path = parts.next().unwrap_or("").to_owned();
        let message = format!("{before}{message}").replace([OPEN, CLOSE], "");
        Self { message, at: place, path }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column, length }) = self.at {
            write!(f, "{OPEN}{line} {column} {length} {}{CLOSE}", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::from_text(&message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", plain(&expected.to_string()), found(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {length} entries", plain(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(suggest::unknown("value", variant, "allowed", expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(suggest::unknown("field", field, "fields here", expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the field `{field}` is missing and has no default"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the field `{field}` stands twice"))
    }
}

/// What serde expected, in the words of someone who writes YAML.
fn plain(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false".to_owned(),
        "a string" | "string" => "text".to_owned(),
        "a sequence" => "a list such as `[a, b]`".to_owned(),
        "a map" => "a map of `name: value` lines".to_owned(),
        "u8" => whole(0, u8::MAX),
        "u16" => whole(0, u16::MAX),
        "u32" => whole(0, u32::MAX),
        "u64" | "usize" => "a whole number of 0 or more".to_owned(),
        other if other.starts_with("a nonzero u") => "a whole number from 1".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number such as `0.5`".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("enum ") => {
            "a map of `name: value` lines".to_owned()
        }
        other => other.to_owned(),
    }
}

fn whole(low: u32, high: impl fmt::Display) -> String {
    format!("a whole number from {low} to {high}")
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::Error as _;

    use super::*;

    #[test]
    fn the_place_survives_being_text() {
        let fault = Fault::at(Place { line: 12, column: 5, length: 7 }, "receivers.otlp", "bad thing");
        assert_eq!(Fault::custom(&fault), fault);
        let wrapped = Fault::custom(format!("while reading: {fault}"));
        assert_eq!(wrapped.at, fault.at);
        assert_eq!(wrapped.path, "receivers.otlp");
        assert_eq!(wrapped.message, "while reading: bad thing");
        let erased = <erased_serde::Error as serde::de::Error>::custom(&fault);
        assert_eq!(Fault::custom(erased), fault);
    }

    #[test]
    fn the_innermost_place_stays() {
        let inner = Place { line: 3, column: 1, length: 1 };
        let fault = Fault::new("x").or_at(Some(inner), "a.b").or_at(Some(Place::default()), "a");
        assert_eq!((fault.at, fault.path.as_str()), (Some(inner), "a.b"));
    }

    #[test]
    fn odd_text_is_no_place() {
        assert_eq!(Fault::from_text("\u{1}x y\u{2}m").message, "m");
        assert_eq!(Fault::from_text("\u{1}m").message, "m");
    }
}
