//! `${...}`: what it means, what it never touches, and that a value from outside is only ever a value.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
use common::{errors, parse};
use proptest::prelude::*;

fn file(settings: &str) -> String {
    format!(
        "receivers:\n  otlp:\nexporters:\n  file:\n{settings}pipelines:\n  main:\n    receivers: [otlp]\n    exporters: [file]\n"
    )
}

/// The exporter's settings as its struct saw them.
fn exporter(source: &str, pairs: &[(&str, &str)]) -> String {
    let config = parse(source, pairs).unwrap_or_else(|e| panic!("{e}"));
    common::exporter_text(&config)
}

fn path(written: &str, pairs: &[(&str, &str)]) -> String {
    let text = exporter(&file(&format!("    path: {written}\n")), pairs);
    let start = text.find("path: ").unwrap() + 6;
    let end = text.find(", password").unwrap();
    text[start..end].trim_matches('"').to_owned()
}

#[test]
fn forms() {
    let env: &[(&str, &str)] = &[("A", "one"), ("EMPTY", ""), ("file:/s", "  secret\n")];
    for (written, expected) in [
        ("${A}", "one"),
        ("${env:A}", "one"),
        ("x-${A}-y", "x-one-y"),
        ("'${A}${A}'", "oneone"),
        ("${NO:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("'x${EMPTY}'", "x"),
        ("${NO:-${ALSO:-three}}", "three"),
        ("${NO:-${A}}", "one"),
        ("\"${NO:-a b: c # d}\"", "a b: c # d"),
        ("${file:/s}", "secret"),
        ("$${A}", "${A}"),
        ("${NO:-}x", "x"),
    ] {
        assert_eq!(path(written, env), expected, "{written}");
    }
}

#[test]
fn what_relabel_rules_use_is_left_alone() {
    for text in ["$1", "$$", "${1}", "${1}:$2", "$name", "a$", "$${1}", "${}", "$", "$1${2}$$3", "^([^$]+)$"]
    {
        assert_eq!(path(&format!("'{text}'"), &[("name", "wrong"), ("1", "wrong")]), text);
    }
}

#[test]
fn numbers_and_choices_take_placeholders() {
    let source = "receivers:\n  otlp: { on: \"${ON}\", ratio: ${R:-0.25}, mode: ${M}, grpc: { port: ${PORT:-4317} } }\nexporters:\n  file: {path: a}\npipelines:\n  main: { receivers: [otlp], exporters: [file] }\n";
    let source = source
        .replace("${R:-0.25}", "'${R:-0.25}'")
        .replace("${PORT:-4317}", "'${PORT:-4317}'")
        .replace("mode: ${M}", "mode: '${M}'");
    let config = parse(&source, &[("ON", "true"), ("M", "safe")]).unwrap_or_else(|e| panic!("{e}"));
    let text = common::receiver_text(&config);
    assert!(
        text.contains("port: 4317")
            && text.contains("on: true")
            && text.contains("ratio: 0.25")
            && text.contains("mode: Safe"),
        "{text}"
    );
    let block = "receivers:\n  otlp:\n    grpc:\n      port: ${PORT:-4317}\nexporters:\n  file: {path: a}\npipelines:\n  main: { receivers: [otlp], exporters: [file] }\n";
    let config = parse(block, &[("PORT", "99")]).unwrap_or_else(|e| panic!("{e}"));
    assert!(common::receiver_text(&config).contains("port: 99"));
    let text = errors(block, &[("PORT", "many-of-them")]);
    assert!(text.contains("expected a whole number from 0 to 65535 in receivers.otlp.grpc.port, found the value of `${PORT:-4317}`"), "{text}");
    assert!(!text.contains("many-of-them"), "{text}");
}

#[test]
fn comments_and_keys_are_not_expanded() {
    let source = file("    path: a # ${NOT_SET}\n    # ${NOT_SET_EITHER}\n");
    assert!(parse(&source, &[]).is_ok());
    let text = errors(&file("    ${K}: a\n"), &[("K", "path")]);
    assert!(text.contains("unknown field `${K}`"), "{text}");
}

#[test]
fn unset_variables_are_named_with_place_and_fix() {
    let text = errors(&file("    path: /var/${DIR}/x\n    password: ${PW}\n"), &[]);
    let expected = "\
x.yaml:5:16: the environment variable `DIR` is not set; set it, or give a default: `${DIR:-value}`
  |
5 |     path: /var/${DIR}/x
  |                ^^^^^^
x.yaml:6:15: the environment variable `PW` is not set; set it, or give a default: `${PW:-value}`
  |
6 |     password: ${PW}
  |               ^^^^^";
    assert_eq!(text, expected, "\n{text}\n");
}

#[test]
fn odd_forms_are_explained() {
    for (written, part) in [
        ("${A-b}", "is not a form that is known"),
        ("${A.b}", "is not a form that is known"),
        ("'${A'", "is never closed by `}`"),
        ("${file:/none}", "cannot read the file `/none` for `${file:/none}`: no such file"),
        ("${env:}", "is not a form that is known"),
    ] {
        let text = errors(&file(&format!("    path: {written}\n")), &[("A", "x")]);
        assert!(text.contains(part) && text.starts_with("x.yaml:5:"), "{written}: {text}");
    }
    let deep = format!("{}x{}", "${A:-".repeat(20), "}".repeat(20));
    assert!(errors(&file(&format!("    path: '{deep}'\n")), &[]).contains("nests more than"));
}

#[test]
fn secrets_stay_out_of_messages_and_dumps() {
    for placeholder in ["${file:/pw}", "${PW_PASSWORD}"] {
        let source = file(&format!("    path: a\n    password: {placeholder}\n"));
        let text = errors(&source, &[("file:/pw", "hunter2"), ("PW_PASSWORD", "hunter2")]);
        assert!(!text.contains("hunter2") && text.contains(placeholder), "{text}");
        let config =
            parse(&source, &[("file:/pw", "long-enough-secret"), ("PW_PASSWORD", "long-enough-secret")]);
        let config = config.unwrap_or_else(|e| panic!("{e}"));
        assert!(!format!("{:?}", config.origin).contains("long-enough"));
        let hidden = config.origin.hide_secrets("connect long-enough-secret failed");
        assert_eq!(hidden, format!("connect {placeholder} failed"));
        let part = config.origin.hide_secrets("at `enough-secret`");
        assert!(!part.contains("enough-secret"), "{part}");
    }
}

#[test]
fn a_value_is_not_expanded_again() {
    assert_eq!(path("${A}", &[("A", "${B}"), ("B", "x")]), "${B}");
}

proptest! {
    /// Whatever the variable holds, the structure is the same and the field holds exactly that.
    #[test]
    fn a_value_cannot_add_structure(value in "(?s).{0,40}", quoted in any::<bool>()) {
        prop_assume!(!value.is_empty());
        let written = if quoted { "\"${V}\"" } else { "${V}" };
        let source = file(&format!("    path: {written}\n"));
        match parse(&source, &[("V", &value)]) {
            Ok(config) => {
                let text = common::exporter_text(&config);
                prop_assert_eq!(text, format!("File {{ path: {value:?}, password: \"\" }}"));
            }
            // Unquoted, `null` and `~` are nothing, and nothing is no path.
            Err(problems) => prop_assert!(!quoted && ["~", "null", "Null", "NULL"].contains(&value.as_str()), "{}", problems),
        }
    }

    #[test]
    fn yaml_in_a_value_is_text(value in prop::sample::select(vec![
        "a\n  admin: {endpoint: 0.0.0.0:1}", "x, password: y}", "[a]", "{a: b}", "*anchor", "&a b", "!!binary x", "a # b", "- a\n- b",
        "'", "\"", "|\n x", "? a", "<<: *a", "%YAML 1.1", "---\na: b", "true", "12", "1e3", "\u{feff}x", "${OTHER}", "$${X}",
    ])) {
        let source = file("    path: ${V}\n");
        let config = parse(&source, &[("V", value)]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(common::exporter_text(&config), format!("File {{ path: {value:?}, password: \"\" }}"));
        prop_assert_eq!(config.settings.admin.endpoint, "127.0.0.1:13133");
    }

    /// No input panics, and every message can be shown.
    #[test]
    fn nothing_panics(text in "(?s).{0,200}") {
        if let Err(problems) = parse(&text, &[]) {
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn nothing_panics_near_yaml(parts in prop::collection::vec(prop::sample::select(vec![
        "receivers", ":", "\n", "  ", "otlp", "[", "]", "{", "}", ",", "${", "}", "$", "A", ":-", "file:", "\"", "'", "- ", "# ", "&a ", "*a",
        "<<", "|", ">", "é", "pipelines", "!!str ", "~", "1", "\t", "---", "...",
    ]), 0..40)) {
        let _ = parse(&parts.concat(), &[("A", "v")]).map_err(|e| e.to_string());
    }
}
