//! What every component promises, whichever kind it is: one suite over the three tables. What is promised by receivers, by
//! processors or by exporters alone is in `tests/contract.rs` of their crates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use engine::component::{AnyExporterConfig, AnyProcessorConfig, AnyReceiverConfig, Claim};
use engine::testing;
use engine::{BuildContext, ComponentKind};
use exporters::EXPORTERS;
use model::Signal;
use processors::PROCESSORS;
use receivers::RECEIVERS;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

const KEY: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The smallest settings with which a component can be built. A new component says here what those are.
fn smallest(kind: ComponentKind, name: &str, address: &str, folder: &Path) -> Value {
    match (kind, name) {
        (ComponentKind::Receiver, "otlp") => json!({"grpc": {"endpoint": address}}),
        (ComponentKind::Receiver, "syslog") => json!({"tcp": {"endpoint": address}}),
        (ComponentKind::Receiver, "logstash" | "loki_push" | "remote_write") => json!({"endpoint": address}),
        (_, "kafka") => json!({"brokers": [address]}),
        (ComponentKind::Processor, "redact") => json!({"key": KEY}),
        (ComponentKind::Processor, "sample") => json!({"percent": 50}),
        (ComponentKind::Processor, "relabel") => json!({}),
        (ComponentKind::Exporter, "otlp" | "loki") => json!({"endpoint": format!("http://{address}")}),
        (ComponentKind::Exporter, "prometheus_remote_write") => {
            json!({"endpoint": format!("http://{address}/api/v1/write")})
        }
        (ComponentKind::Exporter, "elasticsearch") => json!({"endpoints": [format!("http://{address}")]}),
        (ComponentKind::Exporter, "file") => json!({"directory": folder}),
        (ComponentKind::Exporter, "tempo" | "debug") => json!({}),
        (kind, new) => panic!("say here what the smallest settings of {kind} {new} are"),
    }
}

/// Settings that were read, of any kind.
enum Config {
    Receiver(Box<dyn AnyReceiverConfig>),
    Processor(Box<dyn AnyProcessorConfig>),
    Exporter(Box<dyn AnyExporterConfig>),
}

impl Config {
    fn claims(&self) -> Vec<Claim> {
        match self {
            Self::Receiver(config) => config.claims(),
            Self::Processor(_) => Vec::new(),
            Self::Exporter(config) => config.claims(),
        }
    }

    fn build(self, context: &BuildContext) -> Result<(), String> {
        match self {
            Self::Receiver(config) => config.build(context).map(drop),
            Self::Processor(config) => config.build(context).map(drop),
            Self::Exporter(config) => config.build(context).map(drop),
        }
        .map_err(|error| error.to_string())
    }
}

type Parse = dyn Fn(&Value) -> Result<Config, String>;

/// A line of one of the tables.
struct Component {
    kind: ComponentKind,
    name: &'static str,
    summary: &'static str,
    signals: &'static [Signal],
    schema: fn(&mut SchemaGenerator) -> Schema,
    parse: Box<Parse>,
}

