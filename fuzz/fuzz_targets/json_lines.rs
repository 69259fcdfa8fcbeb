//! Logstash JSON lines, in any pieces, to log records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::json_lines(data));
