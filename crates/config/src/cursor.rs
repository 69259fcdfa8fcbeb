//! A serde deserializer over the tree.
//!
//! The field's type decides what a scalar means: `4317` is a port for a `u16` and text for a `String`, with quotes or without,
//! typed in or put there by `${PORT}`. Only where a field takes anything (`deserialize_any`) the YAML 1.2 core rules decide.
//!
//! Invariant: every error that leaves a cursor has a place and the path of the setting.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::fault::Fault;
use crate::node::{Key, Node, Scalar, Value};

/// One node and the path to it.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> Cursor<'n> {
    /// `path` is what the node is called in messages: `receivers.otlp`.
    pub(crate) fn new(node: &'n Node, path: impl Into<String>) -> Self {
        Self { node, path: path.into() }
    }

    fn child(&self, node: &'n Node, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { node, path }
    }

    fn placed<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.or_at(Some(self.node.at), &self.path))
    }

    /// The error for a node that is not what the field takes.
    fn refuse<T>(&self, expected: &str) -> Result<T, Fault> {
        let found = match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() && scalar.shown().is_empty() => "nothing".to_owned(),
            Value::Scalar(scalar) if scalar.written.is_some() => format!("the value of `{}`", scalar.shown()),
            Value::Scalar(scalar) => format!("`{}`", scalar.shown().chars().take(60).collect::<String>()),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        Err(Fault::at(self.node.at, self.path.clone(), format!("expected {expected}, found {found}")))
    }

    fn scalar(&self) -> Option<&'n Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }
}

/// A whole number as YAML 1.2 writes it: decimal, `0x1f`, `0o17`.
fn whole(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        i128::from_str_radix(octal, 8)
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        digits.parse()
    } else {
        return None;
    };
    number.ok().map(|n| sign * n)
}

