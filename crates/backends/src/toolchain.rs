//! Which toolchains a backend needs, whether this machine has them, and how to get them if not.
//!
//! Deliberately absent: installing a toolchain. That is the user's machine; we name what is missing.

use std::process::{Command, Stdio};

/// A toolchain that a backend is built or run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What to call it.
    pub name: &'static str,
    /// The oldest version that works, major and minor.
    pub minimum: (u32, u32),
    /// How to get it.
    pub hint: &'static str,
    /// Prints the version, preceded by `marker`, on either output.
    probe: &'static [&'static str],
    marker: &'static str,
}

/// The Go toolchain. `GOTOOLCHAIN=local` is set throughout, so an older one does not fetch a newer one by itself.
pub(crate) const GO: Need = Need {
    name: "Go",
    minimum: (1, 26),
    hint: "https://go.dev/dl/",
    probe: &["go", "env", "GOVERSION"],
    marker: "go",
};

/// A Java runtime.
pub(crate) const JAVA: Need = Need {
    name: "Java",
    minimum: (17, 0),
    hint: "Debian: apt-get install openjdk-17-jdk-headless",
    probe: &["java", "-version"],
    marker: "version \"",
};

/// A Java compiler.
pub(crate) const JAVAC: Need = Need {
    name: "the Java compiler",
    minimum: (17, 0),
    hint: "Debian: apt-get install openjdk-17-jdk-headless",
    probe: &["javac", "-version"],
    marker: "javac ",
};

/// Maven, which fetches jars from Maven Central.
pub(crate) const MAVEN: Need = Need {
    name: "Maven",
    minimum: (3, 6),
    hint: "Debian: apt-get install maven",
    probe: &["mvn", "--version"],
    marker: "Maven ",
};

/// apt, to fetch packages of the distribution; nothing is installed with it.
pub(crate) const APT: Need = Need {
    name: "apt",
    minimum: (1, 0),
    hint: "a Debian or Ubuntu machine: the packages rsyslog, rsyslog-gnutls and bsdutils are fetched into the cache, without root",
    probe: &["apt-get", "--version"],
    marker: "apt ",
};

/// A toolchain that this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is needed.
    pub need: Need,
    /// The version found, if it is there but too old.
    pub found: Option<(u32, u32)>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Need { name, minimum: (major, minor), hint, .. } = self.need;
        match self.found {
            Some((a, b)) => write!(f, "{name} {a}.{b} is too old: install {major}.{minor} or newer ({hint})"),
            None => write!(f, "{name} is missing: install {major}.{minor} or newer ({hint})"),
        }
    }
}

/// All of them in one line.
pub(crate) fn list(missing: &[Missing]) -> String {
    missing.iter().map(Missing::to_string).collect::<Vec<_>>().join("; ")
}

impl Need {
    /// `None` if this machine has it.
    pub(crate) fn missing(self) -> Option<Missing> {
        let found = self.installed_version();
        let enough = found.is_some_and(|version| version >= self.minimum);
        (!enough).then_some(Missing { need: self, found })
    }

    fn installed_version(self) -> Option<(u32, u32)> {
        let (program, args) = self.probe.split_first()?;
        let mut command = Command::new(program);
        // From the root: a go.mod or .tool-versions file around the caller must not choose the version.
        command.args(args).env("GOTOOLCHAIN", "local").current_dir("/").stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = [output.stdout, output.stderr].concat();
        version_after(&String::from_utf8_lossy(&text), self.marker)
    }
}

/// The `major[.minor]` that follows the first `marker` which is followed by a digit.
fn version_after(text: &str, marker: &str) -> Option<(u32, u32)> {
    let rest = text
        .match_indices(marker)
        .map(|(at, _)| &text[at + marker.len()..])
        .find(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_versions_that_tools_print() {
        assert_eq!(version_after("go1.26.8\n", GO.marker), Some((1, 26)));
        assert_eq!(version_after("openjdk version \"17.0.15\" 2025-04-15\n", JAVA.marker), Some((17, 0)));
        assert_eq!(version_after("openjdk version \"21\" 2023-09-19\n", JAVA.marker), Some((21, 0)));
        assert_eq!(version_after("javac 17.0.15", JAVAC.marker), Some((17, 0)));
        assert_eq!(version_after("\u{1b}[1mApache Maven 3.8.7\u{1b}[m\n", MAVEN.marker), Some((3, 8)));
        assert_eq!(version_after("apt 2.6.1 (amd64)\n", APT.marker), Some((2, 6)));
        assert_eq!(version_after("good, but no version", GO.marker), None);
    }

    #[test]
    fn a_missing_toolchain_names_what_to_install() {
        let need = Need { probe: &["floodway-no-such-program"], ..GO };
        let missing = need.missing().unwrap();
        assert_eq!(missing.to_string(), "Go is missing: install 1.26 or newer (https://go.dev/dl/)");
        let old = Missing { need: GO, found: Some((1, 19)) };
        assert_eq!(old.to_string(), "Go 1.19 is too old: install 1.26 or newer (https://go.dev/dl/)");
    }
}
