//! Content codings: inflating under a cap and a budget, and deflating.
//!
//! Invariants:
//! - The output of [`inflate`] never passes the limit; a bomb costs the limit in memory, not its inflated size.
//! - Every byte of output is asked of the [`Admission`] before it is allocated.
//! - A zstd frame that wants a window over 8 MiB (RFC 8878 section 3.1.1.1.2's recommendation) is refused.
//! - Truncated input is an error, never a short result.
//!
//! This is the one place where raw decompressors may be used. It is sync and knows no socket. Raw deflate
//! (without the zlib header), Brotli and framed snappy are not here. Snappy's block format is for protocols that
//! prescribe it (Prometheus remote-write, Loki): [`Encoding::parse`] does not offer it to others.

use crate::body::{Admission, Full};
use bytes::Bytes;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;
use std::io;
use zstd::stream::raw::{self, CParameter, DParameter, Operation};
use zstd::zstd_safe::{InBuffer, OutBuffer};

/// log2 of the largest zstd window that is taken: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The cheapest level: the network to a backend is seldom as scarce as the CPU of the application's host.
const GZIP_LEVEL: u32 = 1;
/// As [`GZIP_LEVEL`]; at this level zstd beats gzip in ratio and in speed.
const ZSTD_LEVEL: i32 = 1;
/// First allocation of output, bytes.
const MIN_OUTPUT: usize = 4 * 1024;
/// Deflate cannot shrink further than this (zlib's technical notes): a bound on what a size hint may claim.
const DEFLATE_MAX_RATIO: usize = 1032;
/// Snappy's longest copy is 64 bytes for 3 (format_description.txt, section 2.2.2): what says that it holds more is a lie.
const SNAPPY_MAX_RATIO: usize = 22;
/// zlib's window of 32 KiB plus its header.
const GZIP_WINDOW_BITS: u8 = 15;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The bytes as they are.
    Identity,
    /// gzip, RFC 1952, with any number of members.
    Gzip,
    /// zlib, RFC 1950: what HTTP calls `deflate`.
    Deflate,
    /// Zstandard, RFC 8878, with any number of frames.
    Zstd,
    /// Snappy's block format, which begins with the length of what it holds.
    Snappy,
}

