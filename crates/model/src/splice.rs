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
//! Invariant: nothing is allocated until the first edit; without edits `apply` returns the same bytes; when every patch
//! has the size of what it replaces and nobody else holds the buffer, the edits are made in place.
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
    /// Growth by edits outside every frame.
    delta: isize,
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
            delta: 0,
        }
    }

    /// Whether anything was edited.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Forgets all edits and frames, keeping the memory.
    pub fn clear(&mut self) {
        (self.depth, self.reserved, self.delta) = (0, 0, 0);
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
        debug_assert!(
            self.patches.last().is_none_or(|p| p.range.end <= range.start),
            "edits go backwards"
        );
        self.grow(with.len() as isize - range.len() as isize);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(with);
        self.patches.push(Patch {
            range,
            with: at..at + with.len(),
        });
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
        if self.patches.iter().all(|p| p.range.len() == p.with.len()) {
            match original.try_into_mut() {
                Ok(mut unshared) => {
                    for patch in &self.patches {
                        unshared[patch.range.clone()].copy_from_slice(&self.bytes[patch.with.clone()]);
                    }
                    return unshared.freeze();
                }
                Err(shared) => return self.copy(&shared),
            }
        }
        self.copy(&original)
    }

    fn copy(&self, original: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(original.len().saturating_add_signed(self.delta));
        let mut at = 0;
        for patch in &self.patches {
            out.extend_from_slice(&original[at..patch.range.start]);
            out.extend_from_slice(&self.bytes[patch.with.clone()]);
            at = patch.range.end;
        }
        out.extend_from_slice(&original[at..]);
        out.freeze()
    }

    /// Gives every open frame that has none yet a patch for its length prefix. Ten bytes are set aside for the new length.
    #[inline]
    fn reserve_lengths(&mut self) {
        while self.reserved < self.depth {
            let frame = &mut self.frames[self.reserved];
            frame.patches_before = self.patches.len();
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&[0; 10]);
            self.patches.push(Patch {
                range: frame.prefix..frame.body,
                with: at..at,
            });
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
        match self.depth {
            0 => self.delta += by,
            depth => self.frames[depth - 1].delta += by,
        }
    }
}
