//! Patterns of index names, and the values of fields in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::elasticsearch_index(data));
