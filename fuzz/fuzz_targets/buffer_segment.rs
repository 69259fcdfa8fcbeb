//! Any bytes on the disk, and sound segments damaged anyhow, opened as a disk buffer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| buffer::fuzzing::buffer_segment(data));
