//! The answer of a server to a bulk request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::elasticsearch_response(data));
