//! The loads that systems are compared under.

use super::sut::System;
use crate::error::{Error, Result};
use crate::grpc::Signal;
use crate::payload::Form;

/// One load.
#[derive(Debug)]
pub struct Scenario {
    /// For `--only` and the report.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What is sent.
    pub form: Form,
    /// Traces or logs, where it is OTLP.
    pub signal: Signal,
    /// Records a request.
    pub records_per_request: usize,
    /// Records a second; `None`: as many as the system takes.
    pub rate: Option<f64>,
    /// Length as a multiple of the usual one.
    pub length: f64,
    /// Runs when none is named.
    pub by_default: bool,
    /// Who is compared.
    pub systems: &'static [System],
}

const EVERYONE: &[System] = &[
    System::FloodwayForward,
    System::FloodwayRedact,
    System::FloodwayRedactSample,
    System::FloodwayDurable,
    System::CollectorForward,
    System::CollectorRedact,
];
const EVERYONE_AND_ALL_FORMS: &[System] = &[
    System::FloodwayForward,
    System::FloodwayRedact,
    System::FloodwayRedactSample,
    System::FloodwayDurable,
    System::CollectorForward,
    System::CollectorRedact,
    System::CollectorRedactAll,
];

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "traces",
        about: "CPU per million spans, 1,000 a request, at saturation",
        form: Form::Otlp,
        signal: Signal::Traces,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: EVERYONE_AND_ALL_FORMS,
    },
    Scenario {
        name: "logs",
        about: "CPU per million log records, 1,000 a request, at saturation",
        form: Form::Otlp,
        signal: Signal::Logs,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: EVERYONE_AND_ALL_FORMS,
    },
    Scenario {
        name: "memory",
        about: "peak RSS at a fixed 60,000 spans/s, 1,000 a request",
        form: Form::Otlp,
        signal: Signal::Traces,
        records_per_request: 1_000,
        rate: Some(60_000.0),
        length: 2.0,
        by_default: true,
        systems: EVERYONE,
    },
    Scenario {
        name: "small",
        about: "CPU per million spans, 10 a request, at saturation",
        form: Form::Otlp,
        signal: Signal::Traces,
        records_per_request: 10,
        rate: None,
        length: 1.0,
        by_default: false,
        systems: EVERYONE,
    },
    Scenario {
        name: "remote-write",
        about: "CPU per million samples, remote-write 2.0 in and out, 1,000 series a request, half of them seen before",
        form: Form::RemoteWrite,
        signal: Signal::Metrics,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: &[System::FloodwaySeriesForward, System::FloodwaySeriesRelabel],
    },
    Scenario {
        name: "syslog",
        about: "CPU per million messages, syslog over TCP in, Loki out",
        form: Form::Syslog,
        signal: Signal::Logs,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: &[System::FloodwaySyslogLoki],
    },
    Scenario {
        name: "logstash",
        about: "CPU per million events, JSON lines over TCP in, Elasticsearch out",
        form: Form::JsonLines,
        signal: Signal::Logs,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: &[System::FloodwayLogstashElastic],
    },
    Scenario {
        name: "kafka",
        about: "CPU per million log records, OTLP in, a real Kafka broker out",
        form: Form::Otlp,
        signal: Signal::Logs,
        records_per_request: 1_000,
        rate: None,
        length: 1.0,
        by_default: true,
        systems: &[System::FloodwayKafka],
    },
    Scenario {
        name: "harness",
        about: "what the load generator itself costs: client straight to sink",
        form: Form::Otlp,
        signal: Signal::Traces,
        records_per_request: 1_000,
        rate: None,
        length: 0.5,
        by_default: false,
        systems: &[System::Nothing],
    },
];

/// The scenarios of these names, or the default ones if there are none.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().filter(|scenario| scenario.by_default).collect());
    }
    let find = |name: &String| {
        SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
            let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            Error::Setting(format!("there is no scenario {name:?}; there are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_refused_with_the_choices() {
        assert_eq!(chosen(&["small".into()]).unwrap()[0].records_per_request, 10);
        assert_eq!(chosen(&[]).unwrap().len(), 7);
        let error = chosen(&["smal".into()]).unwrap_err().to_string();
        assert!(error.contains("\"smal\"") && error.contains("traces, logs"), "{error}");
    }
}
