//! Edits spliced into a request, against decode, edit, encode.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzzing::splice(data));
