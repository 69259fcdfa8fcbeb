//! Header values that a gRPC peer chooses: time limits, messages, status details.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzzing::grpc_headers(data));
