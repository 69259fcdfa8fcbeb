//! `${VAR}` and its kin, in scalar values.
//!
//! | written | means |
//! |---|---|
//! | `${VAR}`, `${env:VAR}` | the environment variable; an error if it is not set |
//! | `${VAR:-text}` | the variable, or `text` if it is not set or empty; `text` may hold further `${...}` |
//! | `${file:/path}` | the file's content without white space at its ends; for secrets |
//! | `$${` before a letter | the text `${` |
//! | `$1`, `$$`, `${1}`, `$name`, `${}` | themselves: relabel rules and regular expressions use them |
//!
//! Invariants: only scalars of the parsed tree are expanded, never keys, never comments, and what comes out is never parsed as
//! YAML nor expanded again. So a value from outside cannot add structure, whatever it holds.
//!
//! What was put in is remembered in [`Values`], so that error messages can be cleaned of it.

use std::fs::File;
use std::io::Read as _;

use crate::fault::Fault;
use crate::node::{Node, Place, Value};

/// A file named by `${file:...}` may not be larger: bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// No more of a file is compared at a reload: bytes.
const MAX_COMPARED_BYTES: u64 = 1 << 20;
/// `${A:-${B:-...}}` nests at most so deep.
const MAX_NESTING: usize = 8;
/// A value shorter than this is not looked for in messages, since it would also hide what is not it: characters.
const SHORTEST_HIDDEN: usize = 4;

/// Where values come from: the process, or a table in tests.
pub trait Environment {
    /// The value of an environment variable, if set and valid UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The content of a file of at most 64 KiB.
    ///
    /// # Errors
    /// A text that says why not, without the content.
    fn file(&self, path: &str) -> Result<String, String>;
    /// Bytes of a regular file that tell its content from another; `None` if it cannot be read.
    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.file(path).ok().map(String::into_bytes)
    }
}

/// The environment and the files of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let mut content = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut content).map_err(|e| e.to_string())?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("it is larger than {MAX_FILE_BYTES} bytes, too large for a setting"));
        }
        Ok(content)
    }

    /// The beginning is enough for certificates, keys and bundles of authorities. A pipe is left alone: it can be read once.
    fn content(&self, path: &str) -> Option<Vec<u8>> {
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let mut content = Vec::new();
        File::open(path).ok()?.take(MAX_COMPARED_BYTES).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

/// What came from outside, and the placeholder it replaced.
#[derive(Clone, Default)]
pub(crate) struct Values {
    /// Longest first.
    values: Vec<(String, String)>,
}

/// Says how many there are and nothing else.
impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Values({})", self.values.len())
    }
}

impl Values {
    fn add(&mut self, value: &str, placeholder: &str) {
        if !value.is_empty() && !self.values.iter().any(|(known, _)| known == value) {
            self.values.push((value.to_owned(), placeholder.to_owned()));
            self.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        }
    }

    /// `text` with every value that came from outside replaced by its placeholder. Use it for every text that a component made
    /// from its settings: the component cannot know which of them are secret.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for (value, placeholder) in &self.values {
            if value.chars().count() < SHORTEST_HIDDEN {
                continue;
            }
            clean = clean.replace(value.as_str(), placeholder);
            let escaped = value.escape_debug().to_string();
            if escaped != *value {
                clean = clean.replace(&escaped, placeholder);
            }
            if holds_part_of(&clean, value, placeholder) {
                return format!(
                    "what `{placeholder}` holds is not accepted here (the reason is not shown, because it quotes the value)"
                );
            }
        }
        clean
    }

    /// Only those that came from files: secrets, while variables mostly hold addresses that a reader wants to see.
    pub(crate) fn secrets(&self) -> Self {
        let secret = |placeholder: &str| placeholder.contains("${file:") || names_secret(placeholder);
        Self { values: self.values.iter().filter(|(_, placeholder)| secret(placeholder)).cloned().collect() }
    }
}

/// A name such as `KAFKA_PASSWORD` or `api_token`.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "credential",
        "authorization",
    ];
    words.iter().any(|word| name.contains(word))
}

/// Whether a quarter or more of a longer value is still in the text: an error that shows the rest of a secret.
fn holds_part_of(text: &str, value: &str, placeholder: &str) -> bool {
    let is_secret = placeholder.contains("${file:") || names_secret(placeholder);
    let chars: Vec<char> = value.chars().collect();
    let window = (chars.len() / 4).max(5);
    is_secret && chars.windows(window).any(|part| text.contains(&part.iter().collect::<String>()))
}

