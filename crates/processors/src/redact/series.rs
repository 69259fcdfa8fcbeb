//! `redact` on batches of Prometheus series: the texts of a batch stand in one table, each once, so each is judged once.
//!
//! ```text
//! text of all symbols ──one SIMD scan──> anchors            none: the same batch goes on
//!        │                                  │
//!        └──symbols with an anchor in them──detector──> new texts ──> table ──> labels sorted again, equal series merged
//! ```
//! The table has every text of a batch: names and values of labels, those of exemplars, help texts and units, names of
//! families. A batch holds nothing else but numbers.
//!
//! `keep_keys` names labels here. A text that is content under one label and a peer under another becomes two texts.
//!
//! A label whose name or value is cut out whole (`action: drop`) is none any more; a series without its name is dropped with the
//! reason `no_metric_name`. Where two labels of one series have the same name afterwards the first stays. Series that have the
//! same labels afterwards are merged (see `collisions.rs`): two spellings of one peer become one series by `pseudonym`, all peers
//! become one series by `mask`, which is seldom what is wanted of metrics.
//!
//! Invariant: closed when in doubt, as for OTLP: what cannot be replaced refuses the batch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use ::redact::{Counts, Redactor, Replacement};
use engine::ProcessError;
use model::series::{METRIC_NAME, SeriesBatch, Symbol, SymbolHashes};

use super::{Found, Mode, Redact, refused};
use crate::collisions::NO_NAME;

/// A symbol in which something was found.
struct Hit {
    symbol: Symbol,
    text: String,
    counts: Counts,
    /// What becomes of it as the value of a label in `keep_keys`, where that is something else.
    kept: Option<(String, Counts)>,
    uses: Uses,
}

/// Where a symbol with two fates stands.
#[derive(Clone, Copy, Default)]
struct Uses {
    as_kept: bool,
    otherwise: bool,
}

impl Redact {
    /// The batch without ids.
    pub(super) fn redact_series(
        &self,
        mut batch: Arc<SeriesBatch>,
    ) -> Result<Arc<SeriesBatch>, ProcessError> {
        let text = batch.symbols().text().as_bytes();
        self.counters.bytes.increment(text.len() as u64);
        let mut anchors = Vec::new();
        self.redactor.anchors(text, &mut anchors);
        if anchors.is_empty() {
            return Ok(batch);
        }
        let (mut hits, mut found) = self.hits(&batch, &anchors);
        if hits.iter().any(|hit| hit.kept.is_some()) {
            self.find_uses(&batch, &mut hits);
        }
        hits.iter().for_each(|hit| hit.count(&mut found.counts));
        self.counters.count(&found);
        if hits.is_empty() || self.mode != Mode::Enforce {
            return Ok(batch);
        }
        self.replace(Arc::make_mut(&mut batch), &hits)?;
        Ok(batch)
    }

    /// Asks the detectors about each symbol with an anchor in it. What was looked at in vain is counted in `Found`.
    fn hits(&self, batch: &SeriesBatch, mut anchors: &[u32]) -> (Vec<Hit>, Found) {
        let (mut hits, mut found) = (Vec::new(), Found::default());
        let mut end = 0;
        for (number, text) in batch.symbols().iter().enumerate() {
            let start = end;
            end += text.len();
            let here = anchors.partition_point(|anchor| (*anchor as usize) < end);
            let (within, rest) = anchors.split_at(here);
            anchors = rest;
            if within.is_empty() {
                continue;
            }
            let judge = |redactor: &Redactor| redacted(redactor, text, start as u32, within);
            let (strict, counts) = judge(&self.redactor);
            if counts.findings() == 0 {
                found.counts.add(&counts);
                continue;
            }
            let kept = (!self.keep_keys.is_empty())
                .then(|| judge(&self.lenient))
                .filter(|(lenient, _)| *lenient != strict);
            hits.push(Hit {
                symbol: Symbol(number as u32),
                text: strict,
                counts,
                kept,
                uses: Uses::default(),
            });
        }
        (hits, found)
    }