impl Component {
    fn label(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    fn dry(&self) -> BuildContext {
        BuildContext { dry_run: true, ..testing::build_context(self.kind, self.name) }
    }
}

macro_rules! components {
    ($table:expr, $kind:expr, $config:path) => {
        $table.iter().map(|factory| Component {
            kind: $kind,
            name: factory.name,
            summary: factory.summary,
            signals: factory.signals,
            schema: factory.schema,
            parse: Box::new(|settings| {
                let mut settings = <dyn erased_serde::Deserializer<'_>>::erase(settings);
                (factory.parse)(&mut settings).map($config).map_err(|error| error.to_string())
            }),
        })
    };
}

fn all() -> Vec<Component> {
    components!(RECEIVERS, ComponentKind::Receiver, Config::Receiver)
        .chain(components!(PROCESSORS, ComponentKind::Processor, Config::Processor))
        .chain(components!(EXPORTERS, ComponentKind::Exporter, Config::Exporter))
        .collect()
}

#[test]
fn names_are_unique_and_everything_is_said() {
    let all = all();
    assert!(all.len() >= 17, "{} components", all.len());
    assert_eq!(all.iter().map(Component::label).collect::<BTreeSet<_>>().len(), all.len());
    for component in all {
        let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        assert!(component.name.bytes().all(named), "{}", component.label());
        let Component { summary, signals, .. } = component;
        assert!(summary.len() > 10 && !summary.ends_with('.'), "{}: {summary:?}", component.label());
        let distinct: BTreeSet<_> = signals.iter().collect();
        assert!(!signals.is_empty() && distinct.len() == signals.len(), "{}", component.label());
    }
}

#[test]
fn every_field_in_the_schema_is_described_and_no_other_is_allowed() {
    for component in all() {
        let mut generator = SchemaGenerator::default();
        let root = (component.schema)(&mut generator);
        let definitions = Value::Object(generator.take_definitions(true));
        let mut fields = 0;
        described(&component.label(), root.as_value(), &mut fields);
        described(&component.label(), &definitions, &mut fields);
        assert!(fields >= 1, "{} has no fields", component.label());
    }
}

fn described(place: &str, schema: &Value, fields: &mut usize) {
    let Value::Object(object) = schema else { return };
    if let Some(Value::Object(properties)) = object.get("properties") {
        assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{place} takes any field");
        for (name, field) in properties {
            *fields += 1;
            let text = field.get("description").and_then(Value::as_str);
            assert!(text.is_some_and(|t| t.len() > 10), "{place}.{name} has no description");
        }
    }
    for (name, inner) in object {
        described(&format!("{place}.{name}"), inner, fields);
    }
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    for component in all() {
        let mut settings = smallest(component.kind, component.name, "127.0.0.1:1", Path::new("/data"));
        (component.parse)(&settings).map_err(|e| panic!("{}: {e}", component.label())).ok();
        settings["endpiont"] = json!("127.0.0.1:1");
        let error = (component.parse)(&settings).err().unwrap();
        assert!(error.contains("endpiont"), "{}: {error}", component.label());
    }
}

/// No runtime here: nothing may be spawned. The address is taken: nothing may be bound. The folder is not there: nothing may be made.
#[test]
fn a_dry_run_makes_nothing_and_binds_nothing() {
    for component in all() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let settings = smallest(component.kind, component.name, &address, &folder.path().join("not/there"));
        let built = (component.parse)(&settings).unwrap().build(&component.dry());
        assert_eq!(built, Ok(()), "{}", component.label());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{} made something",
            component.label()
        );
    }
}

#[test]
fn what_a_component_takes_for_itself_is_claimed() {
    for component in all() {
        let settings = smallest(component.kind, component.name, "127.0.0.1:14999", Path::new("/data"));
        let claims = (component.parse)(&settings).unwrap().claims();
        let wanted = match (component.kind, component.name) {
            // It goes and fetches.
            (ComponentKind::Receiver, "kafka") => 0,
            (ComponentKind::Receiver, _) => 1,
            (ComponentKind::Exporter, "file") => 3,
            _ => 0,
        };
        assert_eq!(claims.len(), wanted, "{}: {claims:?}", component.label());
        let of_ours = |claim: &Claim| match claim {
            Claim::Tcp(address) | Claim::Udp(address) => address == "127.0.0.1:14999",
            Claim::Path(path) => path.starts_with("/data"),
        };
        assert!(claims.iter().all(of_ours), "{}: {claims:?}", component.label());
    }
}

#[test]
fn everything_listens_on_loopback_unless_told_otherwise() {
    for component in all().into_iter().filter(|component| component.kind == ComponentKind::Receiver) {
        let settings = match component.name {
            "otlp" => json!({"grpc": {}, "http": {}}),
            "kafka" => json!({"brokers": ["kafka:9092"]}),
            _ => json!({}),
        };
        for claim in (component.parse)(&settings).unwrap().claims() {
            let (Claim::Tcp(address) | Claim::Udp(address)) = claim else { continue };
            assert!(address.starts_with("127.0.0.1:"), "{} listens on {address}", component.label());
        }
    }
}
