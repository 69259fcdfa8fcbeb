//! Sizes and times as people write them: `256MiB`, `30s`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number of bytes; `268435456`, `256MiB`, `1.5GiB` or `500MB` in YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A time; `250ms`, `30s`, `5m` or `1h` in YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

const SIZES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];
const TIMES: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Splits `1.5GiB` into its number and its unit, and multiplies. `None` where either is not known or the result is negative.
fn measure(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?;
    number.parse::<f64>().ok().map(|n| n * factor).filter(|n| n.is_finite())
}

impl ByteSize {
    /// Reads `256MiB`; `None` if it is no size.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(bytes) = text.trim().parse() {
            return Some(Self(bytes));
        }
        let bytes = measure(text, SIZES)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to fit, never negative"
        )]
        (bytes < 9e18).then_some(Self(bytes.round() as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{name}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Time {
    /// Reads `30s`; `None` if it is no time. A number without a unit is refused: seconds or milliseconds is anybody's guess.
    pub fn parse(text: &str) -> Option<Self> {
        measure(text, TIMES).filter(|s| *s < 1e9).map(|seconds| Self(Duration::from_secs_f64(seconds)))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `256MiB` or a number of bytes")
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Sizes)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Times;
        impl Visitor<'_> for Times {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit such as `30s` (ms, s, m, h)")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Times)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: `268435456`, `256MiB`, `500MB`.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"(?i)^\s*[0-9.]+\s*(B|KB|MB|GB|KiB|MiB|GiB)?\s*$" }
            ]
        })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time with its unit: `250ms`, `30s`, `5m`, `1h`.",
            "type": "string",
            "pattern": r"^\s*[0-9.]+\s*(ms|s|m|h)\s*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("12", 12),
            ("1KiB", 1024),
            ("256MiB", 268_435_456),
            ("1.5 gib", 1_610_612_736),
            ("2MB", 2_000_000),
        ] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1XB", "1e9GiB", "nan"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
        assert_eq!(ByteSize(268_435_456).to_string(), "256MiB");
        assert_eq!(ByteSize(1000).to_string(), "1000B");
    }

    #[test]
    fn times() {
        assert_eq!(Time::parse("250ms"), Some(Time(Duration::from_millis(250))));
        assert_eq!(Time::parse("1.5h"), Some(Time(Duration::from_secs(5400))));
        for text in ["30", "", "s", "-1s", "1d"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
    }
}
