//! Loki's pushes in protobuf, with and without snappy, to log records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::loki_push(data));
