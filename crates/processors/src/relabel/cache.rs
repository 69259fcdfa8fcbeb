//! What the rules made of label sets seen before, by hash.
//!
//! Sixteen shards, each a slab with a table over it. Nobody waits for a shard: whoever finds one taken runs the rules. When a
//! shard is full, the clock's hand goes round the slab: an entry that was used since it last came by gets another turn, the
//! first that was not goes. So a crowd of label sets that are seen once pushes out itself and not those in use.
//!
//! Invariants: at most `max_entries` entries and `max_bytes` bytes (keys, table and verdicts, about) in all; an entry never
//! changes. The hash has 128 bits and a key drawn at start, so it stands for the label set (see `model::series::LabelHasher`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use hashbrown::HashTable;

use super::verdict::Verdict;

const MAX_SHARDS: usize = 16;
/// Fewer entries than this do not make a shard.
const LEAST_ENTRIES: usize = 64;
/// What the table and the allocator need for an entry beside it, about.
const OVERHEAD_BYTES: usize = 28;

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    entries: AtomicUsize,
}

#[derive(Debug)]
struct Shard {
    slots: Vec<Slot>,
    index: HashTable<u32>,
    hand: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: u128,
    verdict: Verdict<Box<[u8]>>,
    is_used: bool,
}

impl Cache {
    /// `None` where the limits leave no room for anything.
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Option<Self> {
        let shards = (max_entries / LEAST_ENTRIES).clamp(1, MAX_SHARDS);
        let shard = || {
            Mutex::new(Shard {
                slots: Vec::new(),
                index: HashTable::new(),
                hand: 0,
                bytes: 0,
                max_entries: max_entries / shards,
                max_bytes: max_bytes / shards,
            })
        };
        let has_room = max_entries > 0 && max_bytes > 0;
        has_room
            .then(|| Self { shards: (0..shards).map(|_| shard()).collect(), entries: AtomicUsize::new(0) })
    }

    /// The verdict on the label set with this hash; an encoded one is appended to `out`, and its range returned.
    pub(super) fn get(&self, key: u128, out: &mut Vec<u8>) -> Option<Verdict<(usize, usize)>> {
        let mut shard = self.shard(key)?;
        let Shard { slots, index, .. } = &mut *shard;
        let place = *index.find(key as u64, |n| slots[*n as usize].key == key)?;
        let slot = &mut slots[place as usize];
        slot.is_used = true;
        Some(match &slot.verdict {
            Verdict::Keep => Verdict::Keep,
            Verdict::Drop(cause) => Verdict::Drop(*cause),
            Verdict::Write(encoded) => {
                let start = out.len();
                out.extend_from_slice(encoded);
                Verdict::Write((start, out.len()))
            }
        })
    }

