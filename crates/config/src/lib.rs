//! YAML to a typed graph: environment expansion, errors with places, JSON Schema