/// A number with a point or an exponent, or `.inf` and `.nan`.
fn fraction(text: &str) -> Option<f64> {
    match text {
        ".inf" | "+.inf" => Some(f64::INFINITY),
        "-.inf" => Some(f64::NEG_INFINITY),
        ".nan" => Some(f64::NAN),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
            && text.contains(|c: char| c.is_ascii_digit()) =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

macro_rules! whole_numbers {
    ($($method:ident $type:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let number = self.scalar().and_then(|scalar| whole(scalar.text.trim()));
            match number.and_then(|n| $type::try_from(n).ok()) {
                Some(number) => self.placed(visitor.$visit(number)),
                None if number.is_some_and(|n| n < 0) && $type::MIN == 0 => {
                    self.refuse("a whole number of 0 or more")
                }
                None if $type::BITS <= 16 || number.is_some() => {
                    self.refuse(&format!("a whole number from {} to {}", $type::MIN, $type::MAX))
                }
                None => self.refuse("a whole number such as `100`"),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Cursor<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let scalar = match &self.node.value {
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
            Value::Scalar(scalar) => scalar,
        };
        let text = scalar.text.as_str();
        let number = whole(text);
        self.placed(if !scalar.bare {
            visitor.visit_str(text)
        } else if scalar.is_null() {
            visitor.visit_unit()
        } else if let Some(value) = truth(text) {
            visitor.visit_bool(value)
        } else if let Some(value) = number.and_then(|n| u64::try_from(n).ok()) {
            visitor.visit_u64(value)
        } else if let Some(value) = number.and_then(|n| i64::try_from(n).ok()) {
            visitor.visit_i64(value)
        } else if let Some(value) = fraction(text) {
            visitor.visit_f64(value)
        } else {
            visitor.visit_str(text)
        })
    }

    whole_numbers! {
        deserialize_u8 u8 visit_u8
        deserialize_u16 u16 visit_u16
        deserialize_u32 u32 visit_u32
        deserialize_u64 u64 visit_u64
        deserialize_i8 i8 visit_i8
        deserialize_i16 i16 visit_i16
        deserialize_i32 i32 visit_i32
        deserialize_i64 i64 visit_i64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar().and_then(|scalar| truth(scalar.text.trim())) {
            Some(value) => self.placed(visitor.visit_bool(value)),
            None => self.refuse("`true` or `false`"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar().and_then(|scalar| fraction(scalar.text.trim())) {
            Some(value) => self.placed(visitor.visit_f64(value)),
            None => self.refuse("a number such as `0.5`"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(scalar) if !scalar.is_null() => self.placed(visitor.visit_str(&scalar.text)),
            Some(_) => self.refuse("text (`\"\"` if it shall be empty)"),
            None => self.refuse("text"),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar() {
            Some(scalar) => self.placed(visitor.visit_bytes(scalar.text.as_bytes())),
            None => self.refuse("text"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() {
            return self.placed(visitor.visit_none());
        }
        let outer = self.clone();
        outer.placed(visitor.visit_some(self))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_null() { self.placed(visitor.visit_unit()) } else { self.refuse("nothing") }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let outer = self.clone();
        outer.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) => self.placed(visitor.visit_seq(Items { cursor: &self, items, at: 0 })),
            _ if self.is_null() => self.placed(visitor.visit_seq(Items { cursor: &self, items: &[], at: 0 })),
            _ => self.refuse("a list such as `[a, b]`"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                self.placed(visitor.visit_map(Entries { cursor: &self, entries, value: None }))
            }
            _ if self.is_null() => {
                self.placed(visitor.visit_map(Entries { cursor: &self, entries: &[], value: None }))
            }
            _ => self.refuse("a map of `name: value` lines"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.is_null() => {
                self.placed(visitor.visit_enum(Variant { cursor: &self, name: &scalar.text, body: None }))
            }
            Value::Map(entries) if entries.len() == 1 => {
                let (key, body) = &entries[0];
                self.placed(visitor.visit_enum(Variant { cursor: &self, name: &key.text, body: Some(body) }))
            }
            _ => self.refuse(&format!("one of {}", variants.join(", "))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }
}

struct Items<'c, 'n> {
    cursor: &'c Cursor<'n>,
    items: &'n [Node],
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.at) else {
            return Ok(None);
        };
        let item = Cursor::new(node, format!("{}[{}]", self.cursor.path, self.at));
        self.at += 1;
        let outer = item.clone();
        outer.placed(seed.deserialize(item).map(Some))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.at)
    }
}

struct Entries<'c, 'n> {
    cursor: &'c Cursor<'n>,
    entries: &'n [(Key, Node)],
    value: Option<Cursor<'n>>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(((key, node), rest)) = self.entries.split_first() else {
            return Ok(None);
        };
        self.entries = rest;
        self.value = Some(self.cursor.child(node, &key.text));
        let key_at = KeyCursor { key };
        seed.deserialize(key_at).map(Some).map_err(|fault| fault.or_at(Some(key.at), &self.cursor.path))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(value) = self.value.take() else {
            return self.cursor.refuse("a key before its value");
        };
        let outer = value.clone();
        outer.placed(seed.deserialize(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key: text, or what the map's key type parses from text.
struct KeyCursor<'n> {
    key: &'n Key,
}

impl<'de> Deserializer<'de> for KeyCursor<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(&self.key.text)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.key.text.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(Fault::new(format!("expected a whole number as key, found `{}`", self.key.text))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(StrDeserializer::<Fault>::new(&self.key.text))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'c, 'n> {
    cursor: &'c Cursor<'n>,
    name: &'n str,
    body: Option<&'n Node>,
}

impl<'de, 'c, 'n> EnumAccess<'de> for Variant<'c, 'n> {
    type Error = Fault;
    type Variant = Body<'n>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Body<'n>), Fault> {
        let value = self.cursor.placed(seed.deserialize(StrDeserializer::<Fault>::new(self.name)))?;
        let body = match self.body {
            Some(node) => self.cursor.child(node, self.name),
            None => self.cursor.clone(),
        };
        Ok((value, Body { cursor: body, present: self.body.is_some() }))
    }
}

struct Body<'n> {
    cursor: Cursor<'n>,
    present: bool,
}

impl Body<'_> {
    fn lacking<T>(&self) -> Result<T, Fault> {
        self.cursor.refuse("a map of one key with the settings of the choice below it")
    }
}

impl<'de> VariantAccess<'de> for Body<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        if !self.present || self.cursor.is_null() { Ok(()) } else { self.cursor.refuse("nothing more") }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        if self.present { seed.deserialize(self.cursor) } else { self.lacking() }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Fault> {
        if self.present { self.cursor.deserialize_seq(visitor) } else { self.lacking() }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.present { self.cursor.deserialize_map(visitor) } else { self.lacking() }
    }
}
