//! What the rules make of a label set: in a form that is short to keep and quick to apply to another batch.
//!
//! ```text
//! verdict   texts: n, then n x { hash u64, length, bytes }    those that a rule wrote; n and length are LEB128
//!           width: 1 or 4
//!           labels: { name, value } to the end                by rising name; each a number of that many bytes
//! name, value:  0..2k  the name (even) or value (odd) of label i/2 of the k labels as they came
//!               2k..   the texts
//! ```
//! Label sets with one hash have the same labels in the same order, so places in one are places in the other: what a
//! rule left alone is a number of one byte. The hashes of the texts find the symbol in a batch where the text is already.

use hashbrown::HashTable;
use model::series::{LabelHasher, SeriesBatch, Symbol, TooMuchText};

use super::labels::{Text, Working};

/// Why a series is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A rule says so, or left no label.
    Rules,
    /// The rules took the name of the metric away.
    NoName,
}

/// What becomes of a series. `Write` is an encoded verdict (see the module).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    Keep,
    Drop(Cause),
    Write(T),
}

/// Why a verdict could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error("a verdict of the rules does not fit its series")]
    Misfit,
    #[error(transparent)]
    TooMuchText(#[from] TooMuchText),
}

/// Appends the labels in `working` to `out`. `came` is the number of labels that the series had.
pub(super) fn encode(working: &Working, came: usize, hasher: &LabelHasher, out: &mut Vec<u8>) {
    let texts = || {
        let of_label = working.labels.iter().flat_map(|label| [label.name, label.value]);
        of_label.filter_map(
            |text| if let Text::Written { start, end } = text { Some((start, end)) } else { None },
        )
    };
    number(texts().count(), out);
    for (start, end) in texts() {
        let text = working.written_text(start, end);
        out.extend_from_slice(&hasher.text(text).to_le_bytes());
        number(text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
    let mut next = 2 * came;
    let places = working.labels.iter().flat_map(|label| [label.name, label.value]).map(|text| match text {
        Text::Came { place, .. } => place as usize,
        Text::Written { .. } => {
            next += 1;
            next - 1
        }
    });
    if 2 * (came + working.labels.len()) <= usize::from(u8::MAX) {
        out.push(1);
        out.extend(places.map(|place| place as u8));
    } else {
        out.push(4);
        places.for_each(|place| out.extend_from_slice(&(place as u32).to_le_bytes()));
    }
}

/// Writes verdicts into one batch. Its memory serves the next batch.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Texts of verdicts that the batch has by now, with their hashes.
    interned: HashTable<(u64, Symbol)>,
    places: Vec<Symbol>,
}

impl Writer {
    /// Forgets the batch before.
    pub(super) fn begin(&mut self) {
        self.interned.clear();
    }

    /// Gives the series at `index` the labels of an encoded verdict.
    pub(super) fn apply(
        &mut self,
        batch: &mut SeriesBatch,
        index: usize,
        verdict: &[u8],
    ) -> Result<(), ApplyError> {
        let Self { interned, places } = self;
        let mut read = Reader(verdict);
        places.clear();
        let series = batch.get(index).ok_or(ApplyError::Misfit)?;
        places.extend(series.labels().symbols().flat_map(|(name, value)| [name, value]));
        for _ in 0..read.number()? {
            let (hash, text) = read.text()?;
            places.push(intern(interned, batch, hash, text)?);
        }
        // Places are those of this very series, and texts stand in the table: a number that leads nowhere cannot be.
        let at = |place: usize| places.get(place).copied().unwrap_or_default();
        match read.0.split_first() {
            Some((1, labels)) => {
                let labels = labels.chunks_exact(2).map(|pair| (at(pair[0].into()), at(pair[1].into())));
                batch.set_known_labels(index, labels);
            }
            Some((4, labels)) => {
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
                let labels =
                    labels.chunks_exact(8).map(|pair| (at(number(&pair[..4])), at(number(&pair[4..]))));
                batch.set_known_labels(index, labels);
            }
            _ => return Err(ApplyError::Misfit),
        }
        Ok(())
    }
}

fn intern(
    interned: &mut HashTable<(u64, Symbol)>,
    batch: &mut SeriesBatch,
    hash: u64,
    text: &[u8],
) -> Result<Symbol, ApplyError> {
    let is_it =
        |(known, symbol): &(u64, Symbol)| *known == hash && batch.symbols().get(*symbol).as_bytes() == text;
    if let Some((_, symbol)) = interned.find(hash, is_it) {
        return Ok(*symbol);
    }
    let text = std::str::from_utf8(text).map_err(|_| ApplyError::Misfit)?;
    let symbol = batch.push_symbol(text)?;
    interned.insert_unique(hash, (hash, symbol), |(hash, _)| *hash);
    Ok(symbol)
}

fn number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<usize, ApplyError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ApplyError::Misfit)?;
            self.0 = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ApplyError::Misfit)
    }

    fn text(&mut self) -> Result<(u64, &'a [u8]), ApplyError> {
        let (hash, rest) = self.0.split_first_chunk::<8>().ok_or(ApplyError::Misfit)?;
        self.0 = rest;
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(ApplyError::Misfit)?;
        self.0 = rest;
        Ok((u64::from_le_bytes(*hash), text))
    }
}