    /// Keeps a verdict, unless its shard is taken.
    pub(super) fn put(&self, key: u128, verdict: Verdict<&[u8]>) {
        let Some(mut shard) = self.shard(key) else { return };
        let before = shard.slots.len();
        shard.put(key, verdict);
        let after = shard.slots.len();
        drop(shard);
        if after > before {
            self.entries.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.entries.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Label sets in it.
    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    fn shard(&self, key: u128) -> Option<MutexGuard<'_, Shard>> {
        let shard = (key >> 64) as usize % self.shards.len();
        match self.shards[shard].try_lock() {
            Ok(guard) => Some(guard),
            // Only a panic within this file could leave one half-changed.
            Err(TryLockError::Poisoned(_)) | Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn bytes(verdict: &Verdict<&[u8]>) -> usize {
    let encoded = if let Verdict::Write(encoded) = verdict { encoded.len() } else { 0 };
    size_of::<Slot>() + OVERHEAD_BYTES + encoded
}

impl Slot {
    fn bytes(&self) -> usize {
        bytes(&self.verdict.as_deref())
    }
}

impl Verdict<Box<[u8]>> {
    fn as_deref(&self) -> Verdict<&[u8]> {
        match self {
            Self::Keep => Verdict::Keep,
            Self::Drop(cause) => Verdict::Drop(*cause),
            Self::Write(encoded) => Verdict::Write(encoded),
        }
    }
}

impl Shard {
    fn put(&mut self, key: u128, verdict: Verdict<&[u8]>) {
        let bytes = bytes(&verdict);
        let is_there = self.index.find(key as u64, |n| self.slots[*n as usize].key == key).is_some();
        if is_there || bytes > self.max_bytes {
            return;
        }
        while self.slots.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            self.evict();
        }
        let verdict = match verdict {
            Verdict::Keep => Verdict::Keep,
            Verdict::Drop(cause) => Verdict::Drop(cause),
            Verdict::Write(encoded) => Verdict::Write(encoded.into()),
        };
        let place = self.slots.len() as u32;
        self.slots.push(Slot { key, verdict, is_used: false });
        self.index.insert_unique(key as u64, place, |n| self.slots[*n as usize].key as u64);
        self.bytes += bytes;
    }

    /// Takes out the next entry that was not used since the hand last came by. There is one at least.
    fn evict(&mut self) {
        loop {
            self.hand = if self.hand < self.slots.len() { self.hand } else { 0 };
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.is_used) {
                break;
            }
            self.hand += 1;
        }
        let (hand, last) = (self.hand as u32, (self.slots.len() - 1) as u32);
        let gone = self.slots[self.hand].key;
        if let Ok(entry) = self.index.find_entry(gone as u64, |n| *n == hand) {
            entry.remove();
        }
        // The last takes the place that is free.
        let moved = self.slots[last as usize].key;
        if let Some(place) = self.index.find_mut(moved as u64, |n| *n == last) {
            *place = hand;
        }
        self.bytes -= self.slots.swap_remove(self.hand).bytes();
        self.hand += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relabel::verdict::Cause;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(n: u8) -> u128 {
        u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    fn get(cache: &Cache, n: u8) -> Option<Verdict<Vec<u8>>> {
        let mut out = vec![1, 2, 3];
        Some(match cache.get(key(n), &mut out)? {
            Verdict::Write((start, end)) => Verdict::Write(out[start..end].to_vec()),
            Verdict::Keep => Verdict::Keep,
            Verdict::Drop(cause) => Verdict::Drop(cause),
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_put_and_the_limits_hold(
            entries in 1_usize..200,
            max_bytes in 1_usize..20_000,
            steps in prop::collection::vec((any::<u8>(), prop::option::of(0_usize..400)), 1..600),
        ) {
            let cache = Cache::new(entries, max_bytes).unwrap();
            let mut put: HashMap<u8, Verdict<Vec<u8>>> = HashMap::new();
            for (n, length) in steps {
                if let Some(found) = get(&cache, n) {
                    prop_assert_eq!(Some(&found), put.get(&n));
                    continue;
                }
                let verdict = match length {
                    None if n % 2 == 0 => Verdict::Keep,
                    None => Verdict::Drop(Cause::Rules),
                    Some(length) => Verdict::Write(vec![n; length]),
                };
                cache.put(key(n), match &verdict {
                    Verdict::Keep => Verdict::Keep,
                    Verdict::Drop(cause) => Verdict::Drop(*cause),
                    Verdict::Write(encoded) => Verdict::Write(encoded),
                });
                put.insert(n, verdict);
                let mut all = (0, 0);
                for shard in &cache.shards {
                    let shard = shard.lock().unwrap();
                    prop_assert_eq!(shard.index.len(), shard.slots.len());
                    prop_assert_eq!(shard.bytes, shard.slots.iter().map(Slot::bytes).sum::<usize>());
                    all = (all.0 + shard.slots.len(), all.1 + shard.bytes);
                }
                prop_assert!(all.0 <= entries && all.1 <= max_bytes);
                prop_assert_eq!(cache.len(), all.0);
            }
        }
    }

    #[test]
    fn what_is_used_stays_when_a_crowd_passes() {
        let cache = Cache::new(10, 1 << 20).unwrap();
        for crowd in 5..250 {
            for n in 0..5 {
                if cache.get(key(n), &mut Vec::new()).is_none() {
                    assert_eq!(crowd, 5, "{n} was pushed out");
                    cache.put(key(n), Verdict::Keep);
                }
            }
            cache.put(key(crowd), Verdict::Keep);
        }
    }

    #[test]
    fn nobody_waits_for_a_shard() {
        let cache = Cache::new(1, 1 << 20).unwrap();
        let held = cache.shards[0].lock().unwrap();
        assert_eq!(get(&cache, 1), None);
        cache.put(key(1), Verdict::Keep);
        drop(held);
        assert_eq!(get(&cache, 1), None);
        cache.put(key(1), Verdict::Keep);
        assert_eq!(get(&cache, 1), Some(Verdict::Keep));
    }

    #[test]
    fn without_room_there_is_no_cache() {
        assert!(Cache::new(0, 1000).is_none());
        assert!(Cache::new(1000, 0).is_none());
    }
}