/// Expands every scalar below `node`. All faults are collected, not only the first.
pub(crate) fn expand_tree(
    node: &mut Node,
    source: &str,
    environment: &dyn Environment,
    values: &mut Values,
    faults: &mut Vec<Fault>,
) {
    match &mut node.value {
        Value::List(items) => {
            items.iter_mut().for_each(|item| expand_tree(item, source, environment, values, faults));
        }
        Value::Map(entries) => {
            entries.iter_mut().for_each(|(_, value)| expand_tree(value, source, environment, values, faults));
        }
        Value::Scalar(scalar) => {
            let mut run = Run { environment, values, met_value: false };
            match run.expand(&scalar.text, 0) {
                Ok(text) if run.met_value => scalar.written = Some(std::mem::replace(&mut scalar.text, text)),
                Ok(text) => scalar.text = text,
                Err(error) => {
                    let at = find(source, node.at, &error.placeholder);
                    faults.push(Fault::at(at, "", error.message));
                }
            }
        }
    }
}

/// The place of `placeholder` at or after a scalar's begin; the scalar's own place if it is not there as written.
fn find(source: &str, from: Place, placeholder: &str) -> Place {
    let lines = source.lines().zip(1..).skip(from.line.saturating_sub(1) as usize).take(1000);
    for (line, number) in lines {
        let skip = if number == from.line { from.column.saturating_sub(1) as usize } else { 0 };
        let start = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
        if let Some(at) = line.get(start..).and_then(|rest| rest.find(placeholder)) {
            let column = line.get(..start + at).unwrap_or("").chars().count() + 1;
            let length = placeholder.chars().count();
            return Place {
                line: number,
                column: u32::try_from(column).unwrap_or(u32::MAX),
                length: u32::try_from(length).unwrap_or(u32::MAX),
            };
        }
    }
    from
}

struct ExpandError {
    placeholder: String,
    message: String,
}

struct Run<'a> {
    environment: &'a dyn Environment,
    values: &'a mut Values,
    met_value: bool,
}

impl Run<'_> {
    fn expand(&mut self, text: &str, nesting: usize) -> Result<String, ExpandError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            if from.starts_with("$${") && from[3..].starts_with(is_name_start) {
                out.push_str("${");
                rest = &from[3..];
            } else if let Some(after) = from.strip_prefix("$$") {
                out.push_str("$$");
                rest = after;
            } else if from.starts_with("${") && from[2..].starts_with(is_name_start) {
                let placeholder = enclosed(from)?;
                out.push_str(&self.value_of(placeholder, nesting)?);
                rest = &from[placeholder.len()..];
            } else {
                out.push('$');
                rest = &from[1..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value_of(&mut self, placeholder: &str, nesting: usize) -> Result<String, ExpandError> {
        let fail = |message: String| Err(ExpandError { placeholder: placeholder.to_owned(), message });
        if nesting >= MAX_NESTING {
            return fail(format!("`${{...}}` nests more than {MAX_NESTING} deep here"));
        }
        let body = &placeholder[2..placeholder.len() - 1];
        if let Some(path) = body.strip_prefix("file:") {
            return match self.environment.file(path) {
                Ok(content) => Ok(self.take(content.trim(), placeholder)),
                Err(why) => fail(format!("cannot read the file `{path}` for `{placeholder}`: {why}")),
            };
        }
        let body = body.strip_prefix("env:").unwrap_or(body);
        let (name, default) = match body.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (body, None),
        };
        if !name.starts_with(is_name_start) || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return fail(format!(
                "`{placeholder}` is not a form that is known; write `${{NAME}}`, `${{NAME:-default}}` or `${{file:/path}}`, and `$${{` for the text `${{`"
            ));
        }
        match (self.environment.variable(name), default) {
            (Some(value), None) => Ok(self.take(&value, placeholder)),
            (Some(value), Some(_)) if !value.is_empty() => Ok(self.take(&value, placeholder)),
            (_, Some(default)) => self.expand(default, nesting + 1),
            (None, None) => fail(format!(
                "the environment variable `{name}` is not set; set it, or give a default: `${{{name}:-value}}`"
            )),
        }
    }

    fn take(&mut self, value: &str, placeholder: &str) -> String {
        self.met_value = true;
        self.values.add(value, placeholder);
        value.to_owned()
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

/// `text` begins with `${`; the part up to the `}` that closes it.
fn enclosed(text: &str) -> Result<&str, ExpandError> {
    let mut open = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 && *byte == b'}' {
            return Ok(&text[..=at]);
        }
    }
    let start: String = text.chars().take_while(|c| !c.is_whitespace()).take(40).collect();
    let message =
        format!("`{start}` opens with `${{` and is never closed by `}}`; for the text itself write `$${{`");
    Err(ExpandError { placeholder: start, message })
}
