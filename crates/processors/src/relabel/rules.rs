//! Prometheus's `relabel_configs`: the rules and how they are applied, over anything that has labels.
//!
//! Reference: Prometheus documentation, "relabel_config". Names follow its UTF-8 scheme (any text but the empty one), since
//! attribute names have dots. Rules are checked and compiled once; what an action needs and what it forbids is Prometheus's.
//!
//! Differences, all of them: patterns are translated from Go's dialect (see `pattern.rs`); `lowercase` and `uppercase`
//! know some letters that are younger than Prometheus's tables; where `labelmap` maps two names to one, the last name
//! in alphabetical order wins (for series, Prometheus's own order decides); a name that a rule expands to nothing is not
//! written; names and values have limits.
//!
//! Invariant: nothing is allocated for a rule that does not match, once the scratch space has grown.

use md5::{Digest, Md5};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::pattern;
use super::template::Template;

/// More rules in one list are refused.
pub const MAX_RULES: usize = 1_000;
/// A rule that would write a longer name is skipped and counted, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;
/// A rule that would write a longer value is skipped and counted, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1_024;

/// Something that has labels: names with texts, where the empty text is as good as none.
pub trait Labels {
    /// Appends the value of `name` to `out`; nothing where there is none.
    fn append(&self, name: &str, out: &mut String);

    /// Shows every name that `labelmap`, `labeldrop` and `labelkeep` work on.
    fn for_each_name(&self, visit: &mut dyn FnMut(&str));

    /// Whether `for_each_name` shows names in the order in which `labelmap` shall write; else it sorts them.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Gives `name` the value, which is not empty; `false` where there is no room for it.
    fn set(&mut self, name: &str, value: &str) -> bool;

    /// Takes the label away, where there is one.
    fn remove(&mut self, name: &str);
}

/// One rule as Prometheus spells it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The labels whose values are joined by `separator`; one that is missing counts as empty.
    #[serde(default)]
    source_labels: Option<Vec<String>>,
    /// Stands between the joined values. Default: `;`.
    #[serde(default)]
    separator: Option<String>,
    /// RE2 expression that must match the joined value (or the label's name) from start to end. Default: `(.*)`.
    #[serde(default)]
    regex: Option<String>,
    /// `hashmod` takes the hash modulo this.
    #[serde(default)]
    modulus: Option<u64>,
    /// The label that is written. `replace` expands `$1` and `${name}` in it.
    #[serde(default)]
    target_label: Option<String>,
    /// What is written; `$1` and `${name}` are the groups of `regex`, `$$` is a dollar sign. Default: `$1`.
    #[serde(default)]
    replacement: Option<String>,
    /// What to do. Default: `replace`.
    #[serde(default)]
    action: Action,
}

/// The actions of Prometheus, in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = text.to_ascii_lowercase();
        Self::ALL.iter().find(|(name, _)| *name == lower).map(|(_, action)| *action).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            D::Error::custom(format!("`{text}` is no relabel action; there are {}", names.join(", ")))
        })
    }
}

impl JsonSchema for Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RelabelAction".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(|(name, _)| name) })
    }
}

/// Why a list of rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("rule {number} ({action}): {problem}")]
pub struct RuleError {
    /// The rule's place in its list, from 1.
    pub number: usize,
    /// Its action.
    pub action: &'static str,
    /// What is wrong with it.
    #[source]
    pub problem: RuleProblem,
}

/// What is wrong with a rule.
#[derive(Debug, thiserror::Error)]
pub enum RuleProblem {
    /// The pattern does not compile.
    #[error("regex `{pattern}` is not valid RE2 syntax")]
    Regex {
        /// As it is in the configuration.
        pattern: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// A setting that the action cannot do without.
    #[error("needs `{0}`")]
    Needs(&'static str),
    /// A setting that the action does not look at.
    #[error("does not use `{0}`; remove it")]
    Forbids(&'static str),
    /// A name that is empty.
    #[error("`{0}` is empty, and a label needs a name")]
    EmptyName(&'static str),
    /// Too many.
    #[error("a list may have {MAX_RULES} rules")]
    TooMany,
}

/// A checked list of rules, applied in order.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Memory that is used again from one label set to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    value: String,
    other: String,
    target: String,
    names: Vec<String>,
    /// Writes that were skipped because name, value or label set would have grown over its limit.
    pub refused: u64,
}

#[derive(Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    step: Step,
}

/// A rule with just what its action needs.
#[derive(Debug)]
enum Step {
    Replace { regex: Matcher, target: Template, replacement: Template },
    Keep(Matcher),
    Drop(Matcher),
    KeepEqual(String),
    DropEqual(String),
    HashMod { target: String, modulus: u64 },
    LabelMap { regex: Matcher, replacement: Template },
    LabelDrop(Matcher),
    LabelKeep(Matcher),
    Lowercase(String),
    Uppercase(String),
}

/// A pattern that must match from start to end.
#[derive(Debug)]
enum Matcher {
    /// `(.*)`, the default: matches everything, and group 1 is all of it.
    Everything,
    Regex(Regex),
}

impl Rules {
    /// Checks and compiles `configs`.
    pub fn compile(configs: &[RuleConfig]) -> Result<Self, RuleError> {
        let compile = |(index, config): (usize, &RuleConfig)| {
            let problem = |problem| RuleError { number: index + 1, action: config.action.name(), problem };
            if index >= MAX_RULES {
                return Err(problem(RuleProblem::TooMany));
            }
            config.check().map_err(problem)?;
            config.compile().map_err(problem)
        };
        let rules = configs.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies all rules; `false` as soon as one drops what the labels belong to.
    pub fn apply(&self, labels: &mut impl Labels, scratch: &mut Scratch) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels, scratch))
    }
}

