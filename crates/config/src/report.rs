//! Faults as a person reads them: where, what, the likely fix, and the line with a mark below it.
//!
//! ```text
//! pipelines/x.yaml:12:5: unknown field `endpont` in receivers.otlp; did you mean `endpoint`? (fields here: ...)
//!    |
//! 12 |     endpont: 127.0.0.1:4317
//!    |     ^^^^^^^
//! ```
//!
//! Invariant: what came from the environment or from files is not in here. The snippet is the source, which holds only the
//! placeholders; a line whose key names a secret is shown without its value.

use std::fmt;
use std::fmt::Write as _;

use crate::expand::{self, Values};
use crate::fault::Fault;
use crate::node::Place;

/// No more are shown; after as many the first few are what matters.
const MAX_SHOWN: usize = 20;
/// A longer source line is cut: characters.
const MAX_LINE: usize = 160;

/// One thing that is wrong, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 if it is about the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 if it is about the whole file.
    pub column: u32,
    /// The setting it is about, such as `receivers.otlp`; may be empty.
    pub path: String,
    /// What is wrong and the likely fix.
    pub message: String,
    /// The line with a mark below it; may be empty.
    pub snippet: String,
}

/// Everything that is wrong with a file, in its order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file as named by the caller.
    pub file: String,
    /// In the order of the file.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().take(MAX_SHOWN).enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            write!(f, ": {}", problem.message)?;
            if !problem.snippet.is_empty() {
                write!(f, "\n{}", problem.snippet)?;
            }
        }
        if self.list.len() > MAX_SHOWN {
            write!(f, "\n... and {} more", self.list.len() - MAX_SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    pub(crate) fn new(file: &str, source: &str, values: &Values, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at);
        faults.dedup();
        let list = faults.into_iter().map(|fault| problem(fault, source, values)).collect();
        Self { file: printable(file), list }
    }
}

fn problem(fault: Fault, source: &str, values: &Values) -> Problem {
    let message = printable(&values.hide(&with_path(&fault.message, &fault.path)));
    let Some(place) = fault.at else {
        return Problem { line: 0, column: 0, path: fault.path, message, snippet: String::new() };
    };
    let snippet = snippet(source, place);
    Problem { line: place.line, column: place.column, path: fault.path, message, snippet }
}

/// Puts "in receivers.otlp" where the sentence takes a breath: before the first `;`, `(` or `,`, or at its end.
fn with_path(message: &str, path: &str) -> String {
    if path.is_empty() || (path.contains('.') && message.contains(path)) {
        return message.to_owned();
    }
    let mut quoted = false;
    let breath = message.char_indices().find(|(at, c)| {
        quoted ^= *c == '`';
        !quoted && (*c == ';' || *c == ',' || (*c == ' ' && message[*at..].starts_with(" (")))
    });
    let at = breath.map_or(message.len(), |(at, _)| at);
    let (head, tail) = message.split_at(at);
    format!("{head} in {path}{tail}")
}

fn snippet(source: &str, place: Place) -> String {
    let Some(line) = source.lines().nth(place.line.saturating_sub(1) as usize) else {
        return String::new();
    };
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let (line, masked) = without_secret(line);
    let shown: String = line.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let width = shown.chars().count();
    let before = (place.column.saturating_sub(1) as usize).min(width);
    let length = if masked { 1 } else { (place.length.max(1) as usize).min((width - before).max(1)) };
    let mut out = format!("{margin} |\n{number} | {shown}\n{margin} | ");
    let _ = write!(out, "{}{}", " ".repeat(before), "^".repeat(length));
    out
}

/// `password: hunter2` becomes `password: ***`: a secret that was written into the file is not printed again.
fn without_secret(line: &str) -> (String, bool) {
    if let Some((key, value)) = line.split_once(':')
        && expand::names_secret(key)
        && !value.trim().is_empty()
        && !value.trim_start().trim_start_matches(['"', '\'']).starts_with("${")
    {
        return (format!("{key}: ***"), true);
    }
    (line.to_owned(), false)
}

/// A terminal must not be told to do things by a message.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_stands_where_the_sentence_breathes() {
        let cases = [
            ("unknown field `a;b`; did you mean `c`?", "unknown field `a;b` in r.o; did you mean `c`?"),
            ("unknown value `x` (allowed: y)", "unknown value `x` in r.o (allowed: y)"),
            ("expected text, found a list", "expected text in r.o, found a list"),
            ("broken", "broken in r.o"),
        ];
        for (message, expected) in cases {
            assert_eq!(with_path(message, "r.o"), expected);
        }
    }

    #[test]
    fn literal_secrets_are_masked() {
        let place = Place { line: 1, column: 3, length: 8 };
        let text = snippet("  password: hunter2", place);
        assert!(!text.contains("hunter2"), "{text}");
        let text = snippet("  password: ${PW}", place);
        assert!(text.contains("${PW}"), "{text}");
    }

    #[test]
    fn marks_stay_in_the_line() {
        let text = snippet("ab", Place { line: 1, column: 90, length: 500 });
        assert_eq!(text, "  |\n1 | ab\n  |   ^");
    }
}
