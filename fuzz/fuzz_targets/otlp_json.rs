//! OTLP in JSON to OTLP in protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::otlp_json(data));