impl RuleConfig {
    /// What Prometheus refuses.
    fn check(&self) -> Result<(), RuleProblem> {
        use Action::{
            DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
        };
        let forbid = |is_set: bool, name| {
            if is_set { Err(RuleProblem::Forbids(name)) } else { Ok(()) }
        };
        let differs = |value: &Option<String>, default: &str| value.as_ref().is_some_and(|v| v != default);
        let action = self.action;
        let writes_target =
            matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
        if writes_target && self.target_label.as_ref().is_none_or(String::is_empty) {
            return Err(RuleProblem::Needs("target_label"));
        }
        if action == HashMod && self.modulus.unwrap_or(0) == 0 {
            return Err(RuleProblem::Needs("modulus"));
        }
        if action == LabelMap && self.replacement.as_ref().is_some_and(String::is_empty) {
            return Err(RuleProblem::EmptyName("replacement"));
        }
        if self.source_labels.iter().flatten().any(String::is_empty) {
            return Err(RuleProblem::EmptyName("source_labels"));
        }
        if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual | LabelDrop | LabelKeep) {
            forbid(differs(&self.replacement, "$1"), "replacement")?;
        }
        if matches!(action, KeepEqual | DropEqual) {
            forbid(differs(&self.regex, "(.*)"), "regex")?;
        }
        if matches!(action, KeepEqual | DropEqual | LabelDrop | LabelKeep) {
            forbid(self.modulus.is_some_and(|m| m != 0), "modulus")?;
            forbid(differs(&self.separator, ";"), "separator")?;
        }
        if matches!(action, LabelDrop | LabelKeep) {
            forbid(self.source_labels.is_some(), "source_labels")?;
            forbid(self.target_label.as_ref().is_some_and(|t| !t.is_empty()), "target_label")?;
        }
        Ok(())
    }

    fn compile(&self) -> Result<Rule, RuleProblem> {
        let regex = Matcher::compile(self.regex.as_deref().unwrap_or("(.*)"))?;
        let target = self.target_label.clone().unwrap_or_default();
        let replacement = self.replacement.as_deref().unwrap_or("$1");
        let step = match self.action {
            Action::Replace => Step::Replace {
                target: Template::parse(&target, &regex.group_names()),
                replacement: Template::parse(replacement, &regex.group_names()),
                regex,
            },
            Action::Keep => Step::Keep(regex),
            Action::Drop => Step::Drop(regex),
            Action::KeepEqual => Step::KeepEqual(target),
            Action::DropEqual => Step::DropEqual(target),
            Action::HashMod => Step::HashMod { target, modulus: self.modulus.unwrap_or(1) },
            Action::LabelMap => {
                Step::LabelMap { replacement: Template::parse(replacement, &regex.group_names()), regex }
            }
            Action::LabelDrop => Step::LabelDrop(regex),
            Action::LabelKeep => Step::LabelKeep(regex),
            Action::Lowercase => Step::Lowercase(target),
            Action::Uppercase => Step::Uppercase(target),
        };
        Ok(Rule {
            source_labels: self.source_labels.clone().unwrap_or_default(),
            separator: self.separator.clone().unwrap_or_else(|| ";".to_owned()),
            step,
        })
    }
}

impl Matcher {
    fn compile(text: &str) -> Result<Self, RuleProblem> {
        if text == "(.*)" {
            return Ok(Self::Everything);
        }
        let problem =
            |source: regex::Error| RuleProblem::Regex { pattern: text.to_owned(), source: Box::new(source) };
        let translated = pattern::translate(text);
        // On its own first: an unbalanced `)` must not close the group that anchors it.
        Regex::new(&translated).map_err(problem)?;
        Regex::new(&format!("^(?s:{translated})$")).map(Self::Regex).map_err(problem)
    }

    fn group_names(&self) -> Vec<Option<String>> {
        match self {
            Self::Everything => vec![None, None],
            Self::Regex(regex) => regex.capture_names().map(|name| name.map(str::to_owned)).collect(),
        }
    }

    #[inline]
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// Expands `template` by what matched in `text`, which is known to match.
    fn expand(&self, text: &str, template: &Template, out: &mut String) {
        out.clear();
        match self {
            _ if template.is_literal() => template.expand(|_| None, out),
            Self::Everything => template.expand(|group| (group < 2).then_some(text), out),
            Self::Regex(regex) => {
                let captures = regex.captures(text);
                template.expand(|group| Some(captures.as_ref()?.get(group)?.as_str()), out);
            }
        }
    }
}

