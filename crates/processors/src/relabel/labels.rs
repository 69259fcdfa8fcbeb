//! The labels of one series while rules run over them.
//!
//! A text is either one that the series came with, by number, or one that a rule wrote. What a rule writes is compared with
//! the texts that are there, so that copying a value copies a number.
//!
//! Order: kept by rising name. `labelmap` goes over labels as Prometheus's builder does: first those that no rule has
//! written, by name, then those written, in the order of their first writing. Where two names map to one, that decides.

use model::series::{Labels as SeriesLabels, METRIC_NAME, Symbol, Symbols};

use super::rules::Labels;

/// No rule may bring a series to more labels.
const MAX_LABELS: usize = 512;
/// A buffer of written texts that grew larger is not kept for the next series, in bytes.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// A name or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// As it came: the symbol, and its place among names and values of the series.
    Came { symbol: Symbol, place: u32 },
    /// Written by a rule.
    Written { start: usize, end: usize },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) name: Text,
    pub(super) value: Text,
    /// 0 for one that no rule wrote; the others count on in the order of writing.
    turn: u32,
}

/// The labels at hand. Its memory serves the next series.
#[derive(Debug, Default)]
pub(super) struct Working {
    pub(super) labels: Vec<Label>,
    written: String,
    turn: u32,
}

impl Working {
    /// Takes the labels of a series. One with an empty value is none.
    pub(super) fn load(&mut self, labels: &SeriesLabels<'_>, symbols: &Symbols) {
        self.labels.clear();
        self.written.clear();
        self.written.shrink_to(MAX_KEPT_BYTES);
        self.turn = 0;
        for (index, (name, value)) in labels.symbols().enumerate() {
            if !symbols.get(value).is_empty() {
                let came = |symbol, place| Text::Came { symbol, place: place as u32 };
                let (name, value) = (came(name, 2 * index), came(value, 2 * index + 1));
                self.labels.push(Label { name, value, turn: 0 });
            }
        }
    }

    /// Whether these are the labels of a series that came with `count` of them.
    pub(super) fn is_as_it_came(&self, count: usize) -> bool {
        let is_at = |text: Text, at: usize| matches!(text, Text::Came { place, .. } if place as usize == at);
        self.labels.len() == count
            && self
                .labels
                .iter()
                .enumerate()
                .all(|(n, label)| is_at(label.name, 2 * n) && is_at(label.value, 2 * n + 1))
    }

    /// A text that a rule wrote.
    pub(super) fn written_text(&self, start: usize, end: usize) -> &str {
        self.written.get(start..end).unwrap_or_default()
    }

    fn text<'a>(&'a self, symbols: &'a Symbols, text: Text) -> &'a str {
        match text {
            Text::Came { symbol, .. } => symbols.get(symbol),
            Text::Written { start, end } => self.written_text(start, end),
        }
    }

    fn find(&self, symbols: &Symbols, name: &str) -> Result<usize, usize> {
        self.labels.binary_search_by(|label| self.text(symbols, label.name).cmp(name))
    }

    /// The text among those here, or written anew.
    fn put(&mut self, symbols: &Symbols, text: &str) -> Text {
        let known = self.labels.iter().flat_map(|label| [label.value, label.name]);
        if let Some(known) = { known }.find(|known| self.text(symbols, *known) == text) {
            return known;
        }
        let start = self.written.len();
        self.written.push_str(text);
        Text::Written { start, end: self.written.len() }
    }
}

/// Labels as the rules see them.
pub(super) struct View<'a> {
    pub(super) symbols: &'a Symbols,
    pub(super) working: &'a mut Working,
}

impl View<'_> {
    /// Whether the series has the name of a metric.
    pub(super) fn has_name(&self) -> bool {
        self.working.find(self.symbols, METRIC_NAME).is_ok()
    }
}

impl Labels for View<'_> {
    fn append(&self, name: &str, out: &mut String) {
        if let Ok(index) = self.working.find(self.symbols, name) {
            out.push_str(self.working.text(self.symbols, self.working.labels[index].value));
        }
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(&str)) {
        let name = |label: &Label| self.working.text(self.symbols, label.name);
        self.working.labels.iter().filter(|label| label.turn == 0).for_each(|label| visit(name(label)));
        let mut written: Vec<&Label> = self.working.labels.iter().filter(|label| label.turn > 0).collect();
        written.sort_unstable_by_key(|label| label.turn);
        written.into_iter().for_each(|label| visit(name(label)));
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn set(&mut self, name: &str, value: &str) -> bool {
        let place = self.working.find(self.symbols, name);
        if place.is_err() && self.working.labels.len() >= MAX_LABELS {
            return false;
        }
        let value = self.working.put(self.symbols, value);
        match place {
            Ok(index) => {
                let is_first = self.working.labels[index].turn == 0;
                self.working.turn += u32::from(is_first);
                let turn = self.working.turn;
                let label = &mut self.working.labels[index];
                label.turn = if is_first { turn } else { label.turn };
                label.value = value;
            }
            Err(index) => {
                self.working.turn += 1;
                let name = self.working.put(self.symbols, name);
                self.working.labels.insert(index, Label { name, value, turn: self.working.turn });
            }
        }
        true
    }

    fn remove(&mut self, name: &str) {
        if let Ok(index) = self.working.find(self.symbols, name) {
            self.working.labels.remove(index);
        }
    }
}
