//! gRPC message frames, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| net::fuzzing::grpc_frame(data));
