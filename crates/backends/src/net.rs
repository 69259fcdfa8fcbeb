//! Loopback ports: free ones for tests, so that they run side by side, and well-known ones for servers started by hand.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result};

/// A port that a server listens on.
#[derive(Debug, Clone, Copy)]
pub struct PortSpec {
    /// What it speaks, such as `otlp_grpc`.
    pub name: &'static str,
    /// Its number when the server is started by hand.
    pub fixed: u16,
}

/// The ports of one server by name; all on 127.0.0.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    by_name: BTreeMap<String, u16>,
}

impl Ports {
    /// Ports that nobody listens on now. All sockets are held until the last is chosen, so they differ; between the choice
    /// and the server's own bind another process may still take one, which `Server::start` answers by trying again.
    pub(crate) fn free(specs: &[PortSpec]) -> Result<Self> {
        let mut held = Vec::with_capacity(specs.len());
        let mut by_name = BTreeMap::new();
        for spec in specs {
            let no_port = |error| Error::Port(format!("no free loopback port for {}: {error}", spec.name));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_port)?;
            by_name.insert(spec.name.to_owned(), listener.local_addr().map_err(no_port)?.port());
            held.push(listener);
        }
        Ok(Self { by_name })
    }

    /// The well-known ports.
    ///
    /// # Errors
    /// [`Error::Port`] names a port that is taken.
    pub(crate) fn fixed(specs: &[PortSpec]) -> Result<Self> {
        for PortSpec { name, fixed } in specs {
            TcpListener::bind((Ipv4Addr::LOCALHOST, *fixed)).map_err(|error| {
                Error::Port(format!(
                    "port {fixed} ({name}) is not free: {error}; who has it: `ss -ltnp 'sport = {fixed}'`"
                ))
            })?;
        }
        Ok(Self { by_name: specs.iter().map(|spec| (spec.name.to_owned(), spec.fixed)).collect() })
    }

    pub(crate) fn from_map(by_name: BTreeMap<String, u16>) -> Self {
        Self { by_name }
    }

    pub(crate) fn as_map(&self) -> &BTreeMap<String, u16> {
        &self.by_name
    }

    /// The number of the port called `name`.
    ///
    /// # Errors
    /// [`Error::Port`] lists the names there are.
    pub fn get(&self, name: &str) -> Result<u16> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            Error::Port(format!("no port is called {name:?}; there are: {}", known.join(", ")))
        })
    }

    /// Names and numbers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u16)> {
        self.by_name.iter().map(|(name, port)| (name.as_str(), *port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[PortSpec] =
        &[PortSpec { name: "http", fixed: 1 }, PortSpec { name: "otlp_grpc", fixed: 2 }];

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports = Ports::free(SPECS).unwrap();
        let (http, grpc) = (ports.get("http").unwrap(), ports.get("otlp_grpc").unwrap());
        assert_ne!(http, grpc);
        TcpListener::bind((Ipv4Addr::LOCALHOST, http)).unwrap();
    }

    #[test]
    fn unknown_names_and_taken_ports_are_explained() {
        let error = Ports::free(SPECS).unwrap().get("grpc").unwrap_err().to_string();
        assert_eq!(error, "no port is called \"grpc\"; there are: http, otlp_grpc");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let fixed = taken.local_addr().unwrap().port();
        let error = Ports::fixed(&[PortSpec { name: "http", fixed }]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {fixed} (http) is not free")), "{error}");
    }
}
