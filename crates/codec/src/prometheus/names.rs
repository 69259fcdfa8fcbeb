//! Names of metrics, labels and units: OpenTelemetry's as Prometheus's.
//!
//! Specification: <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>, "Metric Metadata" and
//! "Metric Attributes". Where it leaves a choice, names are those that Prometheus's own OTLP receiver makes, so that a
//! metric has one name whichever way it came: `_ratio` for gauges only, `key_` before a label that begins with a digit.

use std::borrow::Cow;

/// What becomes of names that OpenTelemetry allows and older Prometheus does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translation {
    /// Other characters than letters, digits and `_` become `_`; unit and `_total` are added.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names are kept as they are; unit and `_total` are added.
    NoUtf8EscapingWithSuffixes,
    /// Names are kept as they are.
    NoTranslation,
}

/// What suffixes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// `_total`
    Counter,
    /// `_ratio` where the unit is 1
    Gauge,
    /// Neither.
    Other,
}

/// Writes the name of a metric in place of what `out` held. It is empty where nothing of the name is left.
pub fn metric_name(translation: Translation, name: &str, unit: &str, kind: NameKind, out: &mut String) {
    out.clear();
    let (main, per) = unit_words(unit);
    match translation {
        Translation::NoTranslation => out.push_str(name),
        Translation::NoUtf8EscapingWithSuffixes => unescaped(name, unit, &main, &per, kind, out),
        Translation::UnderscoreEscapingWithSuffixes => {
            escaped(name, unit, &clean_unit(&main), &clean_unit(&per), kind, out);
        }
    }
}

/// The name is split into words; a suffix that is a word of it already is not added again, `total` and `ratio` move to the end.
fn escaped(name: &str, unit: &str, main: &str, per: &str, kind: NameKind, out: &mut String) {
    let words = || name.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).filter(|w| !w.is_empty());
    let last = last_word(unit, kind);
    let per = per.trim_end_matches('_');
    let suffixes = [
        if words().any(|w| w == main) { "" } else { main.trim_end_matches('_') },
        if per == "per" || words().any(|w| w == per) { "" } else { per },
        last,
    ];
    for word in words().filter(|w| last.is_empty() || *w != last).chain(suffixes) {
        if word.is_empty() {
            continue;
        }
        if out.is_empty() && word.as_bytes()[0].is_ascii_digit() || !out.is_empty() {
            out.push('_');
        }
        out.push_str(word);
    }
    // A name of nothing but a suffix is none.
    if words().next().is_none() {
        out.clear();
    }
}

fn last_word(unit: &str, kind: NameKind) -> &'static str {
    match kind {
        NameKind::Counter => "total",
        NameKind::Gauge if unit == "1" => "ratio",
        _ => "",
    }
}

fn unescaped(name: &str, unit: &str, main: &str, per: &str, kind: NameKind, out: &mut String) {
    let last = last_word(unit, kind);
    let mut base = without_suffix(name, last);
    if !per.is_empty() {
        base = without_suffix(base, per);
    }
    out.push_str(base);
    if !main.is_empty() && !base.ends_with(main) {
        out.push('_');
        out.push_str(main);
    }
    for suffix in [per, last] {
        if !suffix.is_empty() && !name.is_empty() {
            out.push('_');
            out.push_str(suffix);
        }
    }
}

/// Without the suffix and the character before it.
fn without_suffix<'n>(name: &'n str, suffix: &str) -> &'n str {
    let Some(base) = name.strip_suffix(suffix).filter(|_| !suffix.is_empty()) else { return name };
    let mut before = base.chars();
    match before.next_back() {
        Some(_) if !before.as_str().is_empty() => before.as_str(),
        _ => name,
    }
}

/// The unit for the metadata: `By/s` is `bytes_per_second`. Units of counted things (`{packet}`) are none.
pub fn unit(unit: &str, out: &mut String) {
    let (main, per) = unit_words(unit);
    out.clear();
    out.push_str(clean_unit(&main).trim_matches('_'));
    let per = clean_unit(&per);
    let per = per.trim_matches('_');
    if !per.is_empty() && per != "per" {
        if !out.is_empty() {
            out.push('_');
        }
        out.push_str(per);
    }
}

