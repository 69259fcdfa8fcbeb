//! Where installed backends live on disk.
//!
//! ```text
//! $FLOODWAY_BACKENDS | $XDG_CACHE_HOME/floodway/backends | ~/.cache/floodway/backends
//!   tempo/            one directory a backend
//!     installed       the stamp: the whole recipe as text; written last
//!     lock            held while someone installs
//!     install.log     what the last installation printed
//!     build/          scratch, removed after success
//!     bin/ or lib/    what was built
//!   run/tempo/        data, log and process record of `up`
//! ```
//!
//! The cache stays outside the clone: it is big, and worth keeping when the clone is deleted.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The cache directory of all backends.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The directory that the environment asks for: `FLOODWAY_BACKENDS`, else `$XDG_CACHE_HOME/floodway/backends`, else
    /// `~/.cache/floodway/backends`. Relative values are ignored, as the XDG specification demands. Nothing is created.
    ///
    /// # Errors
    /// [`Error::NoHome`] if none of the variables holds an absolute path.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_vars(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
        let root = absolute("FLOODWAY_BACKENDS")
            .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("floodway/backends")))
            .or_else(|| absolute("HOME").map(|path| path.join(".cache/floodway/backends")));
        root.map(|root| Self { root }).ok_or(Error::NoHome)
    }

    /// A cache at a directory of the caller's choice.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of one backend.
    pub(crate) fn of(&self, name: &str) -> Place {
        Place { dir: self.root.join(name) }
    }

    /// Where `up` keeps the data of a running backend.
    pub(crate) fn run_dir(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }
}

/// The directory of one backend and the names inside it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn stamp(&self) -> PathBuf {
        self.dir.join("installed")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("install.log")
    }

    pub(crate) fn build(&self) -> PathBuf {
        self.dir.join("build")
    }

    /// An executable that the installation built.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// The jar files that the installation fetched.
    pub(crate) fn lib(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// Java classes that the installation compiled.
    pub(crate) fn classes(&self) -> PathBuf {
        self.dir.join("classes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(vars: &[(&str, &str)]) -> Result<Home> {
        Home::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn own_variable_wins_over_xdg_wins_over_home() {
        let all = [("FLOODWAY_BACKENDS", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(home(&all).unwrap().root(), Path::new("/a"));
        assert_eq!(home(&all[1..]).unwrap().root(), Path::new("/b/floodway/backends"));
        assert_eq!(home(&all[2..]).unwrap().root(), Path::new("/c/.cache/floodway/backends"));
    }

    #[test]
    fn relative_values_are_ignored() {
        assert_eq!(
            home(&[("FLOODWAY_BACKENDS", "here"), ("HOME", "/c")]).unwrap().root(),
            Path::new("/c/.cache/floodway/backends")
        );
        assert!(matches!(home(&[("XDG_CACHE_HOME", "here")]), Err(Error::NoHome)));
    }
}
