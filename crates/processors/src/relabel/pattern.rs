//! Go's regular expressions, as this crate's regex library writes them.
//!
//! Both are RE2's family; what is pasted from a Prometheus configuration means here what it means there:
//!
//! | Go | here |
//! |---|---|
//! | `\d \w \s \D \W \S \b` are ASCII | spelled out, since the library's are Unicode |
//! | `\Q...\E` quotes | each character escaped |
//! | `\<` and other escaped punctuation stand for themselves | `\<` and `\>` are word boundaries: unescaped |
//! | `[` , `&&`, `--`, `~~` in a class are characters | class operations: escaped |
//! | `{` that starts no repetition is a character | an error: escaped |
//! | `\C` | an error in both |
//!
//! It deliberately does not find errors: what neither dialect knows is passed on, and the library says what is wrong.

use std::iter::Peekable;
use std::str::Chars;

/// Translates `pattern`.
pub(super) fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, false, &mut out),
            '[' => class(&mut chars, &mut out),
            '{' if !starts_repetition(chars.clone()) => out.push_str("\\{"),
            '{' => {
                // The repetition's own closing brace must not be taken for a character.
                out.push('{');
                for inner in chars.by_ref() {
                    out.push(inner);
                    if inner == '}' {
                        break;
                    }
                }
            }
            '}' => out.push_str("\\}"),
            _ => out.push(c),
        }
    }
    out
}

/// What follows a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, in_class: bool, out: &mut String) {
    let Some(c) = chars.next() else {
        out.push('\\');
        return;
    };
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str(r"[\t\n\x0C\r ]"),
        'S' => out.push_str(r"[^\t\n\x0C\r ]"),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        '<' | '>' => out.push(c),
        'Q' => quoted(chars, out),
        'p' | 'P' | 'x' => {
            out.extend(['\\', c]);
            if chars.next_if_eq(&'{').is_some() {
                out.push('{');
                out.extend(chars.by_ref().take_while(|c| *c != '}'));
                out.push('}');
            }
        }
        '0'..='7' => octal(c, chars, out),
        _ => out.extend(['\\', c]),
    }
}

/// `\123` is a character by its octal number; one digit alone, but for `\0`, is a back reference, which neither dialect has.
fn octal(first: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut digits = String::from(first);
    while digits.len() < 3 {
        match chars.next_if(|c| ('0'..='7').contains(c)) {
            Some(digit) => digits.push(digit),
            None => break,
        }
    }
    match u32::from_str_radix(&digits, 8) {
        Ok(number) if first == '0' || digits.len() > 1 => out.push_str(&format!("\\x{{{number:x}}}")),
        _ => {
            out.push('\\');
            out.push_str(&digits);
        }
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// What follows a `[`.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // First in its class, a `]` is a character.
    if chars.next_if_eq(&']').is_some() {
        out.push_str("\\]");
    }
    while let Some(c) = chars.next() {
        match c {
            ']' => {
                out.push(']');
                return;
            }
            '\\' => escape(chars, true, out),
            '[' if chars.peek() == Some(&':') => posix(chars, out),
            '[' => out.push_str("\\["),
            '&' | '~' => out.extend(['\\', c]),
            // `--` is a range that starts at `-` where it comes first, and one that ends there where it does not.
            '-' if chars.peek() == Some(&'-') && out.ends_with(['[', '^']) => out.push_str("\\-"),
            '-' if chars.next_if_eq(&'-').is_some() => out.push_str("-\\-"),
            _ => out.push(c),
        }
    }
}

/// `[:alpha:]`, or a `[` that is a character.
fn posix(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let ahead: String = chars.clone().skip(1).take_while(|c| c.is_ascii_lowercase() || *c == '^').collect();
    let mut after = chars.clone().skip(1 + ahead.chars().count());
    if (after.next(), after.next()) == (Some(':'), Some(']')) {
        out.push_str(&format!("[:{ahead}:]"));
        chars.nth(ahead.chars().count() + 2);
    } else {
        out.push_str("\\[");
    }
}

/// Whether what follows a `{` is `n}`, `n,}` or `n,m}`.
fn starts_repetition(chars: Peekable<Chars<'_>>) -> bool {
    let inner: String = chars.take_while(|c| *c != '}').take(12).collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(&inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn matches(pattern: &str, text: &str) -> bool {
        Regex::new(&format!("^(?s:{})$", translate(pattern))).unwrap().is_match(text)
    }

    #[test]
    fn means_what_go_means() {
        for (pattern, yes, no) in [
            (r"\d+", "123", "١٢٣"),
            (r"\w+", "a_1", "é"),
            (r"\W", "é", "a"),
            (r"[\w.]+", "a.b", "é"),
            (r"[^\d]+", "ab١", "a1"),
            (r"a\sb", "a b", "a\u{a0}b"),
            (r"\Qa.b\E.", "a.bx", "axbx"),
            (r"\Q[x", "[x", "x"),
            (r"\<a\>", "<a>", "a"),
            (r"[[a]+", "[a[", "b"),
            (r"[]a]+", "]a", "b"),
            (r"[^]a]+", "b", "]"),
            (r"[a&&b]+", "a&b", "c"),
            (r"[[:alpha:]_]+", "a_", "1"),
            (r"[[:^alpha:]]+", "1_", "a"),
            (r"{foo}", "{foo}", "foo"),
            (r"a{,2}", "a{,2}", "aa"),
            (r"a{2}", "aa", "a{2}"),
            (r"a{2,}", "aaa", "a"),
            (r"a{1,2}b", "aab", "aaab"),
            (r"\pL+", "é", "1"),
            (r"\p{Greek}", "α", "a"),
            (r"\x{e9}\x41", "éA", "e"),
            (r"\101", "A", "B"),
            (r"a.b", "a\nb", "ab"),
            (r"(?i)PEER", "peer", "pear"),
            (r"\bab\b", "ab", "b"),
            (r"[+--]", "-", "a"),
            (r"[\]\-]", "-", "a"),
            (r"a\.b\/c", "a.b/c", "axb/c"),
        ] {
            assert!(matches(pattern, yes), "{pattern} should match {yes:?}: {}", translate(pattern));
            assert!(!matches(pattern, no), "{pattern} should not match {no:?}: {}", translate(pattern));
        }
    }

    #[test]
    fn errors_stay_errors() {
        for pattern in ["(", "[a", r"\1", "+", "(?P<n>a)(?P<n>b)", r"\"] {
            assert!(Regex::new(&translate(pattern)).is_err(), "{pattern}");
        }
    }
}
