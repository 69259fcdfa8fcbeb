//! rsyslog, the syslog server of most Linux distributions, as a sender: it takes messages over TCP and does with them what the
//! test's rules say. Never the system's service: it runs in the foreground, on its own configuration and folder.
//!
//! The test's configuration is rules in rsyslog's language; `@data@` stands for its folder. Without rules it writes to
//! `messages` in that folder.

use crate::catalog::{Backend, Launch, NEEDS_APT, Ready, Site};
use crate::debian::{Debian, multiarch};
use crate::error::{Error, Result};
use crate::install::Recipe;
use crate::net::PortSpec;

pub(crate) const BACKEND: Backend = Backend {
    name: "rsyslog",
    version: "as packaged",
    about: "rsyslog: syslog in over TCP, and out as its rules say",
    needs: NEEDS_APT,
    ports: &[PortSpec { name: "tcp", fixed: 25_514 }],
    recipe: Recipe::Debian(Debian { packages: &["rsyslog", "rsyslog-gnutls"], program: "usr/sbin/rsyslogd" }),
    launch: Some(launch),
};

const PREAMBLE: &str = r#"
global(workDirectory="@data@")
module(load="imtcp")
input(type="imtcp" port="@tcp@" address="127.0.0.1")
"#;

fn launch(site: &Site<'_>) -> Result<Launch> {
    let data = site.data();
    std::fs::create_dir_all(&data).map_err(Error::io("create", data.as_ref()))?;
    let rules =
        site.options.config.as_deref().unwrap_or("action(type=\"omfile\" file=\"@data@/messages\")\n");
    let config = site.write_config("rsyslog.conf", &format!("{PREAMBLE}{rules}"))?;
    let libraries = site.place.lib().join("usr/lib").join(multiarch());
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let port = site.ports.get("tcp")?;
    Ok(Launch {
        // `env` becomes the program, so its process is the server's.
        program: "env".to_owned(),
        args: vec![
            format!("LD_LIBRARY_PATH={}", libraries.display()),
            site.bin("rsyslog"),
            "-n".to_owned(),
            "-f".to_owned(),
            config,
            "-i".to_owned(),
            format!("{data}/pid"),
            "-M".to_owned(),
            text(libraries.join("rsyslog")),
        ],
        before: Vec::new(),
        ready: Ready::Tcp(port),
        url: format!("127.0.0.1:{port}"),
    })
}