/// OpenTelemetry's unit for Prometheus's: `bytes_per_second` is `By/s`. What is not known stays.
pub fn otlp_unit(unit: &str) -> Cow<'_, str> {
    if unit == "ratio" {
        return Cow::Borrowed("1");
    }
    let main = |word: &str| UNITS.iter().find(|(_, long)| *long == word).map(|(short, _)| *short);
    let per = |word: &str| PER_UNITS.iter().find(|(_, long)| *long == word).map(|(short, _)| *short);
    match unit.split_once("_per_") {
        Some((over, under)) => {
            Cow::Owned(format!("{}/{}", main(over).unwrap_or(over), per(under).unwrap_or(under)))
        }
        None => Cow::Borrowed(main(unit).unwrap_or(unit)),
    }
}

const UNITS: [(&str, &str); 24] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];

const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn unit_words(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (over, under) = unit.split_once('/').unwrap_or((unit, ""));
    let counted = |part: &str| part.contains(['{', '}']);
    let (over, under) = (over.trim(), under.trim());
    let main = match over {
        "1" => "",
        "%" => "percent",
        _ if counted(over) => "",
        _ => UNITS.iter().find(|(short, _)| *short == over).map_or(over, |(_, long)| long),
    };
    let per = if under.is_empty() || counted(under) {
        Cow::Borrowed("")
    } else {
        let word = PER_UNITS.iter().find(|(short, _)| *short == under).map_or(under, |(_, long)| long);
        Cow::Owned(format!("per_{word}"))
    };
    (Cow::Borrowed(main), per)
}

fn clean_unit(unit: &str) -> Cow<'_, str> {
    if unit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':')
        || unit.starts_with("per_") && unit[4..].bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return Cow::Borrowed(unit);
    }
    let mut clean = String::with_capacity(unit.len());
    collapse(unit, |c| c.is_ascii_alphanumeric() || c == ':', &mut clean);
    Cow::Owned(clean.trim_start_matches('_').to_owned())
}

fn collapse(text: &str, valid: impl Fn(char) -> bool, out: &mut String) {
    let mut after_underscore = false;
    for c in text.chars() {
        if valid(c) {
            out.push(c);
        } else if !after_underscore {
            out.push('_');
        }
        after_underscore = !valid(c);
    }
}

/// The name of a label: the key itself where it is fit, else written to `buffer`.
pub fn label_name<'t>(translation: Translation, key: &'t str, buffer: &'t mut String) -> &'t str {
    if translation != Translation::UnderscoreEscapingWithSuffixes || is_plain(key) {
        return key;
    }
    buffer.clear();
    let reserved = key.len() >= 4 && key.starts_with("__") && key.ends_with("__");
    if reserved {
        buffer.push_str("__");
        collapse(&key[2..key.len() - 2], |c| c.is_ascii_alphanumeric(), buffer);
        buffer.push_str("__");
    } else {
        if key.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            buffer.push_str("key_");
        }
        collapse(key, |c| c.is_ascii_alphanumeric(), buffer);
    }
    buffer
}

