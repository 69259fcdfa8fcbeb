//! Files: one a signal, as OTLP JSON lines or as length-prefixed protobuf, rotated by size.
//!
//! ```text
//! otlp_json:  one export request a line, as the OpenTelemetry file exporter specification has it
//! otlp_proto: 4 bytes length, big endian, then the export request in protobuf; again and again
//! ```
//! `traces.jsonl` is the file being written, `traces.jsonl.1` the one before it, and so on up to `max_files`.
//!
//! Invariant: a request stands in a file whole or not at all; a write that fails half-way is taken back. A file whose end was
//! torn all the same, by a kill or a power cut, is put aside and not written on: what follows would be unreadable too.
//!
//! Deliberately not here: compression, and rotation by time, which `max_bytes` and a scheduled job do better apart.

mod rotation;

use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use codec::otlp_json;
use engine::{
    BoxFuture, BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings,
    ExportError, Exported, Exporter, ExporterConfig, QueueSettings, RetrySettings,
};
use model::{Payload, Signal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::forms;

use rotation::{EndsWhole, RotatedFile};

/// Writes files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// The folder for `traces.jsonl`, `logs.jsonl` and `metrics.jsonl` (`.binpb` for `otlp_proto`); made if it is missing.
    directory: PathBuf,
    /// `otlp_json` or `otlp_proto`. Default: otlp_json.
    #[serde(default)]
    format: Format,
    /// When a file is put aside and a new one begun.
    #[serde(default)]
    rotate: RotateConfig,
    /// Whether every request is synced to disk before it counts as delivered. Default: false.
    #[serde(default)]
    sync: bool,
    /// The queue in front of this exporter.
    #[serde(default)]
    queue: QueueSettings,
    /// What happens when writing fails, as when the disk is full.
    #[serde(default)]
    retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    #[serde(default)]
    buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    #[serde(default)]
    dead_letters: Option<DeadLetterSettings>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// OTLP JSON lines.
    #[default]
    OtlpJson,
    /// Protobuf with lengths.
    OtlpProto,
}

/// Rotation by size.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateConfig {
    /// A file is put aside before it would grow past this many bytes. Default: 104857600 (100 MiB).
    pub(crate) max_bytes: u64,
    /// Files put aside that are kept, for each signal; the oldest is deleted. Default: 5.
    pub(crate) max_files: usize,
}

impl Default for RotateConfig {
    fn default() -> Self {
        Self { max_bytes: 100 << 20, max_files: 5 }
    }
}

impl Format {
    /// What tells whether a file ends where a request ends.
    fn ends_whole(self) -> EndsWhole {
        match self {
            Self::OtlpJson => |file, len| {
                let mut last = [b'\n'];
                file.read_exact_at(&mut last, len.saturating_sub(1))?;
                Ok(last == *b"\n")
            },
            Self::OtlpProto => |file, len| {
                let (mut at, mut prefix) = (0, [0; 4]);
                while at + 4 <= len {
                    file.read_exact_at(&mut prefix, at)?;
                    at += 4 + u64::from(u32::from_be_bytes(prefix));
                }
                Ok(at == len)
            },
        }
    }
}

impl FileConfig {
    fn path(&self, signal: Signal) -> PathBuf {
        let extension = match self.format {
            Format::OtlpJson => "jsonl",
            Format::OtlpProto => "binpb",
        };
        self.directory.join(format!("{}.{extension}", signal.name()))
    }
}

impl ExporterConfig for FileConfig {
    const NAME: &'static str = "file";
    const SUMMARY: &'static str = "files of OTLP JSON lines or protobuf, one a signal, rotated by size";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn claims(&self) -> Vec<Claim> {
        Signal::ALL.iter().map(|signal| Claim::Path(self.path(*signal))).collect()
    }

    fn delivery(&self) -> DeliverySettings {
        DeliverySettings {
            queue: self.queue.clone(),
            retry: self.retry.clone(),
            buffer: self.buffer.clone(),
            dead_letters: self.dead_letters.clone(),
            ordered: false,
        }
    }

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        if self.rotate.max_bytes == 0 {
            return Err(BuildError::new("rotate.max_bytes is 0: every request would get a file of its own"));
        }
        if !context.dry_run {
            make_folder(&self.directory)?;
        }
        let files = Signal::ALL.map(|signal| {
            Arc::new(Mutex::new(RotatedFile::new(
                self.path(signal),
                self.rotate.clone(),
                self.sync,
                self.format.ends_whole(),
            )))
        });
        Ok(Box::new(FileExporter { format: self.format, files }))
    }
}

fn make_folder(folder: &Path) -> Result<(), BuildError> {
    let mut builder = std::fs::DirBuilder::new();
    // Telemetry is private: what we make is for our own user alone.
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(|e| {
        let advice = "give a `directory` that this user may write";
        BuildError::because(format!("cannot make the folder {}: {e}; {advice}", folder.display()), e)
    })
}

struct FileExporter {
    format: Format,
    files: [Arc<Mutex<RotatedFile>>; 3],
}

impl Exporter for FileExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(async move {
            let Some(first) = payloads.first() else {
                return Ok(Exported::default());
            };
            let file = Arc::clone(&self.files[first.signal() as usize]);
            let (format, payloads) = (self.format, payloads.to_vec());
            let written = tokio::task::spawn_blocking(move || {
                let bytes = encode(format, &payloads)?;
                let written = file.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes);
                written.map_err(|error| retryable(&error))
            });
            match written.await {
                Ok(Ok(())) => Ok(Exported::default()),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(retryable(&error)),
            }
        })
    }
}

fn retryable(error: &dyn std::error::Error) -> ExportError {
    ExportError::Retryable { message: error.to_string(), retry_after: None }
}

fn encode(format: Format, payloads: &[Payload]) -> Result<Vec<u8>, ExportError> {
    let requests = payloads.iter().map(forms::otlp).collect::<Result<Vec<_>, _>>()?;
    let size: usize = requests.iter().map(|r| r.bytes().len()).sum();
    let mut out = Vec::new();
    match format {
        Format::OtlpJson => {
            out.reserve(size * 3);
            for request in &requests {
                otlp_json::encode(request, &mut out);
                out.push(b'\n');
            }
        }
        Format::OtlpProto => {
            out.reserve(size + 4 * requests.len());
            for request in &requests {
                // Checked at receipt: requests are far below 4 GiB.
                out.extend_from_slice(&(request.bytes().len() as u32).to_be_bytes());
                out.extend_from_slice(request.bytes());
            }
        }
    }
    Ok(out)
}
