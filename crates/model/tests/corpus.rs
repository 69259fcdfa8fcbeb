//! Replays the fuzz corpora.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for file in files {
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn walk() {
    replay("walk", model::fuzzing::walk);
}

#[test]
fn splice() {
    replay("splice", model::fuzzing::splice);
}

#[test]
fn stored_series() {
    replay("stored_series", model::fuzzing::stored_series);
}
