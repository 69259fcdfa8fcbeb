//! The `ot` member of a W3C `tracestate`.
//!
//! ```text
//! tracestate = member *( "," member )          member = key "=" value, blanks around it allowed, 32 at most
//! ot value   = pair *( ";" pair ), 256 at most  pair   = key ":" value          th:c;rv:6e6d1a75832a2f
//! ```
//!
//! Specification: W3C Trace Context, 3.3; OpenTelemetry, "TraceState Handling".
//! Other vendors' members are passed on as they are written, valid or not.

use std::fmt::Write as _;

use super::threshold::{Randomness, Threshold};

/// The most members that a `tracestate` may have.
const MAX_MEMBERS: usize = 32;
/// The most characters that the value of one member may have.
const MAX_VALUE_CHARS: usize = 256;

/// What a trace state says about sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtValues {
    /// `th`, where it is there and valid.
    pub(crate) threshold: Option<Threshold>,
    /// `rv`, where it is there and valid.
    pub(crate) randomness: Option<Randomness>,
}

/// Reads the sampling values. Of several `ot` members (which W3C forbids) the first counts.
pub(crate) fn read(tracestate: &str) -> OtValues {
    let mut values = OtValues::default();
    for (key, value) in ot_value(tracestate).into_iter().flat_map(pairs) {
        match key {
            "th" if values.threshold.is_none() => values.threshold = Threshold::parse(value),
            "rv" if values.randomness.is_none() => values.randomness = Randomness::parse(value),
            _ => {}
        }
    }
    values
}

/// Writes `tracestate` into `out` with `th` set to `threshold`: the `ot` member comes first, as W3C wants a changed member to,
/// its other pairs follow `th`, an invalid `rv` goes. Members beyond the 32nd and pairs beyond 256 characters are left out.
pub(crate) fn write(tracestate: &str, threshold: Threshold, out: &mut String) {
    out.clear();
    // Writing to a String cannot fail.
    let _ = write!(out, "ot=th:{threshold}");
    for (key, value) in ot_value(tracestate).into_iter().flat_map(pairs) {
        let stays = match key {
            "th" => false,
            "rv" => Randomness::parse(value).is_some(),
            _ => true,
        };
        if stays && out.len() - "ot=".len() + key.len() + value.len() + 2 <= MAX_VALUE_CHARS {
            let _ = write!(out, ";{key}:{value}");
        }
    }
    for member in members(tracestate).filter(|m| !is_ot(m)).take(MAX_MEMBERS - 1) {
        out.push(',');
        out.push_str(member);
    }
}

fn members(tracestate: &str) -> impl Iterator<Item = &str> {
    tracestate.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
}

fn is_ot(member: &str) -> bool {
    member.strip_prefix("ot").is_some_and(|rest| rest.starts_with('='))
}

fn ot_value(tracestate: &str) -> Option<&str> {
    members(tracestate).find(|member| is_ot(member)).map(|member| &member["ot=".len()..])
}

fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|pair| pair.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tracestate: &str) -> String {
        let mut out = String::from("left over");
        write(tracestate, Threshold::keeping(0.5), &mut out);
        out
    }

    #[test]
    fn reads_what_is_valid() {
        let values = read("vendor=1, ot=rv:6e6d1a75832a2f;th:c ,other=x");
        assert_eq!(values.threshold, Some(Threshold::keeping(0.25)));
        assert_eq!(values.randomness, Randomness::parse("6e6d1a75832a2f"));
        for nothing in
            ["", "ot=", "ot", "ot=th", "ot=th:", "ot=th:xyz;rv:1", "tenant@ot=th:8", "otel=th:8", "x=ot=th:8"]
        {
            assert_eq!(read(nothing), OtValues::default(), "{nothing}");
        }
    }

    #[test]
    fn writes_th_and_keeps_the_rest() {
        for (before, after) in [
            ("", "ot=th:8"),
            ("vendor=1", "ot=th:8,vendor=1"),
            ("a=1, ot=p:8;r:62 ,b=2", "ot=th:8;p:8;r:62,a=1,b=2"),
            ("ot=th:0;rv:6e6d1a75832a2f", "ot=th:8;rv:6e6d1a75832a2f"),
            ("ot=rv:6e6d1a75832a2f;th:c", "ot=th:8;rv:6e6d1a75832a2f"),
            ("ot=th:xyz;rv:bad;k1:13", "ot=th:8;k1:13"),
            ("congo=t61,,rojo=00f", "ot=th:8,congo=t61,rojo=00f"),
        ] {
            assert_eq!(written(before), after, "{before}");
        }
    }

    #[test]
    fn limits_of_w3c() {
        let many: Vec<String> = (0..40).map(|i| format!("v{i}=1")).collect();
        let out = written(&many.join(","));
        assert_eq!(out.split(',').count(), 32);
        assert!(out.starts_with("ot=th:8,v0=1,") && out.ends_with(",v30=1"));
        let long = format!("ot=big:{};k:1", "x".repeat(260));
        assert_eq!(written(&long), "ot=th:8;k:1");
        let fits = format!("ot=a:{}", "x".repeat(256 - "th:8;a:".len()));
        assert_eq!(written(&fits).len(), "ot=".len() + 256);
    }
}
