//! What the tests of the running program share: starting it, talking to it, and looking for peers in what it wrote.
//!
//! Nothing here uses the program's own crates: ids, encodings and protocols are written a second time, so that a mistake is not
//! made twice in the same way. Every process that is started is ended by its own id.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on ends, and says why"
)]

pub(crate) mod books;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod leaks;
pub(crate) mod numbered;
pub(crate) mod outage;
pub(crate) mod peers;
pub(crate) mod program;
pub(crate) mod requests;
pub(crate) mod rng;
pub(crate) mod senders;
pub(crate) mod sink;

use std::time::{Duration, Instant};

/// Asks again and again until `question` has an answer, for at most `limit`.
pub(crate) fn await_some<T>(what: &str, limit: Duration, question: impl FnMut() -> Option<T>) -> T {
    try_some(limit, question).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// As [`await_some`]; `None` if there was no answer in time.
pub(crate) fn try_some<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = question();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`await_some`], until `condition` holds.
pub(crate) fn await_that(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    await_some(what, limit, || condition().then_some(()));
}

/// Runs telemetrygen against an OTLP/gRPC port. `kind` is `traces`, `logs` or `metrics`; `count` of them are made, a trace of two
/// spans each. Both kinds of attributes hold texts.
pub(crate) fn telemetrygen(kind: &str, port: u16, count: usize, attributes: &[(&str, &str)], more: &[&str]) {
    let endpoint = format!("127.0.0.1:{port}");
    let counted = format!("--{kind}");
    let count = count.to_string();
    let mut args =
        vec![kind, "--otlp-insecure", "--otlp-endpoint", &endpoint, &counted, &count, "--rate", "0"];
    let pairs: Vec<String> = attributes.iter().map(|(key, text)| format!("{key}=\"{text}\"")).collect();
    for (n, pair) in pairs.iter().enumerate() {
        let flag = if n % 2 == 0 { "--telemetry-attributes" } else { "--otlp-attributes" };
        args.extend([flag, pair]);
    }
    args.extend(more);
    let printed = backends::run_tool("telemetrygen", &args, Duration::from_secs(60)).unwrap();
    assert!(!printed.contains("failed to upload"), "{printed}");
}
