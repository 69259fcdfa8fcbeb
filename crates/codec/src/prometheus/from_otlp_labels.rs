//! Attributes as labels: of points, scopes and resources.

use std::borrow::Cow;

use base64::Engine as _;
use model::otlp::{AnyValue, KeyValue};
use model::series::{Symbol, TooMuchText};
use model::{Messages, SeriesBuilder};
use smallvec::SmallVec;

use super::names::{Translation, label_name};
use crate::json_text;

/// The attributes that identify a resource: they become `job` and `instance`.
pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_NAMESPACE: &str = "service.namespace";
pub(super) const SERVICE_INSTANCE: &str = "service.instance.id";

/// Labels of a series under construction.
pub(super) type Pairs = Vec<(Symbol, Symbol)>;

/// Deeper values than this are cut; the receipt check lets no more than 100 levels in.
const MAX_DEPTH: usize = 100;

/// What attributes are written with. Buffers are used again.
#[derive(Debug, Default)]
pub(super) struct LabelWriter {
    pub(super) translation: Translation,
    name: String,
    value: Vec<u8>,
    /// Labels whose names met after escaping.
    pub(super) joined: u64,
}

impl LabelWriter {
    pub(super) fn new(translation: Translation) -> Self {
        Self { translation, ..Self::default() }
    }

    /// Adds attributes to `out`. Names that become the same have their values joined with `;` in the order of the original keys.
    pub(super) fn attributes<'a>(
        &mut self,
        attributes: Messages<'a, KeyValue<'a>>,
        prefix: &str,
        keep: impl Fn(&str) -> bool,
        builder: &mut SeriesBuilder,
        out: &mut Pairs,
    ) -> Result<(), TooMuchText> {
        let from = out.len();
        let mut sorted: SmallVec<[(&str, Option<AnyValue<'_>>); 16]> =
            attributes.map(|kv| (kv.key(), kv.value())).filter(|(key, _)| keep(key)).collect();
        if !sorted.is_sorted_by(|a, b| a.0 <= b.0) {
            sorted.sort_by(|a, b| a.0.cmp(b.0));
        }
        for (key, value) in sorted {
            let Some(value) = value.map(|value| self.text(value)) else { continue };
            if value.is_empty() || key.is_empty() {
                continue;
            }
            let value = builder.intern(&value)?;
            let name = self.name(prefix, key, builder)?;
            match out[from..].iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    self.joined += 1;
                    let text = format!("{};{}", builder.symbols().get(*known), builder.symbols().get(value));
                    *known = builder.intern(&text)?;
                }
                None => out.push((name, value)),
            }
        }
        Ok(())
    }

    fn name(&mut self, prefix: &str, key: &str, builder: &mut SeriesBuilder) -> Result<Symbol, TooMuchText> {
        let key: Cow<'_, str> =
            if prefix.is_empty() { Cow::Borrowed(key) } else { Cow::Owned(format!("{prefix}{key}")) };
        builder.intern(label_name(self.translation, &key, &mut self.name))
    }

    /// The text of a value: strings as they are, the rest as in the specification's "attribute" section.
    pub(super) fn text<'a>(&mut self, value: AnyValue<'a>) -> Cow<'a, str> {
        if let Some(text) = value.string_value() {
            return Cow::Borrowed(text);
        }
        self.value.clear();
        write_value(&mut self.value, value, 0);
        Cow::Owned(String::from_utf8_lossy(&self.value).into_owned())
    }
}

/// A value as text. Inside of lists and maps strings are quoted, and numbers that JSON has not are strings.
fn write_value(out: &mut Vec<u8>, value: AnyValue<'_>, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(text) = value.string_value() {
        json_text::string(out, text.as_bytes());
    } else if let Some(flag) = value.bool_value() {
        out.extend_from_slice(if flag { b"true" } else { b"false" });
    } else if let Some(number) = value.int_value() {
        json_text::integer(out, number);
    } else if let Some(number) = value.double_value() {
        match depth {
            0 => out.extend_from_slice(number_text(number).as_bytes()),
            _ => json_text::double(out, number),
        }
    } else if let Some(bytes) = value.bytes_value() {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        match depth {
            0 => out.extend_from_slice(text.as_bytes()),
            _ => json_text::string(out, text.as_bytes()),
        }
    } else if let Some(list) = value.array_value() {
        out.push(b'[');
        for (n, item) in list.values().enumerate() {
            comma(out, n);
            write_value(out, item, depth + 1);
        }
        out.push(b']');
    } else if let Some(map) = value.kvlist_value() {
        out.push(b'{');
        for (n, pair) in map.values().enumerate() {
            comma(out, n);
            json_text::string(out, pair.key().as_bytes());
            out.push(b':');
            match pair.value() {
                Some(value) => write_value(out, value, depth + 1),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    } else if depth > 0 {
        out.extend_from_slice(b"null");
    }
}

fn comma(out: &mut Vec<u8>, n: usize) {
    if n > 0 {
        out.push(b',');
    }
}

/// A number as `le` and `quantile` have it: the shortest digits that read back the same, without an exponent; `+Inf`, `-Inf`, `NaN`.
pub(super) fn number_text(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// Sets a label, in place of what it was.
pub(super) fn set(pairs: &mut Pairs, name: Symbol, value: Symbol) {
    match pairs.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => pairs.push((name, value)),
    }
}

/// Sorts by name and takes out empty values, which to Prometheus are no labels.
pub(super) fn sort(pairs: &mut Pairs, builder: &SeriesBuilder) {
    pairs.retain(|(_, value)| *value != Symbol::EMPTY);
    let symbols = builder.symbols();
    pairs.sort_unstable_by(|a, b| symbols.get(a.0).cmp(symbols.get(b.0)));
}
