//! Components that exist only in these tests, and a table that plays the environment.
#![allow(missing_docs, dead_code, unreachable_pub, reason = "test code, shared by several test programs")]

use std::collections::BTreeMap;

use config::{Config, Environment, Problems, Registry};
use engine::component::{
    BuildContext, BuildError, Claim, Exporter, ExporterConfig, ExporterFactory, Processor, ProcessorConfig,
    ProcessorFactory, Receiver, ReceiverConfig, ReceiverFactory,
};
use engine::delivery::DeliverySettings;
use model::{AckMode, Signal};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where it listens.
    pub endpoint: String,
    /// The port.
    pub port: u16,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Fast,
    Safe,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// gRPC.
    pub grpc: Option<Grpc>,
    /// Words.
    pub words: Vec<String>,
    /// Mode.
    pub mode: Mode,
    /// On.
    pub on: bool,
    /// Ratio.
    pub ratio: f64,
}

impl ReceiverConfig for Otlp {
    const NAME: &'static str = "otlp";
    const SUMMARY: &'static str = "A test receiver";
    const SIGNALS: &'static [Signal] = &[Signal::Traces, Signal::Logs];
    /// Says what was read, so that tests see through the erased type.
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Tcp(format!("{self:?}"))]
    }
    fn ack(&self) -> Option<AckMode> {
        Some(AckMode::Received)
    }
    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        Err(BuildError::new("not built in these tests"))
    }
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// Rules.
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Replacement.
    pub replacement: String,
}

impl ProcessorConfig for Relabel {
    const NAME: &'static str = "relabel";
    const SUMMARY: &'static str = "A test processor";
    const SIGNALS: &'static [Signal] = &[Signal::Traces];
    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        Err(BuildError::new(format!("{:?}", self.rules)))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Path.
    pub path: String,
    /// Password; 8 letters at least.
    #[serde(default, deserialize_with = "password")]
    pub password: String,
}

fn password<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() < 8 {
        return Err(serde::de::Error::custom(format!("the password `{text}` is too short")));
    }
    Ok(text)
}

impl ExporterConfig for File {
    const NAME: &'static str = "file";
    const SUMMARY: &'static str = "A test exporter";
    const SIGNALS: &'static [Signal] = &[Signal::Traces];
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Tcp(format!("{self:?}"))]
    }
    fn delivery(&self) -> DeliverySettings {
        DeliverySettings::default()
    }
    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        Err(BuildError::new("not built in these tests"))
    }
}

pub const REGISTRY: Registry<'static> = Registry {
    receivers: &[ReceiverFactory::of::<Otlp>()],
    processors: &[ProcessorFactory::of::<Relabel>()],
    exporters: &[ExporterFactory::of::<File>()],
};

/// Variables and files.
#[derive(Default)]
pub struct Table(pub BTreeMap<String, String>);

impl Environment for Table {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn file(&self, path: &str) -> Result<String, String> {
        self.0.get(&format!("file:{path}")).cloned().ok_or_else(|| "no such file".to_owned())
    }
}

pub fn with(pairs: &[(&str, &str)]) -> Table {
    Table(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

pub fn parse(source: &str, pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    config::parse("x.yaml", source, &REGISTRY, &with(pairs))
}

/// The text of everything that is wrong.
pub fn errors(source: &str, pairs: &[(&str, &str)]) -> String {
    match parse(source, pairs) {
        Ok(_) => panic!("no error in:\n{source}"),
        Err(problems) => problems.to_string(),
    }
}

/// What the only receiver read.
pub fn receiver_text(config: &Config) -> String {
    claim(config.graph.receivers.iter().flat_map(|c| c.config.claims()).next())
}

/// What the only exporter read.
pub fn exporter_text(config: &Config) -> String {
    claim(config.graph.exporters.iter().flat_map(|c| c.config.claims()).next())
}

fn claim(claim: Option<Claim>) -> String {
    match claim {
        Some(Claim::Tcp(text)) => text,
        other => panic!("{other:?}"),
    }
}
