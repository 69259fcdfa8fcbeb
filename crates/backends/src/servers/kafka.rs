//! Apache Kafka 4 as one node that is broker and controller: a JVM with the jars from Maven Central, and its own command-line tools.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::catalog::{Backend, Launch, NEEDS_JAVA, Ready, Site};
use crate::error::{Error, Result};
use crate::install::{Maven, Recipe};
use crate::net::PortSpec;
use crate::process;
use crate::server::Server;
use crate::steps::tail;

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
    let format =
        ["java", "-cp", &jars, "kafka.tools.StorageTool", "format", "-g", "-t", CLUSTER_ID, "-c", &config];
    let broker = site.ports.get("broker")?;
    Ok(Launch {
        program: "java".to_owned(),
        args: java(&["-Xmx512m", "-cp", &jars, "kafka.Kafka", &config]),
        before: vec![java(&format)],
        ready: Ready::Tcp(broker),
        url: format!("127.0.0.1:{broker}"),
    })
}

/// How long a tool may take; a JVM starts slowly on a busy machine.
const TOOL_LIMIT: Duration = Duration::from_secs(90);

/// Makes a topic.
///
/// # Errors
/// [`Error::Tool`] with what the tool printed.
pub fn create_topic(server: &Server, topic: &str, partitions: u32) -> Result<()> {
    let partitions = partitions.to_string();
    let args = ["--create", "--topic", topic, "--partitions", &partitions];
    tool(server, "org.apache.kafka.tools.TopicCommand", &args, "").map(|_| ())
}

/// Writes each line as a message with Kafka's console producer.
///
/// # Errors
/// [`Error::Tool`] with what the tool printed.
pub fn produce(server: &Server, topic: &str, lines: &str) -> Result<()> {
    tool(server, "org.apache.kafka.tools.ConsoleProducer", &["--topic", topic], lines).map(|_| ())
}

/// The first `count` messages of a topic, from the beginning, as Kafka's console consumer prints them.
///
/// # Errors
/// [`Error::Tool`] and [`Error::Timeout`] with what the tool printed, which is what there was when there are fewer.
pub fn consume(server: &Server, topic: &str, count: usize) -> Result<Vec<String>> {
    let count = count.to_string();
    let args = ["--topic", topic, "--from-beginning", "--max-messages", &count];
    let printed = tool(server, "org.apache.kafka.tools.consumer.ConsoleConsumer", &args, "")?;
    Ok(printed.lines().map(str::to_owned).collect())
}

/// All messages of the first partition of a topic, which is the only one of a topic that was made by writing to it: from the
/// beginning, until none comes for five seconds. No group is joined, which would take longer than that at times.
///
/// # Errors
/// As [`consume`].
pub fn consume_all(server: &Server, topic: &str) -> Result<Vec<String>> {
    let args = ["--topic", topic, "--partition", "0", "--offset", "earliest", "--timeout-ms", "5000"];
    let printed = tool(server, "org.apache.kafka.tools.consumer.ConsoleConsumer", &args, "")?;
    Ok(printed.lines().map(str::to_owned).collect())
}

/// Runs one of Kafka's tools against the broker; what it prints on standard output.
fn tool(server: &Server, class: &str, args: &[&str], input: &str) -> Result<String> {
    let temp = std::env::temp_dir();
    let dir = tempfile::tempdir().map_err(Error::io("create a directory in", &temp))?;
    let path = |name: &str| dir.path().join(name);
    let (given, printed, said) = (path("in"), path("out"), path("err"));
    std::fs::write(&given, input).map_err(Error::io("write", &given))?;
    let jars = format!("{}/*", server.place()?.lib().display());
    let mut command = Command::new("java");
    command.args(["-Xmx128m", "-cp", &jars, class, "--bootstrap-server", server.url()]).args(args);
    command
        .stdin(File::open(&given).map_err(Error::io("open", &given))?)
        .stdout(Stdio::from(File::create(&printed).map_err(Error::io("create", &printed))?))
        .stderr(Stdio::from(File::create(&said).map_err(Error::io("create", &said))?));
    let mut child = command.spawn().map_err(|source| Error::Spawn { program: "java".to_owned(), source })?;
    let waited = process::wait(&mut child, TOOL_LIMIT).map_err(Error::io("wait for", &said))?;
    let Some(status) = waited else {
        process::stop_child(&mut child, Duration::from_secs(1)).map_err(Error::io("end", &said))?;
        let detail = format!("; the end of its output:\n{}\n{}", tail(&printed), tail(&said));
        return Err(Error::Timeout { what: class.to_owned(), limit: TOOL_LIMIT, detail });
    };
    if !status.success() {
        return Err(Error::Tool {
            name: "kafka",
            status,
            output: format!("{}\n{}", tail(&printed), tail(&said)),
        });
    }
    let bytes = std::fs::read(&printed).map_err(Error::io("read", &printed))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
