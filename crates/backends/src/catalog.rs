//! The table of backends: one line each; everything that is particular to one is in its file under `servers/`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::home::{Home, Place};
use crate::install::Recipe;
use crate::net::{PortSpec, Ports};
use crate::server::Options;
use crate::servers::{
    kafka, logger, loki, opensearch, otelcol, prometheus, promrelabel, promtail, rsyslog, telemetrygen, tempo,
};
use crate::toolchain::{APT, GO, JAVA, JAVAC, MAVEN, Missing, Need};

/// A server or tool that tests talk to.
#[derive(Debug)]
pub struct Backend {
    /// Its name in commands and at the start of the names of the tests that need it.
    pub name: &'static str,
    /// The version that is installed.
    pub version: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The toolchains that it is built and run with.
    pub needs: &'static [Need],
    /// What it listens on; the first port is the one that `url` speaks of. Empty for a tool.
    pub ports: &'static [PortSpec],
    pub(crate) recipe: Recipe,
    /// How to start it; `None` for a tool.
    pub(crate) launch: Option<fn(&Site<'_>) -> Result<Launch>>,
}

/// All backends.
pub const BACKENDS: &[Backend] = &[
    tempo::BACKEND,
    telemetrygen::BACKEND,
    otelcol::BACKEND,
    prometheus::BACKEND,
    promrelabel::BACKEND,
    loki::BACKEND,
    promtail::BACKEND,
    kafka::BACKEND,
    opensearch::BACKEND,
    rsyslog::BACKEND,
    logger::BACKEND,
];

pub(crate) const NEEDS_APT: &[Need] = &[APT];
pub(crate) const NEEDS_GO: &[Need] = &[GO];
pub(crate) const NEEDS_JAVA: &[Need] = &[JAVA, MAVEN];
pub(crate) const NEEDS_JAVA_COMPILER: &[Need] = &[JAVA, JAVAC, MAVEN];

/// The backend called `name`.
///
/// # Errors
/// [`Error::Unknown`] lists the names there are.
pub fn find(name: &str) -> Result<&'static Backend> {
    BACKENDS.iter().find(|backend| backend.name == name).ok_or_else(|| {
        let known: Vec<&str> = BACKENDS.iter().map(|backend| backend.name).collect();
        Error::Unknown { name: name.to_owned(), known: known.join(", ") }
    })
}

impl Backend {
    /// The toolchains that this machine lacks for it.
    pub fn missing(&self) -> Vec<Missing> {
        self.needs.iter().filter_map(|need| need.missing()).collect()
    }

    /// Whether it is a server, and not a command that ends by itself.
    pub fn is_server(&self) -> bool {
        self.launch.is_some()
    }

    pub(crate) fn place(&self, home: &Home) -> Place {
        home.of(self.name)
    }
}

/// What a server may know when it is about to start.
pub(crate) struct Site<'a> {
    pub(crate) place: &'a Place,
    /// An empty directory for its data and configuration.
    pub(crate) dir: &'a Path,
    pub(crate) ports: &'a Ports,
    pub(crate) options: &'a Options,
}

/// How to start a server.
pub(crate) struct Launch {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    /// Commands to run to their end first.
    pub(crate) before: Vec<Vec<String>>,
    pub(crate) ready: Ready,
    /// Where it is asked.
    pub(crate) url: String,
}

/// How to see that a server is ready.
#[derive(Debug)]
pub(crate) enum Ready {
    /// This address answers 200.
    Http(String),
    /// This port takes connections.
    Tcp(u16),
    /// Its log contains this.
    Log(&'static str),
}

impl Site<'_> {
    pub(crate) fn data(&self) -> String {
        self.dir.join("data").to_string_lossy().into_owned()
    }

    pub(crate) fn bin(&self, name: &str) -> String {
        self.place.bin(name).to_string_lossy().into_owned()
    }

    /// `http://127.0.0.1:PORT` of a named port.
    pub(crate) fn http(&self, port: &str) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.ports.get(port)?))
    }

    /// Writes a configuration file with `@data@` and `@PORT-NAME@` filled in; returns its path.
    pub(crate) fn write_config(&self, file: &str, template: &str) -> Result<String> {
        let path = self.dir.join(file);
        std::fs::write(&path, self.fill(template)).map_err(Error::io("write", &path))?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn fill(&self, template: &str) -> String {
        let with_data = template.replace("@data@", &self.data());
        self.ports
            .iter()
            .fold(with_data, |text, (name, port)| text.replace(&format!("@{name}@"), &port.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fixed_ports_are_unique_and_servers_have_ports() {
        let mut names: Vec<&str> = BACKENDS.iter().map(|backend| backend.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BACKENDS.len());
        let mut ports: Vec<u16> =
            BACKENDS.iter().flat_map(|backend| backend.ports).map(|port| port.fixed).collect();
        let all = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), all, "two servers share a fixed port");
        assert!(BACKENDS.iter().all(|backend| backend.is_server() != backend.ports.is_empty()));
    }

    #[test]
    fn an_unknown_name_gets_the_list() {
        let error = find("grafana").unwrap_err().to_string();
        assert!(
            error.starts_with("there is no backend called \"grafana\"; there are: tempo, telemetrygen"),
            "{error}"
        );
    }
}
