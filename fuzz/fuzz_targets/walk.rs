//! The validation walk over any bytes taken as an OTLP request: an error or a sound view, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::fuzzing::walk(data));
