//! What a reload compares: a hash of a component's settings after expansion.
//!
//! Not in it: places, comments, quotes, the order of keys, and where a value came from. In it: the content of a file that a key
//! ending with `_file` names, so that a certificate renewed in place is a change. Of a file that cannot be read the name counts.
//!
//! It does not know defaults: one that is written out differs from one that is left out, and the component is replaced for nothing.
//!
//! The hash is SipHash with fixed keys, 64 bits. It is compared within one process and shown to nobody; whoever writes the file may as
//! well change the settings.

use std::hash::{DefaultHasher, Hash as _, Hasher};

use engine::Fingerprint;

use crate::expand::Environment;
use crate::node::{Node, Value};

/// Keys that end so name files.
const FILE: &str = "_file";

/// The fingerprint of a component's settings.
pub(crate) fn of(node: &Node, environment: &dyn Environment) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    add(node, false, environment, &mut hasher);
    Fingerprint(hasher.finish())
}

/// Every kind of node begins with its own number, and what has no fixed length says its length, so that no two trees give the same bytes.
fn add(node: &Node, is_file: bool, environment: &dyn Environment, hasher: &mut DefaultHasher) {
    match &node.value {
        Value::Scalar(scalar) if scalar.is_null() => 0_u8.hash(hasher),
        Value::Scalar(scalar) => {
            1_u8.hash(hasher);
            scalar.text.hash(hasher);
            if is_file {
                environment.content(&scalar.text).hash(hasher);
            }
        }
        Value::List(items) => {
            2_u8.hash(hasher);
            items.len().hash(hasher);
            items.iter().for_each(|item| add(item, is_file, environment, hasher));
        }
        Value::Map(entries) => {
            3_u8.hash(hasher);
            entries.len().hash(hasher);
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.text.cmp(&other.text));
            for (key, value) in sorted {
                key.text.hash(hasher);
                add(value, key.text.ends_with(FILE), environment, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::expand::{self, Values};
    use crate::node;

    /// `${LEVEL}` and a certificate that is renewed.
    struct Outside(Cell<&'static str>);

    impl Environment for Outside {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "LEVEL").then(|| "3".to_owned())
        }

        fn file(&self, path: &str) -> Result<String, String> {
            if path == "tls.pem" { Ok(self.0.get().to_owned()) } else { Err("no such file".to_owned()) }
        }
    }

    fn hash(text: &str, outside: &Outside) -> Fingerprint {
        let mut node = node::read(text).unwrap();
        expand::expand_tree(&mut node, text, outside, &mut Values::default(), &mut Vec::new());
        of(&node, outside)
    }

    fn same(one: &str, other: &str) -> bool {
        let outside = Outside(Cell::new(""));
        hash(one, &outside) == hash(other, &outside)
    }

    #[test]
    fn how_it_is_written_does_not_matter() {
        assert!(same(
            "a: 1\nb: {c: x, d: [1, 2]}\n",
            "# why\nb:\n  d:\n    - 1\n    - 2\n  c: 'x'\na: \"1\"\n"
        ));
        assert!(same("a: ${LEVEL}", "a: 3"));
        assert!(same("a: ", "a: ~"));
        assert!(same("a: &x {b: 1}\nc: *x", "a: {b: 1}\nc: {b: 1}"));
    }

    #[test]
    fn what_it_says_matters() {
        for (one, other) in [
            ("a: 1", "a: 2"),
            ("a: 1", "b: 1"),
            ("a: [1, 2]", "a: [2, 1]"),
            ("a: [12]", "a: [1, 2]"),
            ("a: {b: c}", "a: {b: {c: }}"),
            ("a: ", "a: ''"),
            ("a: [[1], 2]", "a: [[1, 2]]"),
            ("a: {b: 1}\nc: 2", "a: {b: 1, c: 2}"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_certificate_renewed_in_place_is_a_change() {
        let outside = Outside(Cell::new("old"));
        let settings = ["tls: {cert_file: tls.pem}", "tls: {cert: tls.pem}", "tls: {cert_file: gone.pem}"];
        let before = settings.map(|text| hash(text, &outside));
        outside.0.set("renewed");
        let after = settings.map(|text| hash(text, &outside));
        assert_ne!(before[0], after[0]);
        assert_eq!(before[1..], after[1..]);
    }
}
