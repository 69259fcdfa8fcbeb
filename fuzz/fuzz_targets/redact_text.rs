//! Detection and replacement of peer ids in any text: nothing found may remain, nothing else may change.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redact::fuzzing::redact_any(data));
