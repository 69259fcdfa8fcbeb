//! "Did you mean": the nearest of a few names, by edits.
//!
//! Names longer than [`MAX_LENGTH`] get no suggestion, so the cost is bounded.

use std::fmt::Write as _;

/// In characters.
const MAX_LENGTH: usize = 64;

/// The name among `names` that `wrong` was probably meant to be: at most a third of its characters differ.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let best = names.into_iter().map(|name| (distance(wrong, name), name)).min()?;
    let longest = wrong.chars().count().max(best.1.chars().count());
    (best.0 <= longest.div_ceil(3)).then_some(best.1)
}

/// "unknown field `endpont`; did you mean `endpoint`? (fields here: ...)".
pub(crate) fn unknown(what: &str, wrong: &str, heading: &str, names: &[&str]) -> String {
    let mut text = format!("unknown {what} `{wrong}`");
    if let Some(name) = nearest(wrong, names.iter().copied()) {
        let _ = write!(text, "; did you mean `{name}`?");
    } else if !names.is_empty() {
        text.push(';');
    }
    if names.is_empty() {
        text.push_str("; nothing is allowed here");
    } else {
        let _ = write!(text, " ({heading}: {})", names.join(", "));
    }
    text.replace("; (", " (")
}

/// Edits (insert, delete, replace, swap of neighbours) between two names; the longer length if one is too long.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if a.len().max(b.len()) > MAX_LENGTH {
        return a.len().max(b.len());
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in
            [("", "", 0), ("otlp", "otpl", 1), ("endpont", "endpoint", 1), ("abc", "", 3), ("A", "a", 0)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn suggests_the_near_and_not_the_far() {
        assert_eq!(nearest("otpl", ["otlp", "logstash"]), Some("otlp"));
        assert_eq!(nearest("kafka", ["otlp", "logstash"]), None);
        assert_eq!(
            unknown("field", "endpont", "fields here", &["endpoint", "tls"]),
            "unknown field `endpont`; did you mean `endpoint`? (fields here: endpoint, tls)"
        );
        assert_eq!(unknown("value", "zzz", "allowed", &["on"]), "unknown value `zzz` (allowed: on)");
    }
}
