//! Go's replacement templates: `$1`, `${1}`, `$name`, `${name}`, `$$`.
//!
//! In `$name` the name is as long as it can be, so that `$1x` is the group called `1x`, not group 1 and an `x`. A group that
//! does not exist, or that did not take part in the match, is empty. A `$` that starts none of these stands for itself.
//! Reference: Go's `regexp.Regexp.Expand`.

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    /// Parses `text` for a pattern whose groups are `names`, group 0 (the whole match) included.
    pub(super) fn parse(text: &str, names: &[Option<String>]) -> Self {
        let mut template = Self { pieces: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push(before);
            rest = if let Some(after) = after.strip_prefix('$') {
                template.push("$");
                after
            } else if let Some((name, after)) = group_name(after) {
                template.pieces.extend(group(name, names).map(Piece::Group));
                after
            } else {
                template.push("$");
                after
            };
        }
        template.push(rest);
        template
    }

    /// Whether it names no group.
    pub(super) fn is_literal(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Appends the template with `groups` put in.
    pub(super) fn expand<'t>(&self, groups: impl Fn(usize) -> Option<&'t str>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(group) => out.push_str(groups(*group).unwrap_or_default()),
            }
        }
    }

    fn push(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

/// The name that `after`, what follows a `$`, starts with, and what comes after it.
fn group_name(after: &str) -> Option<(&str, &str)> {
    let braced = after.strip_prefix('{');
    let start = braced.unwrap_or(after);
    let end = start.find(|c: char| !(c.is_alphabetic() || c.is_numeric() || c == '_')).unwrap_or(start.len());
    let (name, rest) = start.split_at(end);
    let rest = if braced.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// The number of the group `name`; `None` where there is none and nothing is put in.
fn group(name: &str, names: &[Option<String>]) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    match name.parse::<usize>() {
        Ok(number) if is_number => (number < names.len()).then_some(number),
        _ => names.iter().position(|n| n.as_deref() == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of `(?P<first>..)(..)`, matched as AB: 0 = AB, 1 = first = A, 2 = B.
    fn expanded(text: &str) -> String {
        let names = [None, Some("first".to_owned()), None];
        let mut out = String::new();
        Template::parse(text, &names).expand(|group| ["AB", "A", "B"].get(group).copied(), &mut out);
        out
    }

    #[test]
    fn expansion_is_gos() {
        for (template, result) in [
            ("", ""),
            ("plain", "plain"),
            ("$1-$2", "A-B"),
            ("$0", "AB"),
            ("${1}x", "Ax"),
            ("$1x", ""),
            ("$1_$2", "B"),
            ("${1}_${2}", "A_B"),
            ("$first", "A"),
            ("${first}2", "A2"),
            ("$first2", ""),
            ("$10", ""),
            ("$01", ""),
            ("$3", ""),
            ("$$1", "$1"),
            ("$$$1", "$A"),
            ("a$", "a$"),
            ("$-", "$-"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("${a b}", "${a b}"),
            ("$é", ""),
            ("$1é", ""),
            ("$1.$2", "A.B"),
        ] {
            assert_eq!(expanded(template), result, "{template}");
        }
    }
}
