//! What can go wrong. No error holds bytes of a record.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Seq;

/// An error of the buffer. Causes are shared, since one failed fsync answers many senders.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the directory.
    #[error("{} is used by another floodway; each buffer needs a directory of its own", dir.display())]
    Locked {
        /// The buffer's directory.
        dir: PathBuf,
    },
    /// The directory cannot be used at all.
    #[error("cannot {what}: {source}")]
    Open {
        /// What was tried, with the path.
        what: String,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log is as large as it may be. Nothing was written; there is room when something was delivered.
    #[error(
        "the buffer is full ({limit}); raise the limit, or wait until the destination takes what is in it"
    )]
    Full {
        /// Which limit.
        limit: &'static str,
    },
    /// The record alone is larger than the log may be. Permanent.
    #[error("a record of {bytes} bytes is larger than the buffer takes ({limit} bytes)")]
    TooLarge {
        /// Size of the payload.
        bytes: u64,
        /// The largest payload.
        limit: u64,
    },
    /// The record was not written (disk full, I/O error). The next append tries a new segment.
    #[error("cannot write to the buffer: {source}")]
    Write {
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The record was written, but is not known to be on the disk: it counts as failed.
    #[error("the buffer's disk did not confirm the write: {source}")]
    NotDurable {
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// A record that is there cannot be read now. Going on behind `seq` skips it; `done` gives it up.
    #[error("cannot read record {seq} of the buffer: {source}")]
    Read {
        /// Its number.
        seq: Seq,
        /// How many items it holds.
        items: u32,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// More senders wait than the writer's channel holds. Nothing was taken.
    #[error("the buffer's writer is busy; try again")]
    Busy,
    /// The writer is shutting down, or its thread has ended.
    #[error("the buffer is closed")]
    Closed,
}

impl Error {
    /// Whether the same append may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::Locked { .. } | Self::Closed)
    }

    pub(crate) fn write(source: io::Error) -> Self {
        Self::Write { source: Arc::new(source) }
    }

    pub(crate) fn open(what: String, source: io::Error) -> Self {
        Self::Open { what, source: Arc::new(source) }
    }
}
