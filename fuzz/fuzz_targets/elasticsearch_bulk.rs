//! Log records in wire format to bulk bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::elasticsearch_bulk(data));
