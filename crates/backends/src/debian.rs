//! Programs out of Debian's packages, fetched by apt and unpacked into the cache. Nothing is installed on the machine: no
//! service is set up, no other package touched, and no root needed.
//!
//! ```text
//! apt-get update             lists into the build directory; those of the system may be missing, as in a fresh container
//! apt-get --download-only    the packages, and those they depend on that this machine lacks
//! dpkg-deb -x                each into lib/
//! ```
//!
//! The version is the distribution's own, since that is what people run.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::home::Place;
use crate::steps::Steps;

/// A program out of packages.
#[derive(Debug)]
pub(crate) struct Debian {
    /// What to fetch.
    pub(crate) packages: &'static [&'static str],
    /// The program, as a path inside them; copied to where tools are looked for.
    pub(crate) program: &'static str,
}

impl Debian {
    pub(crate) fn fetch(&self, steps: &Steps<'_>, dir: &Path, place: &Place, name: &str) -> Result<()> {
        let archives = dir.join("archives");
        for made in [dir.join("lists/partial"), archives.join("partial"), dir.join("cache"), place.lib()] {
            std::fs::create_dir_all(&made).map_err(Error::io("create", &made))?;
        }
        steps.run_online("read the package lists", apt(dir).arg("update"))?;
        let mut download = apt(dir);
        // Also what is installed: the program is run from the cache, wherever the machine has it.
        download.args(["install", "--reinstall", "--download-only", "--no-install-recommends", "-y"]);
        steps.run_online("download the packages", download.args(self.packages))?;
        for entry in std::fs::read_dir(&archives).map_err(Error::io("read", &archives))? {
            let path = entry.map_err(Error::io("read", &archives))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                steps.run("unpack", Command::new("dpkg-deb").arg("-x").arg(&path).arg(place.lib()))?;
            }
        }
        let (from, to) = (place.lib().join(self.program), place.bin(name));
        let bin = to.parent().unwrap_or(place.dir());
        std::fs::create_dir_all(bin).map_err(Error::io("create", bin))?;
        std::fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        Ok(())
    }
}

/// `apt-get` that reads the system's sources and its list of what is installed, and writes below `dir` alone.
fn apt(dir: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let option = |name: &str, below: &str| format!("{name}={}", dir.join(below).display());
    for option in [
        option("Dir::State::lists", "lists"),
        option("Dir::Cache", "cache"),
        option("Dir::Cache::archives", "archives"),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    command
}

/// Where Debian puts libraries of this machine's architecture, below `usr/lib`.
pub(crate) fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}
