//! Servers that are started by hand and keep running: `up`, `down`, and what is running.
//!
//! The record of a running server is `run/NAME/process.json` in the cache: its process, its ports, its address. `down`
//! signals only the process of the record, and only if it is still the same one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::Backend;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::net::Ports;
use crate::process::ProcessRecord;
use crate::server::{Detach, Options, await_ready, spawn};

const DOWN_GRACE: Duration = Duration::from_secs(20);

/// A server that runs in the background.
#[derive(Debug, Clone)]
pub struct Running {
    /// Where it is asked.
    pub url: String,
    /// What it listens on.
    pub ports: Ports,
    /// The id of its process.
    pub pid: u32,
    /// Its data and its log, `log.txt`.
    pub dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    process: ProcessRecord,
    url: String,
    ports: BTreeMap<String, u16>,
}

/// Starts a server on its fixed ports and leaves it running; one that runs already is left alone.
///
/// # Errors
/// As [`crate::Server::start`]; [`Error::Port`] if a fixed port is taken.
pub fn up(home: &Home, backend: &'static Backend, options: &Options) -> Result<Running> {
    if let Some(running) = running(home, backend)? {
        return Ok(running);
    }
    let ports = Ports::fixed(backend.ports)?;
    let dir = home.run_dir(backend.name);
    clear(&dir)?;
    std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let options = Options { home: Some(home.clone()), ..options.clone() };
    let (mut child, launch) = spawn(backend, &options, &dir, &ports, Detach::Yes)?;
    // Recorded before it is ready: if we are interrupted while waiting, `down` still finds it.
    let record =
        Record { process: ProcessRecord::of(&child), url: launch.url.clone(), ports: ports.as_map().clone() };
    write(&dir, &record)?;
    await_ready(backend, &mut child, &dir, &launch.ready, options.ready_within)?;
    Ok(Running { url: launch.url, ports, pid: child.id(), dir })
}

/// Ends the server that `up` started and deletes its data. Returns whether there was one.
///
/// # Errors
/// [`Error::Io`] if its data cannot be deleted; [`Error::Timeout`] if it does not end.
pub fn down(home: &Home, backend: &Backend) -> Result<bool> {
    let dir = home.run_dir(backend.name);
    let Some(record) = read(&dir)?.filter(|record| record.process.is_alive()) else {
        clear(&dir)?;
        return Ok(false);
    };
    record.process.stop(DOWN_GRACE);
    if record.process.is_alive() {
        let what = format!("{} (process {})", backend.name, record.process.pid);
        return Err(Error::Timeout { what, limit: DOWN_GRACE, detail: " to end".to_owned() });
    }
    clear(&dir)?;
    Ok(true)
}

/// The running server, if `up` started it and it still runs.
///
/// # Errors
/// [`Error::Io`] or [`Error::Output`] if its record cannot be read.
pub fn running(home: &Home, backend: &Backend) -> Result<Option<Running>> {
    let dir = home.run_dir(backend.name);
    let record = read(&dir)?.filter(|record| record.process.is_alive());
    Ok(record.map(|record| Running {
        url: record.url,
        ports: Ports::from_map(record.ports),
        pid: record.process.pid,
        dir,
    }))
}

fn path(dir: &Path) -> PathBuf {
    dir.join("process.json")
}

fn read(dir: &Path) -> Result<Option<Record>> {
    let path = path(dir);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", &path))?,
    };
    let unreadable = |error: serde_json::Error| Error::Output {
        command: path.display().to_string(),
        reason: error.to_string(),
    };
    serde_json::from_str(&text).map(Some).map_err(unreadable)
}

fn write(dir: &Path, record: &Record) -> Result<()> {
    let path = path(dir);
    let unwritable = |error: serde_json::Error| Error::Output {
        command: path.display().to_string(),
        reason: error.to_string(),
    };
    let text = serde_json::to_string_pretty(record).map_err(unwritable)?;
    std::fs::write(&path, text).map_err(Error::io("write", &path))
}

fn clear(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io("delete", dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::find;
    use std::process::Command;

    #[test]
    fn down_ends_the_recorded_process_and_forgets_it() {
        let temp = tempfile::tempdir().unwrap();
        let (home, backend) = (Home::at(temp.path()), find("tempo").unwrap());
        assert!(!down(&home, backend).unwrap());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let dir = home.run_dir(backend.name);
        std::fs::create_dir_all(&dir).unwrap();
        let ports = BTreeMap::from([("http".to_owned(), 23_200)]);
        write(&dir, &Record { process: ProcessRecord::of(&child), url: "http://x".to_owned(), ports })
            .unwrap();
        let found = running(&home, backend).unwrap().unwrap();
        assert_eq!(
            (found.pid, found.ports.get("http").unwrap(), found.url.as_str()),
            (child.id(), 23_200, "http://x")
        );
        assert!(down(&home, backend).unwrap());
        child.wait().unwrap();
        assert!(running(&home, backend).unwrap().is_none() && !dir.exists());
    }
}
