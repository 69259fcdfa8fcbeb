//! Random relabel rules, and what Prometheus's documentation says that they do, sentence by sentence.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Labels as Prometheus's builder has them: those as they came, by name, and those written, in the order of writing.
#[derive(Clone, Debug, Default)]
pub(crate) struct NaiveLabels {
    pub(crate) base: BTreeMap<String, String>,
    pub(crate) written: Vec<(String, String)>,
}

impl NaiveLabels {
    fn all(&self) -> Vec<(String, String)> {
        let base = self.base.iter().map(|(name, value)| (name.clone(), value.clone()));
        base.chain(self.written.clone()).collect()
    }

    pub(crate) fn map(&self) -> BTreeMap<String, String> {
        self.all().into_iter().collect()
    }

    fn get(&self, name: &str) -> String {
        self.map().get(name).cloned().unwrap_or_default()
    }

    fn set(&mut self, name: String, value: String) {
        let written = self.written.iter().position(|(known, _)| *known == name);
        self.base.remove(&name);
        match written {
            _ if value.is_empty() => self.written.retain(|(known, _)| *known != name),
            Some(place) => self.written[place].1 = value,
            None => self.written.push((name, value)),
        }
    }
}

pub(crate) fn md5_tail(text: &str) -> u64 {
    use md5::Digest;
    let sum = md5::Md5::digest(text.as_bytes());
    u64::from_be_bytes(sum[8..].try_into().expect("eight bytes"))
}

/// Applies one rule; `false` when it drops.
pub(crate) fn naive(rule: &Json, labels: &mut NaiveLabels) -> bool {
    let text = |key: &str, default: &str| rule[key].as_str().unwrap_or(default).to_owned();
    let sources: Vec<String> = rule["source_labels"]
        .as_array()
        .map(|names| names.iter().map(|name| labels.get(name.as_str().expect("a name"))).collect())
        .unwrap_or_default();
    let joined = sources.join(&text("separator", ";"));
    let regex = regex::Regex::new(&format!("^(?s:{})$", text("regex", "(.*)"))).expect("a regex");
    let (target, replacement) = (text("target_label", ""), text("replacement", "$1"));
    let expand = |subject: &str, template: &str| {
        let mut out = String::new();
        regex.captures(subject).expect("a match").expand(template, &mut out);
        out
    };
    match text("action", "replace").as_str() {
        "replace" if regex.is_match(&joined) => {
            let name = expand(&joined, &target);
            if !name.is_empty() {
                labels.set(name, expand(&joined, &replacement));
            }
        }
        "replace" => {}
        "keep" => return regex.is_match(&joined),
        "drop" => return !regex.is_match(&joined),
        "keepequal" => return labels.get(&target) == joined,
        "dropequal" => return labels.get(&target) != joined,
        "hashmod" => {
            labels
                .set(target, (md5_tail(&joined) % rule["modulus"].as_u64().expect("a modulus")).to_string());
        }
        "lowercase" => labels.set(target, joined.to_lowercase()),
        "uppercase" => labels.set(target, joined.to_uppercase()),
        "labelmap" => {
            for (name, value) in labels.all() {
                if regex.is_match(&name) {
                    let to = expand(&name, &replacement);
                    if !to.is_empty() {
                        labels.set(to, value);
                    }
                }
            }
        }
        "labeldrop" | "labelkeep" => {
            for (name, _) in labels.all() {
                if regex.is_match(&name) == (text("action", "") == "labeldrop") {
                    labels.set(name, String::new());
                }
            }
        }
        other => panic!("{other}"),
    }
    true
}

pub(crate) fn a_name() -> impl Strategy<Value = String> {
    "[ab]{1,2}|c\\.d|__name__"
}

/// Patterns that mean the same to Go and to the regex library as it is.
pub(crate) const REGEXES: &[&str] = &["(.*)", "a(.*)", "(a|b)+", "(.)(.)", "", "x;?(y*)", "(?i)A.*", "b"];

/// Patterns in which Go differs, or might.
pub(crate) const GO_REGEXES: &[&str] = &[
    "(.*)",
    "a(.*)",
    "(a|b)+",
    "(.)(.)",
    "",
    "x;?(y*)",
    "(?i)A.*",
    "b",
    "(?P<n>a)?(.*)",
    "(a|ab)(c|bcd)?(.*)",
    "(a*?)(.*)",
    r"(\w+);?(.*)",
    r"\D(.?)",
    r"(\d*)[^\d]+",
    "[[:alpha:]](.*)",
    r"\Qa.\E?.*",
    "(?U)(a+)(.*)",
    "(x|y){1,2}.*",
    ".*b$",
    "^a|b.*",
    r"\p{Lu}(.*)",
    r"(\s*)\S+",
    r".*\b.*",
    "(é|É)+.*",
    "__name__|a.*",
    "[^;]+;(.*)",
];

pub(crate) fn a_rule(regexes: &'static [&'static str]) -> impl Strategy<Value = Json> {
    let template = proptest::sample::select(vec![
        "$1", "$2$1", "k", "${1}_x", "$0", "", "$$1", "$1x", "a$", "b", "${2}",
    ]);
    // To Prometheus a template of `labelmap` that expands to nothing writes a label without a name.
    let of_names = proptest::sample::select(vec!["$0", "k", "${1}_x", "$$1", "a$", "b", "__name__"]);
    let action = proptest::sample::select(vec![
        "replace",
        "replace",
        "replace",
        "keep",
        "drop",
        "keepequal",
        "dropequal",
        "hashmod",
        "labelmap",
        "labeldrop",
        "labelkeep",
        "lowercase",
        "uppercase",
    ]);
    let sources = proptest::collection::vec(a_name(), 0..3);
    let texts = (template.clone(), of_names, a_name(), template, proptest::option::of("[;,]?"));
    (action, sources, proptest::sample::select(regexes), texts).prop_map(
        |(action, sources, regex, (replacement, of_names, name, target, separator))| {
            let mut rule = json!({"action": action});
            if !matches!(action, "labeldrop" | "labelkeep") {
                rule["source_labels"] = json!(sources);
            }
            if !matches!(action, "keepequal" | "dropequal") {
                rule["regex"] = json!(regex);
            }
            match action {
                "replace" => {
                    rule["target_label"] = json!(if target.is_empty() { &name } else { target });
                    rule["replacement"] = json!(replacement);
                    if let Some(separator) = separator {
                        rule["separator"] = json!(separator);
                    }
                }
                "labelmap" => rule["replacement"] = json!(of_names),
                "hashmod" => {
                    rule["target_label"] = json!(name);
                    rule["modulus"] = json!(7);
                }
                "lowercase" | "uppercase" | "keepequal" | "dropequal" => rule["target_label"] = json!(name),
                _ => {}
            }
            rule
        },
    )
}

/// What Prometheus printed, less what no receiver takes: a series without labels, or one that lost its name.
pub(crate) fn sendable(
    before: &BTreeMap<String, String>,
    printed: Option<BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let lost_name =
        |after: &BTreeMap<String, String>| before.contains_key("__name__") && !after.contains_key("__name__");
    printed.filter(|after| !after.is_empty() && !lost_name(after))
}
