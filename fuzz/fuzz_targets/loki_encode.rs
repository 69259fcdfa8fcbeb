//! Log records to Loki's pushes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::loki_encode(data));