impl Rule {
    fn apply(&self, labels: &mut impl Labels, scratch: &mut Scratch) -> bool {
        self.join_sources(labels, &mut scratch.value);
        match &self.step {
            Step::Keep(regex) => return regex.matches(&scratch.value),
            Step::Drop(regex) => return !regex.matches(&scratch.value),
            Step::KeepEqual(target) => return scratch.value_is(labels, target),
            Step::DropEqual(target) => return !scratch.value_is(labels, target),
            Step::Replace { regex, target, replacement } => {
                if regex.matches(&scratch.value) {
                    regex.expand(&scratch.value, target, &mut scratch.target);
                    regex.expand(&scratch.value, replacement, &mut scratch.other);
                    scratch.write_other(labels);
                }
            }
            Step::HashMod { target, modulus } => {
                let hash = hash(&scratch.value) % modulus;
                scratch.write(labels, target, |_, out| out.push_str(&hash.to_string()));
            }
            Step::Lowercase(target) => scratch.write(labels, target, |value, out| {
                out.extend(value.chars().map(lowercase));
            }),
            Step::Uppercase(target) => scratch.write(labels, target, |value, out| {
                out.extend(value.chars().map(uppercase));
            }),
            Step::LabelMap { regex, replacement } => {
                scratch.collect_names(labels, |name| regex.matches(name));
                scratch.map_names(labels, regex, replacement);
            }
            Step::LabelDrop(regex) => scratch.remove_names(labels, |name| regex.matches(name)),
            Step::LabelKeep(regex) => scratch.remove_names(labels, |name| !regex.matches(name)),
        }
        true
    }

    fn join_sources(&self, labels: &impl Labels, out: &mut String) {
        out.clear();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.separator);
            }
            labels.append(name, out);
        }
    }
}

impl Scratch {
    fn value_is(&mut self, labels: &impl Labels, target: &str) -> bool {
        self.other.clear();
        labels.append(target, &mut self.other);
        self.other == self.value
    }

    fn write(&mut self, labels: &mut impl Labels, target: &str, make: impl FnOnce(&str, &mut String)) {
        self.other.clear();
        make(&self.value, &mut self.other);
        self.target.clear();
        self.target.push_str(target);
        self.write_other(labels);
    }

    /// Writes `other` to the label `target`; an empty text removes it.
    fn write_other(&mut self, labels: &mut impl Labels) {
        if self.target.is_empty() {
            // Not a name: Prometheus skips the rule.
        } else if self.other.is_empty() {
            labels.remove(&self.target);
        } else if self.target.len() > MAX_NAME_BYTES || self.other.len() > MAX_VALUE_BYTES {
            self.refused += 1;
        } else {
            self.refused += u64::from(!labels.set(&self.target, &self.other));
        }
    }

    fn collect_names(&mut self, labels: &impl Labels, wanted: impl Fn(&str) -> bool) {
        let names = &mut self.names;
        names.clear();
        labels.for_each_name(&mut |name| {
            if wanted(name) {
                names.push(name.to_owned());
            }
        });
    }

    fn remove_names(&mut self, labels: &mut impl Labels, goes: impl Fn(&str) -> bool) {
        self.collect_names(labels, goes);
        for name in self.names.drain(..) {
            labels.remove(&name);
        }
    }

    /// Copies the values of the collected names to the names that `replacement` makes of them. All values are read before the
    /// first is written, as every rule sees the labels that the one before it left.
    fn map_names(&mut self, labels: &mut impl Labels, regex: &Matcher, replacement: &Template) {
        let mut names = std::mem::take(&mut self.names);
        if !labels.is_ordered() {
            names.sort_unstable();
        }
        let read = |name: &String| {
            let mut value = String::new();
            labels.append(name, &mut value);
            value
        };
        let values: Vec<String> = names.iter().map(read).collect();
        for (name, value) in names.iter().zip(&values) {
            regex.expand(name, replacement, &mut self.target);
            self.other.clone_from(value);
            // What has no text (an array, a map) cannot be copied as text, and must not erase what is there.
            if !value.is_empty() {
                self.write_other(labels);
            }
        }
        names.clear();
        self.names = names;
    }
}

/// The hash of `hashmod`: the last eight bytes of the MD5 sum, big endian.
fn hash(text: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(text.as_bytes()).into();
    u128::from_be_bytes(sum) as u64
}

/// The other case of a letter as Go's tables have it: always one letter, where the full mapping has several none.
fn lowercase(letter: char) -> char {
    match letter {
        'İ' => 'i',
        _ => single(letter.to_lowercase(), letter),
    }
}

fn uppercase(letter: char) -> char {
    match letter {
        // Greek letters with an iota below, whose capitals have it beside.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => moved(letter, 8),
        'ᾳ' | 'ῃ' | 'ῳ' => moved(letter, 9),
        _ => single(letter.to_uppercase(), letter),
    }
}

fn moved(letter: char, by: u32) -> char {
    char::from_u32(u32::from(letter) + by).unwrap_or(letter)
}

fn single(mut mapped: impl Iterator<Item = char>, letter: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}