impl Encoding {
    /// Reads the value of `content-encoding` or `grpc-encoding`. `None`: unknown, several codings stacked, or
    /// [`Self::Snappy`].
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
        if value.is_empty() || is("identity") {
            Some(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// Why compressed bytes could not be inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// The output would pass the limit.
    #[error("inflated size over the limit of {limit} bytes")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// The bytes are not what the coding says.
    #[error("bad {encoding} data: {detail}")]
    Corrupt {
        /// The coding's name.
        encoding: &'static str,
        /// What the decompressor said.
        detail: String,
    },
    /// The input stops in the middle.
    #[error("{encoding} data ends in the middle of a stream: was the sender cut off?")]
    Truncated {
        /// The coding's name.
        encoding: &'static str,
    },
    /// The budget is used up.
    #[error(transparent)]
    Full(#[from] Full),
}

/// Inflates `wire` to at most `limit` bytes, growing `admit` ahead of every allocation.
///
/// # Errors
/// [`InflateError`]. What was admitted up to then stays with `admit`, for its owner to drop.
pub fn inflate(
    encoding: Encoding,
    wire: &Bytes,
    limit: usize,
    admit: &mut dyn Admission,
) -> Result<Bytes, InflateError> {
    match encoding {
        Encoding::Identity if wire.len() > limit => Err(InflateError::TooLarge { limit }),
        Encoding::Identity => Ok(wire.clone()),
        Encoding::Gzip => {
            run(&mut Zlib { gzip: true, state: Decompress::new_gzip(GZIP_WINDOW_BITS) }, wire, limit, admit)
        }
        Encoding::Deflate => run(&mut Zlib { gzip: false, state: Decompress::new(true) }, wire, limit, admit),
        Encoding::Zstd => ZSTD_DECODER.with_borrow_mut(|slot| {
            let mut decoder = match slot.take() {
                Some(decoder) => decoder,
                None => zstd_decoder().map_err(|e| corrupt("zstd", e))?,
            };
            decoder.reinit().map_err(|e| corrupt("zstd", e))?;
            let mut inflater = Zstd { decoder };
            let result = run(&mut inflater, wire, limit, admit);
            *slot = Some(inflater.decoder);
            result
        }),
        Encoding::Snappy => unsnap(wire, limit, admit),
    }
}

/// The length stands at the start, so that it is admitted as a whole and nothing grows.
fn unsnap(wire: &[u8], limit: usize, admit: &mut dyn Admission) -> Result<Bytes, InflateError> {
    if wire.is_empty() {
        return Err(InflateError::Truncated { encoding: "snappy" });
    }
    let len = snap::raw::decompress_len(wire).map_err(|e| corrupt("snappy", e))?;
    if len > limit {
        return Err(InflateError::TooLarge { limit });
    }
    if len > wire.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(corrupt("snappy", "it claims to hold more than so many bytes can"));
    }
    admit.grow(len)?;
    let mut out = vec![0; len];
    let written = snap::raw::Decoder::new().decompress(wire, &mut out).map_err(|e| corrupt("snappy", e))?;
    out.truncate(written);
    Ok(Bytes::from(out))
}

thread_local! {
    // Contexts are reused: creating one allocates (and the kernel zeroes) up to a megabyte. One a thread.
    static ZSTD_DECODER: RefCell<Option<raw::Decoder<'static>>> = const { RefCell::new(None) };
    static ZSTD_ENCODER: RefCell<Option<raw::Encoder<'static>>> = const { RefCell::new(None) };
    static SNAPPY_ENCODER: RefCell<snap::raw::Encoder> = RefCell::new(snap::raw::Encoder::new());
    static GZIP_ENCODER: RefCell<Option<Compress>> = const { RefCell::new(None) };
}

fn zstd_decoder() -> io::Result<raw::Decoder<'static>> {
    let mut decoder = raw::Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

fn corrupt(encoding: &'static str, error: impl std::fmt::Display) -> InflateError {
    InflateError::Corrupt { encoding, detail: error.to_string() }
}

/// One step of a decompressor.
struct Step {
    consumed: usize,
    /// A member or frame ended here; input may go on with another one.
    at_boundary: bool,
}

trait Inflater {
    /// The coding's name, for errors.
    fn name(&self) -> &'static str;
    /// Inflated size that the input itself claims. Untrusted.
    fn size_hint(wire: &[u8]) -> Option<usize>;
    /// Writes to the spare capacity of `out`, never beyond.
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step, InflateError>;
    /// Gets ready for a further member.
    fn next_member(&mut self);
}

fn run<I: Inflater>(
    inflater: &mut I,
    wire: &[u8],
    limit: usize,
    admit: &mut dyn Admission,
) -> Result<Bytes, InflateError> {
    // One byte over the limit may be written, so that "exactly at the limit" and "over it" can be told apart.
    let ceiling = limit.saturating_add(1);
    let hint = I::size_hint(wire).map_or(wire.len().saturating_mul(4), |n| n.saturating_add(1));
    let mut out = Vec::new();
    let mut admitted = 0;
    let mut input = wire;
    let mut wanted = hint.clamp(MIN_OUTPUT.min(ceiling), ceiling);
    loop {
        if out.len() == out.capacity() {
            admit.grow(wanted - admitted)?;
            admitted = wanted;
            out.reserve_exact(wanted - out.len());
        }
        let before = out.len();
        let step = inflater.step(input, &mut out)?;
        input = &input[step.consumed..];
        if out.len() > limit {
            return Err(InflateError::TooLarge { limit });
        }
        if step.at_boundary {
            if input.is_empty() {
                break;
            }
            inflater.next_member();
        } else if out.len() == out.capacity() {
            wanted = out.len().saturating_mul(2).clamp(MIN_OUTPUT.min(ceiling), ceiling);
        } else if step.consumed == 0 && out.len() == before {
            return Err(InflateError::Truncated { encoding: inflater.name() });
        }
    }
    if out.len() < out.capacity() / 2 {
        out.shrink_to_fit();
        admit.shrink(admitted - out.len().min(admitted));
    }
    Ok(Bytes::from(out))
}

struct Zlib {
    gzip: bool,
    state: Decompress,
}

impl Inflater for Zlib {
    fn name(&self) -> &'static str {
        if self.gzip { "gzip" } else { "deflate" }
    }

    fn size_hint(wire: &[u8]) -> Option<usize> {
        // RFC 1952 section 2.3.1: ISIZE, the last four bytes, little endian, modulo 2^32. For zlib these
        // bytes are a checksum, and for several members those of the last one: hence only ever a hint.
        let isize = u32::from_le_bytes(*wire.last_chunk::<4>()?) as usize;
        let gzip = wire.starts_with(&[0x1f, 0x8b]);
        (gzip && isize <= wire.len().saturating_mul(DEFLATE_MAX_RATIO)).then_some(isize)
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step, InflateError> {
        let before = self.state.total_in();
        let status = self.state.decompress_vec(input, out, FlushDecompress::None).map_err(|e| {
            let detail = e.message().map_or_else(|| e.to_string(), str::to_owned);
            InflateError::Corrupt { encoding: self.name(), detail }
        })?;
        let consumed = usize::try_from(self.state.total_in() - before).unwrap_or(input.len());
        Ok(Step { consumed, at_boundary: status == Status::StreamEnd })
    }

    fn next_member(&mut self) {
        self.state = if self.gzip { Decompress::new_gzip(GZIP_WINDOW_BITS) } else { Decompress::new(true) };
    }
}

struct Zstd {
    decoder: raw::Decoder<'static>,
}

impl Inflater for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn size_hint(wire: &[u8]) -> Option<usize> {
        // RFC 8878 section 3.1.1.1.4, Frame_Content_Size, of the first frame. It may be a lie: no more than a
        // generous multiple of the input is believed ahead of the bytes.
        let size = zstd::zstd_safe::get_frame_content_size(wire).ok().flatten()?;
        let size = usize::try_from(size).ok()?;
        (size <= wire.len().saturating_mul(DEFLATE_MAX_RATIO)).then_some(size)
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step, InflateError> {
        let mut source = InBuffer::around(input);
        let filled = out.len();
        let mut sink = OutBuffer::around_pos(out, filled);
        let hint = self.decoder.run(&mut source, &mut sink).map_err(|e| corrupt("zstd", e))?;
        Ok(Step { consumed: source.pos(), at_boundary: hint == 0 })
    }

    fn next_member(&mut self) {}
}

/// Compresses the concatenation of `chunks`.
///
/// # Errors
/// When the compressor fails, which on well-formed memory it does not.
pub fn deflate(encoding: Encoding, chunks: &[Bytes]) -> io::Result<Bytes> {
    let total: usize = chunks.iter().map(Bytes::len).sum();
    match encoding {
        Encoding::Identity => Ok(concat(chunks, total)),
        Encoding::Gzip => GZIP_ENCODER.with_borrow_mut(|slot| {
            let state = slot.get_or_insert_with(|| {
                Compress::new_gzip(flate2::Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS)
            });
            state.reset();
            compress_zlib(state, chunks, total)
        }),
        Encoding::Deflate => {
            compress_zlib(&mut Compress::new(flate2::Compression::new(GZIP_LEVEL), true), chunks, total)
        }
        Encoding::Zstd => ZSTD_ENCODER.with_borrow_mut(|slot| {
            let mut encoder = match slot.take() {
                Some(encoder) => encoder,
                None => zstd_encoder()?,
            };
            encoder.reinit()?;
            let result = compress_zstd(&mut encoder, chunks, total);
            *slot = Some(encoder);
            result
        }),
        Encoding::Snappy => SNAPPY_ENCODER
            .with_borrow_mut(|encoder| encoder.compress_vec(&concat(chunks, total)))
            .map(Bytes::from)
            .map_err(io::Error::other),
    }
}

fn concat(chunks: &[Bytes], total: usize) -> Bytes {
    if let [one] = chunks {
        return one.clone();
    }
    let mut out = Vec::with_capacity(total);
    for chunk in chunks {
        out.extend_from_slice(chunk);
    }
    Bytes::from(out)
}

fn zstd_encoder() -> io::Result<raw::Encoder<'static>> {
    let mut encoder = raw::Encoder::new(ZSTD_LEVEL)?;
    encoder.set_parameter(CParameter::WindowLog(20))?;
    Ok(encoder)
}

fn compress_zlib(state: &mut Compress, chunks: &[Bytes], total: usize) -> io::Result<Bytes> {
    let mut out = Vec::with_capacity(total / 4 + 64);
    for chunk in chunks {
        let start = state.total_in();
        let mut consumed = 0;
        while consumed < chunk.len() {
            room(&mut out, total);
            state.compress_vec(&chunk[consumed..], &mut out, FlushCompress::None)?;
            consumed = usize::try_from(state.total_in() - start).unwrap_or(chunk.len());
        }
    }
    loop {
        room(&mut out, total);
        if state.compress_vec(&[], &mut out, FlushCompress::Finish)? == Status::StreamEnd {
            return Ok(Bytes::from(out));
        }
    }
}

fn compress_zstd(encoder: &mut raw::Encoder<'static>, chunks: &[Bytes], total: usize) -> io::Result<Bytes> {
    encoder.set_pledged_src_size(Some(total as u64))?;
    let mut out = Vec::with_capacity(total / 4 + 64);
    for chunk in chunks {
        let mut source = InBuffer::around(&chunk[..]);
        while source.pos() < chunk.len() {
            room(&mut out, total);
            let filled = out.len();
            encoder.run(&mut source, &mut OutBuffer::around_pos(&mut out, filled))?;
        }
    }
    loop {
        room(&mut out, total);
        let filled = out.len();
        if encoder.finish(&mut OutBuffer::around_pos(&mut out, filled), true)? == 0 {
            return Ok(Bytes::from(out));
        }
    }
}

/// Makes room in a compressor's output when there is little left.
fn room(out: &mut Vec<u8>, total: usize) {
    if out.capacity() - out.len() < 64 {
        out.reserve((total / 4).max(4096));
    }
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;
