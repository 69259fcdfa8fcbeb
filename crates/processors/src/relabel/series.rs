//! `relabel` on batches of series: the rules, and a memory for what they made of each label set.
//!
//! ```text
//! symbols of the batch --hashed once--> hash of each label set --cache--> verdict: keep | drop | other labels
//!                                                              miss: the rules run, and their verdict is kept
//! ```
//! A series seen before costs a hash and a look-up. First all verdicts are collected, then those are applied that change
//! something; if none does, the batch goes on as it is, shared or not.
//!
//! What is left without any label is dropped, as Prometheus does when it scrapes. So is a series whose name the rules took
//! away (reason `no_metric_name`): Prometheus would send it, and every receiver that follows it refuse it. A series that
//! came without a name goes on. The rules see neither exemplars nor metadata, as in Prometheus.
//!
//! Invariant: with and without the cache, whatever its size, the result is the same.

use std::cell::RefCell;
use std::sync::Arc;

use engine::{ComponentMetrics, ProcessError};
use metrics::{Counter, Gauge};
use model::series::{LabelHasher, SeriesBatch, SeriesRef, SymbolHashes};

use super::CacheConfig;
use super::cache::Cache;
use super::labels::{View, Working};
use super::rules::{Rules, Scratch};
use super::verdict::{ApplyError, Cause, Verdict, Writer, encode};
use crate::collisions::{Collisions, NO_NAME};

/// The rules for series with what belongs to them.
pub(super) struct SeriesRelabel {
    rules: Rules,
    hasher: LabelHasher,
    cache: Option<Cache>,
    hits: Counter,
    misses: Counter,
    entries: Gauge,
    refused: Counter,
    collisions: Collisions,
    metrics: ComponentMetrics,
}

/// What serves the next batch on the same thread.
#[derive(Default)]
struct Memory {
    symbols: SymbolHashes,
    hashes: Vec<u128>,
    verdicts: Vec<Verdict<(usize, usize)>>,
    encoded: Vec<u8>,
    working: Working,
    scratch: Scratch,
    writer: Writer,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl SeriesRelabel {
    pub(super) fn new(rules: Rules, cache: &CacheConfig, metrics: &ComponentMetrics) -> Self {
        Self {
            rules,
            hasher: LabelHasher::new(),
            cache: Cache::new(cache.max_series, cache.max_bytes),
            hits: metrics.counter("floodway_relabel_cache_hits_total", &[]),
            misses: metrics.counter("floodway_relabel_cache_misses_total", &[]),
            entries: metrics.gauge("floodway_relabel_cache_entries", &[]),
            refused: metrics.counter("floodway_relabel_refused_writes_total", &[]),
            collisions: Collisions::new(metrics),
            metrics: metrics.clone(),
        }
    }

    /// The batch as the rules leave it.
    pub(super) fn process(
        &self,
        mut batch: Arc<SeriesBatch>,
    ) -> Result<Option<Arc<SeriesBatch>>, ProcessError> {
        MEMORY.with_borrow_mut(|memory| {
            self.judge(&batch, memory);
            if memory.verdicts.iter().all(|verdict| *verdict == Verdict::Keep) {
                return Ok(Some(batch));
            }
            self.apply(Arc::make_mut(&mut batch), memory).map_err(|error| ProcessError {
                reason: "relabel_failed",
                message: format!("the relabeled series cannot be written: {error}; the request is refused"),
            })?;
            Ok((!batch.is_empty()).then_some(batch))
        })
    }

    /// Finds the verdict on each series.
    fn judge(&self, batch: &SeriesBatch, memory: &mut Memory) {
        self.hasher.symbols(batch.symbols(), &mut memory.symbols);
        memory.hashes.clear();
        memory.verdicts.clear();
        memory.encoded.clear();
        let mut misses = 0;
        for series in batch.iter() {
            let hash = memory.symbols.labels(&series.labels());
            let known = self.cache.as_ref().and_then(|cache| cache.get(hash, &mut memory.encoded));
            let verdict = known.unwrap_or_else(|| {
                misses += 1;
                self.run_rules(batch, &series, hash, memory)
            });
            memory.hashes.push(hash);
            memory.verdicts.push(verdict);
        }
        self.count(batch.len() as u64, misses, memory);
    }

    fn run_rules(
        &self,
        batch: &SeriesBatch,
        series: &SeriesRef<'_>,
        hash: u128,
        memory: &mut Memory,
    ) -> Verdict<(usize, usize)> {
        let Memory { working, scratch, encoded, .. } = memory;
        let labels = series.labels();
        working.load(&labels, batch.symbols());
        let mut view = View { symbols: batch.symbols(), working };
        let had_name = view.has_name();
        let is_kept = self.rules.apply(&mut view, scratch);
        let has_name = view.has_name();
        let start = encoded.len();
        let verdict = match is_kept && !working.labels.is_empty() {
            false => Verdict::Drop(Cause::Rules),
            true if had_name && !has_name => Verdict::Drop(Cause::NoName),
            true if working.is_as_it_came(labels.len()) => Verdict::Keep,
            true => {
                encode(working, labels.len(), &self.hasher, encoded);
                Verdict::Write((start, encoded.len()))
            }
        };
        if let Some(cache) = &self.cache {
            cache.put(
                hash,
                match verdict {
                    Verdict::Keep => Verdict::Keep,
                    Verdict::Drop(cause) => Verdict::Drop(cause),
                    Verdict::Write((start, end)) => Verdict::Write(&encoded[start..end]),
                },
            );
        }
        verdict
    }

    fn count(&self, series: u64, misses: u64, memory: &mut Memory) {
        if let Some(cache) = &self.cache {
            self.hits.increment(series - misses);
            self.misses.increment(misses);
            if misses > 0 {
                self.entries.set(cache.len() as f64);
            }
        }
        let refused = std::mem::take(&mut memory.scratch.refused);
        if refused > 0 {
            self.refused.increment(refused);
        }
    }

    /// Does what the verdicts say.
    fn apply(&self, batch: &mut SeriesBatch, memory: &mut Memory) -> Result<(), ApplyError> {
        let Memory { symbols, hashes, verdicts, encoded, writer, .. } = memory;
        writer.begin();
        let mut dropped = [(Cause::Rules, "relabel", 0), (Cause::NoName, NO_NAME, 0)];
        for (index, verdict) in verdicts.iter().enumerate() {
            match verdict {
                Verdict::Keep => {}
                Verdict::Drop(cause) => {
                    let items = batch.get(index).map_or(0, |series| series.items()) as u64;
                    dropped.iter_mut().filter(|(of, ..)| of == cause).for_each(|(.., sum)| *sum += items);
                }
                Verdict::Write((start, end)) => writer.apply(batch, index, &encoded[*start..*end])?,
            }
        }
        let stays = |index: usize| !matches!(verdicts[index], Verdict::Drop(_));
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Write(_))) {
            self.hasher.added(batch.symbols(), symbols);
            for (index, series) in batch.iter().enumerate() {
                if matches!(verdicts[index], Verdict::Write(_)) {
                    hashes[index] = symbols.labels(&series.labels());
                }
            }
            let mut index = 0;
            hashes.retain(|_| {
                index += 1;
                stays(index - 1)
            });
            batch.retain(stays);
            self.collisions.merge(batch, hashes);
        } else {
            batch.retain(stays);
        }
        // Counted at the end: what is refused by an error was not dropped here.
        for (_, reason, items) in dropped {
            if items > 0 {
                self.metrics.dropped(reason, items);
            }
        }
        Ok(())
    }
}
