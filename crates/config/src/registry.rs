//! Which components there are: the three tables, and what their lines have in common.

use engine::component::{
    AnyExporterConfig, AnyProcessorConfig, AnyReceiverConfig, ExporterFactory, ProcessorFactory,
    ReceiverFactory,
};
use model::Signal;
use schemars::{Schema, SchemaGenerator};

/// The components that a configuration may name.
#[derive(Clone, Copy)]
pub struct Registry<'r> {
    /// Ways in.
    pub receivers: &'r [ReceiverFactory],
    /// Steps between.
    pub processors: &'r [ProcessorFactory],
    /// Ways out.
    pub exporters: &'r [ExporterFactory],
}

/// One line of one table.
pub(crate) trait Factory {
    /// Its settings.
    type Config: ?Sized;
    fn name(&self) -> &'static str;
    fn parse(
        &self,
        from: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Box<Self::Config>, erased_serde::Error>;
    fn schema(&self, generator: &mut SchemaGenerator) -> Schema;
    fn summary(&self) -> &'static str;
    fn signals(&self) -> &'static [Signal];
}

macro_rules! factory {
    ($factory:ident, $config:ident) => {
        impl Factory for $factory {
            type Config = dyn $config;

            fn name(&self) -> &'static str {
                self.name
            }

            fn parse(
                &self,
                from: &mut dyn erased_serde::Deserializer<'_>,
            ) -> Result<Box<dyn $config>, erased_serde::Error> {
                (self.parse)(from)
            }

            fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
                (self.schema)(generator)
            }

            fn summary(&self) -> &'static str {
                self.summary
            }

            fn signals(&self) -> &'static [Signal] {
                self.signals
            }
        }
    };
}

factory!(ReceiverFactory, AnyReceiverConfig);
factory!(ProcessorFactory, AnyProcessorConfig);
factory!(ExporterFactory, AnyExporterConfig);
