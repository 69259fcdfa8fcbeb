//! Replays the fuzz corpus, and random edits of sound segments.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[test]
fn buffer_segment() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/buffer_segment");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for file in files {
        buffer::fuzzing::buffer_segment(&fs::read(&file).unwrap());
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_opened(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        buffer::fuzzing::buffer_segment(&bytes);
    }

    #[test]
    fn any_edit_can_be_opened(place: [u8; 5], edit in prop::collection::vec(prop_oneof![4 => Just(0), 1 => any::<u8>()], 0..200)) {
        buffer::fuzzing::buffer_segment(&[&place[..], &edit].concat());
    }
}
