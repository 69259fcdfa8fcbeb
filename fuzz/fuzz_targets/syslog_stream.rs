//! Syslog over TCP, framed in any way, in any pieces, to log records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::syslog_stream(data));
