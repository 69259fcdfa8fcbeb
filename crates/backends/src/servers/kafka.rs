//! Apache Kafka 4 as one node that is broker and controller: a JVM with the jars from Maven Central.

use crate::catalog::{Backend, Launch, NEEDS_JAVA, Ready, Site};
use crate::error::Result;
use crate::install::{Maven, Recipe};
use crate::net::PortSpec;

pub(crate) const BACKEND: Backend = Backend {
    name: "kafka",
    version: "4.1.0",
    about: "Apache Kafka 4.1, one node",
    needs: NEEDS_JAVA,
    ports: &[PortSpec { name: "broker", fixed: 29_092 }, PortSpec { name: "controller", fixed: 29_093 }],
    recipe: Recipe::Maven(Maven {
        artifacts: &[
            "org.apache.kafka:kafka_2.13:4.1.0",
            "org.apache.kafka:kafka-tools:4.1.0",
            "org.slf4j:slf4j-simple:1.7.36",
        ],
        source: None,
    }),
    launch: Some(launch),
};

/// Any 16 bytes in base64 do.
const CLUSTER_ID: &str = "Zmxvb2R3YXktdGVzdC1rZg";

const CONFIG: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:@controller@
listeners=PLAINTEXT://127.0.0.1:@broker@,CONTROLLER://127.0.0.1:@controller@
advertised.listeners=PLAINTEXT://127.0.0.1:@broker@
controller.listener.names=CONTROLLER
log.dirs=@data@
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=true
group.initial.rebalance.delay.ms=0
";

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config = site.write_config("kafka.properties", site.options.config.as_deref().unwrap_or(CONFIG))?;
    let jars = format!("{}/*", site.place.lib().display());
    let java = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<String>>();
    let format = ["java", "-cp", &jars, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", &config];
    let broker = site.ports.get("broker")?;
    Ok(Launch {
        program: "java".to_owned(),
        args: java(&["-Xmx512m", "-cp", &jars, "kafka.Kafka", &config]),
        before: vec![java(&format)],
        ready: Ready::Tcp(broker),
        url: format!("127.0.0.1:{broker}"),
    })
}
