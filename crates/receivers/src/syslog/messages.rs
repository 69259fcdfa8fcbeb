//! The messages of one connection, and what was wrong with them as counters.

use codec::logs::LogsBuilder;
use codec::syslog::{Counters, SyslogStream};
use engine::ComponentMetrics;
use metrics::Counter;

use crate::stream_session::Decode;

/// Counters of what was wrong, shared by all connections and UDP.
#[derive(Clone)]
pub(super) struct Problems {
    pri: Counter,
    header: Counter,
    structured_data: Counter,
    timestamp: Counter,
    cut: Counter,
    invalid_utf8: Counter,
    framing: Counter,
}

impl Problems {
    pub(super) fn new(metrics: &ComponentMetrics) -> Self {
        let problem = |kind| metrics.counter("floodway_line_problems_total", &[("problem", kind)]);
        Self {
            pri: problem("pri"),
            header: problem("header"),
            structured_data: problem("structured_data"),
            timestamp: problem("timestamp"),
            cut: problem("cut"),
            invalid_utf8: problem("invalid_utf8"),
            framing: problem("framing"),
        }
    }

    /// Counts what came in since `before`.
    pub(super) fn count(&self, now: Counters, before: Counters) {
        self.pri.increment(now.no_pri - before.no_pri);
        self.header.increment(now.bad_headers - before.bad_headers);
        self.structured_data.increment(now.bad_structured_data - before.bad_structured_data);
        self.timestamp.increment(now.bad_timestamps - before.bad_timestamps);
        self.cut.increment(now.cut - before.cut);
        self.invalid_utf8.increment(now.invalid_utf8 - before.invalid_utf8);
        self.framing.increment(now.bad_framing - before.bad_framing);
    }
}

/// One connection's.
pub(super) struct Messages {
    stream: SyslogStream,
    problems: Problems,
    counted: Counters,
}

impl Messages {
    /// `stream` is one on which nothing came in yet.
    pub(super) fn new(stream: SyslogStream, problems: Problems) -> Self {
        Self { stream, problems, counted: Counters::default() }
    }
}

impl Decode for Messages {
    fn push(&mut self, chunk: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        self.stream.push(chunk, now_unix_nano, batch)
    }

    fn finish(&mut self, now_unix_nano: u64, batch: &mut LogsBuilder) {
        self.stream.finish(now_unix_nano, batch);
    }

    fn held_bytes(&self) -> usize {
        self.stream.held_bytes()
    }

    fn is_inside(&self) -> bool {
        self.stream.is_inside()
    }

    fn ended(&self) -> u64 {
        self.stream.ended()
    }

    fn count_problems(&mut self) {
        let now = self.stream.counters();
        self.problems.count(now, self.counted);
        self.counted = now;
    }
}
