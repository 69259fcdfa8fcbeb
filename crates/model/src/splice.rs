//! Edits in nested messages, collected in one walk and applied in one pass.
//!
//! A walk opens a frame for every length-delimited field it enters and closes it when it leaves. An edit names absolute
//! offsets in the original buffer. The first edit inside a frame reserves a patch for that frame's length prefix and for
//! those of all frames around it; closing a frame fills the patch in and hands the change of size to the frame around it.
//! So patches are always in order of position, and applying them is one copy.
//!
//! ```text
//! original   tag len [ tag len [ text.........text ] ... ]
//! patches        ^^^      ^^^        ^^^^^^^            lengths mended outside in, text replaced
//! ```
//!
//! Invariant: nothing is allocated until the first edit; without edits `apply` returns the same bytes; when nobody else holds
//! the buffer and the edits do not make the message longer, they are made in place: what is kept moves down, within memory
//! that the walk has just read.
//! It deliberately does not check that the result is meaningful protobuf: what is inserted is the caller's.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::wire::{Field, MAX_DEPTH, put_varint, varint_len};

/// Leaves of the deepest message are frames too.
const MAX_FRAMES: usize = MAX_DEPTH + 2;

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// The whole field; the length varint is `prefix..body`.
    start: usize,
    prefix: usize,
    body: usize,
    end: usize,
    /// Patches recorded before this frame was opened.
    patches_before: usize,
    /// Growth of the body by the edits inside.
    delta: isize,
}

#[derive(Clone, Debug)]
struct Patch {
    /// What is replaced in the original.
    range: Range<usize>,
    /// With what, in `Splice::bytes`.
    with: Range<usize>,
}

/// A list of edits. See the module for how it is used.
#[derive(Clone, Debug)]
pub struct Splice {
    frames: [Frame; MAX_FRAMES],
    depth: usize,
    /// The outer frames that have their patch.
    reserved: usize,
    patches: Vec<Patch>,
    bytes: Vec<u8>,
}

impl Default for Splice {
    fn default() -> Self {
        Self::new()
    }
}

