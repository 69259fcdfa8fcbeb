//! The search for peers in what came out: whole ids, pieces of ten characters of what is their own, and keys in binary.
//!
//! It looks into raw bytes and, since JSON can hide text in escapes and in base64, into every string of decoded JSON.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;

use super::peers::Peer;

/// So many characters of an id tell its peer.
const WINDOW: usize = 10;
/// So many bytes of a key do.
const KEY_WINDOW: usize = 8;

/// What must not come out.
#[derive(Default)]
pub(crate) struct Leaks {
    /// Where each piece of text comes from.
    text: HashMap<[u8; WINDOW], String>,
    keys: HashMap<[u8; KEY_WINDOW], String>,
}

impl Leaks {
    pub(crate) fn of<'p>(peers: impl IntoIterator<Item = &'p Peer>) -> Self {
        let mut leaks = Self::default();
        for peer in peers {
            leaks.add(peer);
        }
        leaks
    }

    pub(crate) fn add(&mut self, peer: &Peer) {
        for spelling in peer.spellings() {
            let own = &spelling.text.trim_end_matches('=')[spelling.fixed..];
            self.add_text(own, &format!("{} {}", spelling.name, spelling.text));
        }
        for window in peer.secret.windows(KEY_WINDOW) {
            self.keys.insert(window.try_into().unwrap(), peer.base58());
        }
    }

    /// Another text that must not come out, such as an address.
    pub(crate) fn add_text(&mut self, own: &str, name: &str) {
        for window in own.as_bytes().windows(WINDOW) {
            self.text.insert(window.try_into().unwrap(), name.to_owned());
        }
    }

    /// The first peer in these bytes, with what stands around it.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<String> {
        let in_text =
            bytes.windows(WINDOW).enumerate().find_map(|(at, window)| Some((at, self.text.get(window)?)));
        let in_keys = || {
            let mut windows = bytes.windows(KEY_WINDOW).enumerate();
            windows.find_map(|(at, window)| Some((at, self.keys.get(window)?)))
        };
        let (at, name) = in_text.or_else(in_keys)?;
        let around = &bytes[at.saturating_sub(60)..bytes.len().min(at + 60)];
        Some(format!("{name} in …{}…", around.escape_ascii()))
    }

    /// The first peer in a JSON value: keys, strings, and what strings hold in base64.
    pub(crate) fn find_in_json(&self, value: &serde_json::Value) -> Option<String> {
        match value {
            serde_json::Value::String(text) => self.find(text.as_bytes()).or_else(|| {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
                self.find(&bytes)
            }),
            serde_json::Value::Array(values) => values.iter().find_map(|value| self.find_in_json(value)),
            serde_json::Value::Object(map) => map
                .iter()
                .find_map(|(key, value)| self.find(key.as_bytes()).or_else(|| self.find_in_json(value))),
            _ => None,
        }
    }

    /// Fails if a peer stands in `bytes`, or in the JSON lines that they are.
    pub(crate) fn assert_none(&self, what: &str, bytes: &[u8]) {
        assert!(!self.text.is_empty(), "nothing to look for");
        let mut found = self.find(bytes);
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) {
                found = found.or_else(|| self.find_in_json(&value));
            }
        }
        if let Some(found) = found {
            panic!("{what} names a peer: {found}");
        }
    }

    /// Fails if a peer stands in a file of this folder.
    pub(crate) fn assert_none_in_folder(&self, folder: &Path) {
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                self.assert_none(&path.display().to_string(), &std::fs::read(&path).unwrap());
                files += 1;
            }
        }
        assert!(files > 0, "no files in {}", folder.display());
    }
}

/// The JSON values of a file of lines.
pub(crate) fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display())))
        .collect()
}

/// The export requests of a file in which each follows its length in 4 bytes, big endian.
pub(crate) fn framed(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut requests = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (request, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        requests.push(request);
        rest = after;
    }
    requests
}

/// How many objects stand in the arrays called `name`, at any depth: `spans`, `logRecords`, `dataPoints`.
pub(crate) fn count(value: &serde_json::Value, name: &str) -> usize {
    match value {
        serde_json::Value::Array(values) => values.iter().map(|value| count(value, name)).sum(),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value.as_array() {
                Some(values) if key == name => values.len(),
                _ => count(value, name),
            })
            .sum(),
        _ => 0,
    }
}
