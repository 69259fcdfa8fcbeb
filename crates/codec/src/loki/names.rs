//! Names of structured metadata, made of the names of attributes.
//!
//! A name is letters, digits and single underscores, begins with no digit, and is not underscores alone. This is what Loki
//! 3 makes of any name by itself; names that it leaves alone are not renamed behind our back. (An empty name, or one of
//! underscores only, makes Loki answer 500 to the whole push: such a name must not reach it.)

/// What stands for a name that nothing is left of.
const NAMELESS: &[u8] = b"attribute";

/// Appends what `key` is called in Loki; whether that differs from `key`.
pub(super) fn sanitize(out: &mut Vec<u8>, key: &str) -> bool {
    let start = out.len();
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        out.extend_from_slice(b"key_");
    }
    for char in key.chars() {
        if char.is_ascii_alphanumeric() {
            out.push(char as u8);
        } else if out[start..].last() != Some(&b'_') {
            out.push(b'_');
        }
    }
    if out[start..].iter().all(|b| *b == b'_') {
        out.truncate(start);
        out.extend_from_slice(NAMELESS);
    }
    out[start..] != *key.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sanitized(key: &str) -> (String, bool) {
        let mut out = b"before".to_vec();
        let changed = sanitize(&mut out, key);
        (String::from_utf8(out.split_off(6)).unwrap(), changed)
    }

    #[test]
    fn names_as_loki_has_them() {
        for (key, name) in [
            ("peer_id", "peer_id"),
            ("http.method", "http_method"),
            ("a..b__c- d", "a_b_c_d"),
            ("9lives", "key_9lives"),
            ("_x", "_x"),
            ("__x__", "_x_"),
            ("größe", "gr_e"),
            ("", "attribute"),
            ("__", "attribute"),
            ("é", "attribute"),
        ] {
            assert_eq!(sanitized(key), (name.to_owned(), name != key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_name_stays_as_it_is(key in "(\\PC|[_.0-9]){0,12}") {
            let (name, _) = sanitized(&key);
            prop_assert_eq!(sanitized(&name), (name.clone(), false));
            prop_assert!(name.bytes().any(|b| b.is_ascii_alphanumeric()));
        }
    }
}
