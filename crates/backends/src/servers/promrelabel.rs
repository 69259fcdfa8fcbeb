//! promrelabel, Prometheus's own relabeling as a command: the oracle of the `relabel` processor. `promrelabel.go` says what it
//! reads and prints.

use crate::catalog::{Backend, NEEDS_GO};
use crate::install::{GoMain, Recipe};

pub(crate) const BACKEND: Backend = Backend {
    name: "promrelabel",
    version: "v0.315.0",
    about: "Prometheus's relabeling rules applied to label sets (a tool)",
    needs: NEEDS_GO,
    ports: &[],
    recipe: Recipe::GoMain(GoMain {
        main: include_str!("promrelabel.go"),
        requires: &[
            "github.com/prometheus/prometheus@v0.315.0",
            "github.com/prometheus/common@v0.71.0",
            "go.yaml.in/yaml/v2@v2.4.4",
        ],
    }),
    launch: None,
};