impl Splice {
    /// No edits yet.
    pub fn new() -> Self {
        Self {
            frames: [Frame::default(); MAX_FRAMES],
            depth: 0,
            reserved: 0,
            patches: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Whether anything was edited.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Forgets all edits and frames, keeping the memory.
    pub fn clear(&mut self) {
        (self.depth, self.reserved) = (0, 0);
        self.patches.clear();
        self.bytes.clear();
    }

    /// Enters a length-delimited field: a message, or a leaf whose text is edited.
    ///
    /// # Panics
    /// When more frames are open than checked bytes can nest.
    #[inline]
    pub fn open(&mut self, field: &Field) {
        self.frames[self.depth] = Frame {
            start: field.start,
            prefix: field.prefix,
            body: field.body,
            end: field.end,
            patches_before: self.patches.len(),
            delta: 0,
        };
        self.depth += 1;
    }

    /// Leaves the innermost frame.
    #[inline]
    pub fn close(&mut self) {
        debug_assert!(self.depth > 0, "close without open");
        self.depth -= 1;
        if self.reserved > self.depth {
            self.reserved = self.depth;
            self.mend_length();
        }
    }

    /// Leaves the innermost frame and deletes its whole field, with the edits made inside it.
    pub fn discard(&mut self) {
        debug_assert!(self.depth > 0, "discard without open");
        self.depth -= 1;
        let frame = self.frames[self.depth];
        if self.reserved > self.depth {
            self.reserved = self.depth;
            // Its patches go; those of the frames around it, reserved by the same first edit, stay.
            let own = self.own_patch(self.depth);
            self.bytes.truncate(self.patches[own].with.start);
            self.patches.truncate(own);
        }
        self.replace(frame.start..frame.end, b"");
    }

    /// Replaces `range` of the original by `with`. Edits are made in order of position.
    pub fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        self.reserve_lengths();
        debug_assert!(self.patches.last().is_none_or(|p| p.range.end <= range.start), "edits go backwards");
        self.grow(with.len() as isize - range.len() as isize);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(with);
        self.patches.push(Patch { range, with: at..at + with.len() });
    }

    /// Inserts `with` before offset `at`.
    pub fn insert(&mut self, at: usize, with: &[u8]) {
        self.replace(at..at, with);
    }

    /// Deletes `range`, a whole field of the innermost open message or part of a leaf.
    pub fn delete(&mut self, range: Range<usize>) {
        self.replace(range, b"");
    }

    /// Deletes a field of the innermost open message.
    pub fn delete_field(&mut self, field: &Field) {
        self.replace(field.range(), b"");
    }

    /// The edited bytes.
    pub fn apply(&self, original: Bytes) -> Bytes {
        debug_assert_eq!(self.depth, 0, "a frame was left open");
        if self.patches.is_empty() {
            return original;
        }
        let Some(settled) = self.settled(original.len()) else {
            return self.copy(&original);
        };
        match original.try_into_mut() {
            Ok(unshared) => self.shift(unshared, settled),
            Err(shared) => self.copy(&shared),
        }
    }

    /// The number of patches after which, and after each later one, what is written stays behind what is read, so that the
    /// edits can be made in place. `None` when so much must be set aside for the patches before it that a copy costs no more.
    fn settled(&self, len: usize) -> Option<usize> {
        let mut delta = 0;
        let mut settled = 0;
        for (n, patch) in self.patches.iter().enumerate() {
            delta += patch.with.len() as isize - patch.range.len() as isize;
            if delta > 0 {
                settled = n + 1;
            }
        }
        // The first patch that brings the balance back is needed too.
        let settled = if settled > 0 { settled + 1 } else { 0 };
        let head = settled.checked_sub(1).map_or(Some(0), |n| self.patches.get(n).map(|p| p.range.end))?;
        (head <= len / 2).then_some(settled)
    }

    /// Edits in place: what is kept moves down as far as the patches before it have shrunk the message.
    fn shift(&self, mut buf: BytesMut, settled: usize) -> Bytes {
        let (early, late) = self.patches.split_at(settled);
        let mut read = early.last().map_or(0, |p| p.range.end);
        let head = self.assemble(&buf[..read], early);
        buf[..head.len()].copy_from_slice(&head);
        let mut write = head.len();
        for patch in late {
            let kept = read..patch.range.start;
            let len = kept.len();
            if write != read {
                buf.copy_within(kept, write);
            }
            write += len;
            let with = &self.bytes[patch.with.clone()];
            buf[write..write + with.len()].copy_from_slice(with);
            write += with.len();
            read = patch.range.end;
        }
        let rest = read..buf.len();
        let len = rest.len();
        if write != read {
            buf.copy_within(rest, write);
        }
        buf.truncate(write + len);
        buf.freeze()
    }

    fn copy(&self, original: &[u8]) -> Bytes {
        self.assemble(original, &self.patches).freeze()
    }

    /// `original` with these patches applied, in a new buffer.
    fn assemble(&self, original: &[u8], patches: &[Patch]) -> BytesMut {
        let grown: isize = patches.iter().map(|p| p.with.len() as isize - p.range.len() as isize).sum();
        let mut out = BytesMut::with_capacity(original.len().saturating_add_signed(grown));
        let mut at = 0;
        for patch in patches {
            out.extend_from_slice(&original[at..patch.range.start]);
            out.extend_from_slice(&self.bytes[patch.with.clone()]);
            at = patch.range.end;
        }
        out.extend_from_slice(&original[at..]);
        out
    }

    /// Gives every open frame that has none yet a patch for its length prefix. Ten bytes are set aside for the new length.
    #[inline]
    fn reserve_lengths(&mut self) {
        while self.reserved < self.depth {
            let frame = &mut self.frames[self.reserved];
            frame.patches_before = self.patches.len();
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&[0; 10]);
            self.patches.push(Patch { range: frame.prefix..frame.body, with: at..at });
            self.reserved += 1;
        }
    }

    fn own_patch(&self, frame: usize) -> usize {
        self.frames[frame].patches_before
    }

    fn mend_length(&mut self) {
        let frame = self.frames[self.depth];
        let length = (frame.end - frame.body).saturating_add_signed(frame.delta) as u64;
        let patch = &mut self.patches[frame.patches_before];
        let mut varint = [0; 10];
        let len = put_varint(&mut varint, length);
        debug_assert_eq!(len, varint_len(length));
        let at = patch.with.start;
        self.bytes[at..at + len].copy_from_slice(&varint[..len]);
        patch.with = at..at + len;
        self.grow(frame.delta + len as isize - (frame.body - frame.prefix) as isize);
    }

    #[inline]
    fn grow(&mut self, by: isize) {
        if let Some(frame) = self.depth.checked_sub(1).and_then(|d| self.frames.get_mut(d)) {
            frame.delta += by;
        }
    }
}
