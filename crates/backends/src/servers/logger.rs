//! util-linux's `logger`, which sends one syslog message: a tool, run with `run_tool`.
//!
//! For example `["-n", "127.0.0.1", "-P", "5514", "-T", "--octet-count", "--rfc5424", "-t", "app", "text"]`.

use crate::catalog::{Backend, NEEDS_APT};
use crate::debian::Debian;
use crate::install::Recipe;

pub(crate) const BACKEND: Backend = Backend {
    name: "logger",
    version: "as packaged",
    about: "util-linux's logger: sends one syslog message (a tool)",
    needs: NEEDS_APT,
    ports: &[],
    recipe: Recipe::Debian(Debian { packages: &["bsdutils"], program: "usr/bin/logger" }),
    launch: None,
};
