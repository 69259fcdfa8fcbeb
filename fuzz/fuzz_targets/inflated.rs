//! Decompression under a limit, of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzzing::inflated(data));
