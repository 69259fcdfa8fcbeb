//! Sans-io formats: OTLP JSON, Logstash JSON lines