    /// Looks where the symbols stand that have two fates.
    fn find_uses(&self, batch: &SeriesBatch, hits: &mut [Hit]) {
        let two_fates = hits.iter_mut().filter(|hit| hit.kept.is_some());
        let mut of: HashMap<Symbol, &mut Uses> = two_fates.map(|hit| (hit.symbol, &mut hit.uses)).collect();
        let mut see = |symbol: Symbol, as_kept: bool| {
            if let Some(uses) = of.get_mut(&symbol) {
                uses.as_kept |= as_kept;
                uses.otherwise |= !as_kept;
            }
        };
        let symbols = batch.symbols();
        for series in batch.iter() {
            let of_exemplars = series.exemplars().flat_map(|exemplar| exemplar.labels.symbols());
            for (name, value) in series.labels().symbols().chain(of_exemplars) {
                see(name, false);
                see(value, self.keep_keys.contains(symbols.get(name)));
            }
            see(series.metadata().help, false);
            see(series.metadata().unit, false);
        }
        for family in batch.families() {
            see(family.name, false);
            see(family.metadata.help, false);
            see(family.metadata.unit, false);
        }
    }

    fn replace(&self, batch: &mut SeriesBatch, hits: &[Hit]) -> Result<(), ProcessError> {
        let too_large = |_| refused("the texts would grow over 4 GiB");
        let mut kept = HashMap::new();
        for hit in hits.iter().filter(|hit| hit.uses.as_kept) {
            if let Some((text, _)) = &hit.kept {
                kept.insert(hit.symbol, batch.push_symbol(text).map_err(too_large)?);
            }
        }
        if !kept.is_empty() {
            batch.retarget_values(|symbols, name, value| {
                let value = kept.get(&value)?;
                self.keep_keys.contains(symbols.get(name)).then_some(*value)
            });
        }
        let had_name: Option<Vec<bool>> = hits
            .iter()
            .any(|hit| hit.text.is_empty())
            .then(|| batch.iter().map(|series| series.labels().get(METRIC_NAME).is_some()).collect());
        let (mut number, mut next) = (0, hits.iter().peekable());
        let replaced = batch
            .replace_symbols(|_| {
                number += 1;
                next.next_if(|hit| hit.symbol == Symbol(number)).map(|hit| Cow::Borrowed(hit.text.as_str()))
            })
            .map_err(too_large)?;
        if replaced.len() != hits.len() {
            return Err(refused("what was found led to no edit"));
        }
        if let Some(had_name) = had_name {
            self.drop_nameless(batch, &had_name);
        }
        let mut symbols = SymbolHashes::default();
        self.hasher.symbols(batch.symbols(), &mut symbols);
        let hashes: Vec<u128> = batch.iter().map(|series| symbols.labels(&series.labels())).collect();
        self.collisions.merge(batch, &hashes);
        Ok(())
    }

    fn drop_nameless(&self, batch: &mut SeriesBatch, had_name: &[bool]) {
        let keep: Vec<bool> = batch
            .iter()
            .zip(had_name)
            .map(|(series, had)| !had || series.labels().get(METRIC_NAME).is_some())
            .collect();
        let before = batch.items();
        batch.retain(|index| keep[index]);
        if before > batch.items() {
            self.metrics.dropped(NO_NAME, (before - batch.items()) as u64);
        }
    }
}

impl Hit {
    /// A text with two fates counts as often as it met one.
    fn count(&self, counts: &mut Counts) {
        match &self.kept {
            Some((_, lenient)) => {
                if self.uses.as_kept {
                    counts.add(lenient);
                }
                if self.uses.otherwise {
                    counts.add(&self.counts);
                }
            }
            None => counts.add(&self.counts),
        }
    }
}

/// `text` with everything replaced. It stands at `base` of the text that was searched.
fn redacted(redactor: &Redactor, text: &str, base: u32, anchors: &[u32]) -> (String, Counts) {
    let mut counts = Counts::default();
    let (mut out, mut copied) = (Vec::new(), 0);
    let mut replace = |found: Replacement<'_>| {
        out.extend_from_slice(&text.as_bytes()[copied..found.range.start]);
        out.extend_from_slice(found.bytes);
        copied = found.range.end;
    };
    redactor.redact_text_at(text.as_bytes(), base, anchors, &mut counts, &mut replace);
    out.extend_from_slice(&text.as_bytes()[copied..]);
    // Ids are ASCII, so the edges of a finding are edges of characters; were they not, nothing of it may stay.
    (String::from_utf8(out).unwrap_or_else(|_| "[redacted]".to_owned()), counts)
}
