//! The JSON Schema holds what it should.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

#[test]
fn components_are_patterns_and_nothing_else_is_allowed() {
    let schema = config::schema(&common::REGISTRY);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let receivers = &schema["properties"]["receivers"];
    assert_eq!(receivers["additionalProperties"], false);
    let otlp = &receivers["patternProperties"]["^otlp(/[A-Za-z0-9_.-]{1,64})?$"];
    assert_eq!(otlp["anyOf"][0]["$ref"], "#/$defs/Otlp");
    assert_eq!(otlp["description"], "A test receiver");
    assert_eq!(schema["$defs"]["Otlp"]["additionalProperties"], false);
    assert!(schema["$defs"]["Settings"].is_null());
}

#[test]
fn placeholders_are_allowed_where_numbers_are() {
    let schema = config::schema(&common::REGISTRY);
    let port = &schema["$defs"]["Grpc"]["properties"]["port"];
    assert_eq!(port["anyOf"][0]["type"], "integer");
    assert_eq!(port["anyOf"][1]["pattern"], "\\$\\{");
    assert_eq!(port["description"], "The port.");
}
