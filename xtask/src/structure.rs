//! A crate boundary is a dependency direction: this table is the architecture, and `cargo metadata` must agree with it.
//!
//! Tests may also use what their crate reaches indirectly, and `backends`; they may not turn an arrow round either.

use std::collections::BTreeMap;

use crate::shell::{cargo, read};

/// What each crate of the workspace may depend on. A crate that is not in the table fails the test: decide first.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("redact", &[]),
    ("net", &[]),
    ("kafka_client", &[]),
    ("buffer", &[]),
    ("codec", &["model"]),
    ("engine", &["buffer", "model"]),
    ("receivers", &["engine", "codec", "kafka_client", "model", "net"]),
    ("processors", &["engine", "model", "redact"]),
    ("exporters", &["engine", "codec", "kafka_client", "model", "net"]),
    ("config", &["engine", "model"]),
    (
        "floodway",
        &[
            "model",
            "buffer",
            "redact",
            "net",
            "kafka_client",
            "codec",
            "engine",
            "receivers",
            "processors",
            "exporters",
            "config",
        ],
    ),
    // The load generator is an oracle: it shares no code with what it measures.
    ("backends", &[]),
    ("loadgen", &["backends"]),
    ("xtask", &["backends"]),
];

const FOR_TESTS: &str = "backends";

type Edges = BTreeMap<String, Vec<(String, Kind)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In the program, or in its build script.
    Program,
    Test,
}

/// The dependencies among the workspace's own crates.
fn edges(metadata: &serde_json::Value) -> Edges {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let edge = |dependency: &serde_json::Value| {
        let kind = if dependency["kind"] == "dev" { Kind::Test } else { Kind::Program };
        dependency["path"].is_string().then(|| (text(&dependency["name"]), kind))
    };
    let packages = list(&metadata["packages"]);
    packages
        .iter()
        .map(|package| {
            (text(&package["name"]), list(&package["dependencies"]).iter().filter_map(edge).collect())
        })
        .collect()
}

fn violations(edges: &Edges) -> Vec<String> {
    let mut found = Vec::new();
    for (name, uses) in edges {
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| known == name) else {
            found.push(format!("crate {name} is not in the table MAY_USE of xtask/src/structure.rs"));
            continue;
        };
        for (used, kind) in uses {
            let for_test = *kind == Kind::Test && (used == FOR_TESTS || reaches(name, used));
            if !allowed.contains(&used.as_str()) && !for_test {
                found.push(format!(
                    "crates/{name}/Cargo.toml: {name} must not depend on {used}; it may use {allowed:?}"
                ));
            }
        }
    }
    found
}

/// Whether an arrow of the table, or several in a row, lead from one crate to the other. The table has no cycle.
fn reaches(from: &str, to: &str) -> bool {
    let uses = MAY_USE.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, uses)| uses);
    uses.iter().any(|used| *used == to || reaches(used, to))
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let metadata = read(&mut cargo(["metadata", "--format-version=1", "--no-deps", "--offline"])).unwrap();
    let edges = edges(&serde_json::from_str(&metadata).unwrap());
    assert!(
        edges.contains_key("floodway") && edges.len() >= MAY_USE.len(),
        "cargo metadata names {:?}",
        edges.keys()
    );
    let found = violations(&edges);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    // Each crate may only name crates that stand above it in an order; find that order by removing leaves.
    let mut left: Vec<_> = MAY_USE.to_vec();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
        assert!(left.len() < before, "a cycle among {names:?}");
    }
}

#[test]
fn a_reversed_arrow_and_an_unknown_crate_are_found() {
    let edge = |used: &str, kind| (used.to_owned(), kind);
    let edges = Edges::from([
        ("model".to_owned(), vec![edge("codec", Kind::Program), edge("backends", Kind::Test)]),
        ("codec".to_owned(), vec![edge("model", Kind::Program), edge("engine", Kind::Test)]),
        ("surprise".to_owned(), vec![]),
    ]);
    let found = violations(&edges);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("codec must not depend on engine"));
    assert!(found[1].contains("model must not depend on codec"));
    assert!(found[2].contains("surprise is not in the table"));
}
