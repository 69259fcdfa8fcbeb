//! `cargo xtask ci`: everything that must pass before a change is merged.

use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    crate::lint::run()?;
    crate::test::run(&crate::test::Args { fast: false, explore: None, loom: false })
}
