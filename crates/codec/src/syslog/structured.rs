//! STRUCTURED-DATA (RFC 5424, section 6.3).
//!
//! ```text
//! element = "[" SD-ID *( SP NAME "=" %d34 VALUE %d34 ) "]"      in a VALUE \" \\ \] stand for " \ ]
//! name    = 1*( printable ASCII except "=", SP, "]", %d34 )     an SD-ID stands no more than once
//! ```
//! A backslash before anything else stands for itself, as the RFC has it. More is let pass than it allows where it is clear what
//! is meant: names longer than 32 characters, and a bracket in a value that is not escaped.

use std::borrow::Cow;

use model::Writer;

use crate::logs::{any_value, attribute, string_attribute};

/// So many params are compared with each other.
const FEW: usize = 12;

/// The elements of one message.
#[derive(Debug, Default)]
pub(super) struct StructuredData<'a> {
    elements: Vec<Element<'a>>,
}

#[derive(Debug)]
struct Element<'a> {
    id: &'a str,
    params: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> StructuredData<'a> {
    /// Reads `-` or the elements at the beginning of `text`; returns them with what follows. `None`: a rule is broken.
    pub(super) fn read(text: &'a str) -> Option<(Self, &'a str)> {
        if let Some(rest) = text.strip_prefix('-') {
            return ends(rest).then_some((Self::default(), rest));
        }
        let mut data = Self::default();
        let mut rest = text;
        while let Some(inside) = rest.strip_prefix('[') {
            let (element, after) = Element::read(inside)?;
            data.elements.push(element);
            rest = after;
        }
        (!data.elements.is_empty() && ends(rest) && !data.repeats()).then_some((data, rest))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Whether an SD-ID stands twice. Sorted, so that many elements do not cost their square.
    fn repeats(&self) -> bool {
        if self.elements.len() < 2 {
            return false;
        }
        let mut ids: Vec<&str> = self.elements.iter().map(|element| element.id).collect();
        ids.sort_unstable();
        ids.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Writes the inside of an `AnyValue`: a map of maps.
    pub(super) fn write(&self, w: &mut Writer) {
        w.message(any_value::KVLIST, |w| {
            for element in &self.elements {
                attribute(w, any_value::VALUES, element.id, |w| element.write(w));
            }
        });
    }
}

fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

impl<'a> Element<'a> {
    /// `text` begins after the bracket.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let (id, mut rest) = name(text)?;
        let mut params = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix(']') {
                return Some((Self { id, params }, after));
            }
            let (name, after) = name(rest.strip_prefix(' ')?)?;
            let (value, after) = value(after.strip_prefix("=\"")?)?;
            params.push((name, value));
            rest = after;
        }
    }

    fn write(&self, w: &mut Writer) {
        let earlier = |n: usize| self.params[..n].iter().any(|(name, _)| *name == self.params[n].0);
        if self.params.len() <= FEW && !(0..self.params.len()).any(earlier) {
            return w.message(any_value::KVLIST, |w| {
                for (name, text) in &self.params {
                    string_attribute(w, any_value::VALUES, name, text);
                }
            });
        }
        w.message(any_value::KVLIST, |w| {
            for group in self.groups() {
                let (name, first) = &self.params[group[0]];
                attribute(w, any_value::VALUES, name, |w| {
                    if let [_] = group[..] {
                        return w.string(any_value::STRING, first);
                    }
                    w.message(any_value::ARRAY, |w| {
                        for param in group {
                            let text = &self.params[param].1;
                            w.message(any_value::VALUES, |w| w.string(any_value::STRING, text));
                        }
                    });
                });
            }
        });
    }

    /// The places of the params of each name, in the order in which they came. A map's keys must differ.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut places: Vec<usize> = (0..self.params.len()).collect();
        places.sort_by_key(|place| self.params[*place].0);
        let same = |a: &usize, b: &usize| self.params[*a].0 == self.params[*b].0;
        let mut groups: Vec<Vec<usize>> = places.chunk_by(same).map(<[usize]>::to_vec).collect();
        groups.sort_unstable_by_key(|group| group[0]);
        groups
    }
}

fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_graphic() || matches!(b, b'=' | b']' | b'"'))?;
    (end > 0).then(|| text.split_at(end))
}

/// A value and what follows its closing quote.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped = String::new();
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
        let (plain, found) = rest.split_at(at);
        match found.as_bytes() {
            [b'"', ..] if unescaped.is_empty() => return Some((Cow::Borrowed(plain), &found[1..])),
            [b'"', ..] => {
                unescaped.push_str(plain);
                return Some((Cow::Owned(unescaped), &found[1..]));
            }
            [b'\\', b'"' | b'\\' | b']', ..] => {
                unescaped.push_str(plain);
                unescaped.push_str(&found[1..2]);
                rest = &found[2..];
            }
            _ => {
                unescaped.push_str(plain);
                unescaped.push('\\');
                rest = &found[1..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As text that can be compared.
    fn read(text: &str) -> Option<(String, &str)> {
        let (data, rest) = StructuredData::read(text)?;
        let mut out = String::new();
        for element in &data.elements {
            out.push_str(element.id);
            for group in element.groups() {
                let values: Vec<&str> = group.iter().map(|p| element.params[*p].1.as_ref()).collect();
                out.push_str(&format!(" {}={values:?}", element.params[group[0]].0));
            }
            out.push(';');
        }
        Some((out, rest))
    }

    #[test]
    fn elements_and_their_params() {
        assert_eq!(read("- rest").unwrap(), (String::new(), " rest"));
        assert_eq!(read("[a@1]").unwrap(), ("a@1;".into(), ""));
        let two =
            r#"[exampleSDID@32473 iut="3" eventID="1011"][origin ip="192.0.2.1" x="" ip="192.0.2.129"] m"#;
        let read_two =
            r#"exampleSDID@32473 iut=["3"] eventID=["1011"];origin ip=["192.0.2.1", "192.0.2.129"] x=[""];"#;
        assert_eq!(read(two).unwrap(), (read_two.into(), " m"));
    }

    #[test]
    fn escapes() {
        assert_eq!(read(r#"[a b="\"\\\]\n\é\"]"#), None);
        assert_eq!(read(r#"[a b="\"\\\]x\né"]"#).unwrap().0, r#"a b=["\"\\]x\\né"];"#);
        assert_eq!(read(r#"[a b="not [escaped]"] m"#).unwrap(), (r#"a b=["not [escaped]"];"#.into(), " m"));
    }

    #[test]
    fn what_breaks_a_rule() {
        for bad in [
            "",
            "[",
            "[]",
            "[ a]",
            "[a",
            "[a b]",
            "[a b=]",
            "[a b=\"]",
            "[a b=\"c]",
            "[a b=\"c\"",
            "[a  b=\"c\"]",
            "[a b=\"c\" ]",
            "[a]x",
            "-x",
            "x",
            "[a][a]",
            "[a][b][a] m",
            "[a b=c]",
            "[é]",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_is_read(values in prop::collection::vec("[a\"\\\\\\] é=]{0,8}", 0..6)) {
            let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
            let params: String = values.iter().enumerate()
                .map(|(n, v)| format!(" p{}=\"{}\"", n % 3, escape(v))).collect();
            let text = format!("[id{params}]");
            let (data, rest) = StructuredData::read(&text).unwrap();
            prop_assert_eq!(rest, "");
            let read: Vec<&str> = data.elements[0].params.iter().map(|(_, v)| v.as_ref()).collect();
            prop_assert_eq!(read, values.iter().map(String::as_str).collect::<Vec<_>>());
            let groups = data.elements[0].groups();
            prop_assert_eq!(groups.len(), values.len().min(3));
            prop_assert!(groups.iter().flatten().count() == values.len());
        }
    }
}
