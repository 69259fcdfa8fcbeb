//! Atomics and locks: the standard library's, or loom's where all interleavings are tried (`cargo xtask test --loom`).
//!
//! Only what threads race for takes its types from here. Deliberately not here: `Arc`, whose counting is not ours to check.

#[cfg(not(floodway_loom))]
pub(crate) use std::sync::{Mutex, atomic};

#[cfg(floodway_loom)]
pub(crate) use loom::sync::{Mutex, atomic};
