//! What threads meet in: the real thing, or what stands for it where loom tries all interleavings (`cargo xtask test --loom`).
//!
//! | | in the program | under `--cfg floodway_loom` |
//! |---|---|---|
//! | `atomic` | the standard library's | loom's |
//! | `Notify` | tokio's | a stand-in that promises no more than tokio documents |
//! | `ArrayQueue` | crossbeam's | a stand-in that promises no more than a queue must |
//!
//! Only what threads race for takes its types from here. Deliberately not here: `Arc`, whose counting is not ours to check.

#[cfg(floodway_loom)]
mod stand_ins;

#[cfg(not(floodway_loom))]
pub(crate) use {
    crossbeam_queue::ArrayQueue,
    std::sync::atomic,
    tokio::sync::{Notify, futures::Notified},
};

#[cfg(floodway_loom)]
pub(crate) use {
    loom::sync::atomic,
    stand_ins::{ArrayQueue, Notified, Notify},
};
