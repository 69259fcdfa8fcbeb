//! Loki's pushes in JSON, of both shapes, to log records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::loki_json(data));
