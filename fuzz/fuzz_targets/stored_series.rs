//! Any bytes read as series from the disk: an error or a sound batch, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzzing::stored_series(data));