/// Letters, digits and single underscores, no digit first.
fn is_plain(key: &str) -> bool {
    let bytes = key.as_bytes();
    !bytes.is_empty()
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && !key.contains("__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameKind::{Counter, Gauge, Other};
    use proptest::prelude::*;

    fn name(translation: Translation, name: &str, unit: &str, kind: NameKind) -> String {
        let mut out = String::from("left over");
        metric_name(translation, name, unit, kind, &mut out);
        out
    }

    #[test]
    fn escaped_names_have_their_unit_and_type() {
        for (otlp, unit, kind, expected) in [
            ("http.server.duration", "s", Other, "http_server_duration_seconds"),
            ("http.server.duration.seconds", "s", Other, "http_server_duration_seconds"),
            ("system.io", "By", Counter, "system_io_bytes_total"),
            ("system.total.io", "By", Counter, "system_io_bytes_total"),
            ("requests_total", "", Counter, "requests_total"),
            ("requests", "1", Counter, "requests_total"),
            ("cpu.utilization", "1", Gauge, "cpu_utilization_ratio"),
            ("ratio.of.hits", "1", Gauge, "of_hits_ratio"),
            ("queue", "{packet}", Gauge, "queue"),
            ("speed", "m/s", Gauge, "speed_meters_per_second"),
            ("rate", "{packet}/s", Gauge, "rate_per_second"),
            ("rate", "/", Gauge, "rate"),
            ("odd", "foo bar/baz%", Gauge, "odd_foo_bar_per_baz"),
            ("load", "%", Gauge, "load_percent"),
            ("a..b__c--d", "", Gauge, "a_b_c_d"),
            ("2xx.count", "", Counter, "_2xx_count_total"),
            ("näme", "", Gauge, "n_me"),
            ("...", "s", Counter, ""),
            ("", "", Gauge, ""),
            ("job:rate:5m", "", Gauge, "job:rate:5m"),
        ] {
            assert_eq!(
                name(Translation::UnderscoreEscapingWithSuffixes, otlp, unit, kind),
                expected,
                "{otlp} {unit}"
            );
        }
    }

    #[test]
    fn names_may_be_kept() {
        let kept = Translation::NoUtf8EscapingWithSuffixes;
        for (otlp, unit, kind, expected) in [
            ("http.server.duration", "s", Other, "http.server.duration_seconds"),
            ("io.total", "By", Counter, "io_bytes_total"),
            ("hits.ratio", "1", Gauge, "hits_ratio"),
            ("speed", "m/s", Gauge, "speed_meters_per_second"),
            ("total", "", Counter, "total_total"),
            ("", "s", Gauge, "_seconds"),
        ] {
            assert_eq!(name(kept, otlp, unit, kind), expected, "{otlp} {unit}");
        }
        assert_eq!(name(Translation::NoTranslation, "io.total", "By", Counter), "io.total");
    }

    #[test]
    fn units_go_both_ways() {
        let mut out = String::new();
        for (otlp, prometheus) in
            [("By", "bytes"), ("By/s", "bytes_per_second"), ("s", "seconds"), ("Cel", "celsius")]
        {
            unit(otlp, &mut out);
            assert_eq!(out, prometheus);
            assert_eq!(otlp_unit(prometheus), otlp);
        }
        for (otlp, prometheus) in [("{packet}", ""), ("1", ""), ("{a}/s", "per_second"), ("x y", "x_y")] {
            unit(otlp, &mut out);
            assert_eq!(out, prometheus, "{otlp}");
        }
        assert_eq!(otlp_unit("ratio"), "1");
        assert_eq!(otlp_unit("bananas"), "bananas");
    }

    #[test]
    fn labels_are_escaped_where_they_must() {
        let mut buffer = String::new();
        let mut label =
            |key: &str| label_name(Translation::UnderscoreEscapingWithSuffixes, key, &mut buffer).to_owned();
        for (key, expected) in [
            ("http.method", "http_method"),
            ("http_method", "http_method"),
            ("a..b", "a_b"),
            ("a__b", "a_b"),
            ("9lives", "key_9lives"),
            ("__name__", "__name__"),
            ("__a.b__", "__a_b__"),
            ("ö", "_"),
            ("", ""),
        ] {
            assert_eq!(label(key), expected);
        }
        assert_eq!(label_name(Translation::NoTranslation, "http.method", &mut buffer), "http.method");
    }

    proptest! {
        #[test]
        fn escaped_names_are_names(otlp in "\\PC{0,20}", unit_ in "\\PC{0,8}", gauge: bool) {
            let kind = if gauge { Gauge } else { Counter };
            let out = name(Translation::UnderscoreEscapingWithSuffixes, &otlp, &unit_, kind);
            prop_assert!(out.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            prop_assert!(!out.as_bytes().first().is_some_and(u8::is_ascii_digit));
            prop_assert!(!out.contains("__"), "{}", out);
            let mut buffer = String::new();
            let label = label_name(Translation::UnderscoreEscapingWithSuffixes, &otlp, &mut buffer);
            prop_assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            prop_assert!(!label.as_bytes().first().is_some_and(u8::is_ascii_digit));
            let mut unit_out = String::new();
            unit(&unit_, &mut unit_out);
            prop_assert!(unit_out.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        }
    }
}
