//! OTLP metrics to Prometheus series, back, and to remote-write.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::prometheus_series(data));
