//! One syslog message of any form to a log record.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzzing::syslog_message(data));
