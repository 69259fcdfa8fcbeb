//! The events of one connection, and what was wrong with them as counters.

use codec::json_lines::{Counters, JsonLines, JsonLinesLimits};
use codec::logs::LogsBuilder;
use engine::ComponentMetrics;
use metrics::Counter;

use crate::stream_session::Decode;

/// Counters of what was wrong, shared by all connections.
#[derive(Clone)]
pub(super) struct Problems {
    json: Counter,
    timestamp: Counter,
    cut: Counter,
    invalid_utf8: Counter,
}

impl Problems {
    pub(super) fn new(metrics: &ComponentMetrics) -> Self {
        let problem = |kind| metrics.counter("floodway_line_problems_total", &[("problem", kind)]);
        Self {
            json: problem("json"),
            timestamp: problem("timestamp"),
            cut: problem("cut"),
            invalid_utf8: problem("invalid_utf8"),
        }
    }
}

/// One connection's.
pub(super) struct Events {
    lines: JsonLines,
    problems: Problems,
    counted: Counters,
}

impl Events {
    pub(super) fn new(limits: JsonLinesLimits, problems: Problems) -> Self {
        Self { lines: JsonLines::new(limits), problems, counted: Counters::default() }
    }
}

impl Decode for Events {
    fn push(&mut self, chunk: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        self.lines.push(chunk, now_unix_nano, batch)
    }

    fn finish(&mut self, now_unix_nano: u64, batch: &mut LogsBuilder) {
        self.lines.finish(now_unix_nano, batch);
    }

    fn held_bytes(&self) -> usize {
        self.lines.held_bytes()
    }

    fn is_inside(&self) -> bool {
        self.lines.is_inside()
    }

    fn ended(&self) -> u64 {
        self.lines.ended()
    }

    fn count_problems(&mut self) {
        let (now, before) = (self.lines.counters(), self.counted);
        let problems = &self.problems;
        problems.json.increment(now.parse_failures - before.parse_failures);
        problems.timestamp.increment(now.timestamp_failures - before.timestamp_failures);
        problems.cut.increment(now.cut_lines - before.cut_lines);
        problems.invalid_utf8.increment(now.invalid_utf8 - before.invalid_utf8);
        self.counted = now;
    }
}
