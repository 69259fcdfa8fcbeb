//! The text of a batch of series: every label name and value once, numbered.
//!
//! ```text
//! text  "" job p2p instance 10.0.0.1:9090 ...        one string, no allocation a symbol
//! ends  0   3   6    14          27                   symbol n is text[ends[n-1]..ends[n]]; symbol 0 is the empty string
//! ```
//!
//! Two symbols may hold the same text (a sender's table is taken as it is). Comparing texts is therefore comparing strings.

use std::borrow::Cow;

/// The number of a text in the table of its batch. It means nothing in another batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

impl Symbol {
    /// The empty string, in every table.
    pub const EMPTY: Self = Self(0);
}

/// A table of texts. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    text: String,
    ends: Vec<u32>,
}

/// The texts of one batch hold more than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the label names and values of one request hold more than 4 GiB")]
pub struct TooMuchText;

impl Default for Symbols {
    fn default() -> Self {
        Self { text: String::new(), ends: vec![0] }
    }
}

impl Symbols {
    /// Texts in the table, the empty one counted.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never: symbol 0 is always there.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }

    /// The text of a symbol; the empty string for a number that is not in the table.
    #[inline]
    pub fn get(&self, symbol: Symbol) -> &str {
        self.text.get(self.range(symbol)).unwrap_or_default()
    }

    /// The same as bytes, which saves looking for the edges of characters.
    #[inline]
    pub(super) fn bytes(&self, symbol: Symbol) -> &[u8] {
        self.text.as_bytes().get(self.range(symbol)).unwrap_or_default()
    }

    #[inline]
    fn range(&self, symbol: Symbol) -> std::ops::Range<usize> {
        let n = symbol.0 as usize;
        let start = n.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(n).map_or(start, |end| *end as usize);
        start..end
    }

    /// Whether the text of a symbol is empty, which numbers that are not in the table have too. Cheaper than [`Self::get`].
    #[inline]
    pub fn is_blank(&self, symbol: Symbol) -> bool {
        match (symbol.0 as usize).checked_sub(1) {
            Some(before) => self.ends.get(before + 1).is_none_or(|end| self.ends[before] == *end),
            None => true,
        }
    }

    /// All of them in order, from the empty one on.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.iter_from(0)
    }

    /// Those from number `first` on.
    pub fn iter_from(&self, first: usize) -> impl ExactSizeIterator<Item = &str> {
        (first..self.len().max(first)).map(|n| self.get(Symbol(n as u32)))
    }

    /// All of them one after another without anything between, in the order of [`Self::iter`]: for searches that go over
    /// everything at once. Less than 4 GiB.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a text at the end, without looking whether it is there.
    ///
    /// # Errors
    /// When the table would pass 4 GiB.
    pub fn push(&mut self, text: &str) -> Result<Symbol, TooMuchText> {
        let end = u32::try_from(self.text.len() + text.len()).map_err(|_| TooMuchText)?;
        let symbol = Symbol(u32::try_from(self.ends.len()).map_err(|_| TooMuchText)?);
        self.text.push_str(text);
        self.ends.push(end);
        Ok(symbol)
    }

    /// Replaces the texts for which `change` has another one; returns the symbols changed. Symbol 0 stays.
    ///
    /// # Errors
    /// When the table would pass 4 GiB; nothing is changed then.
    pub fn replace<'s>(
        &mut self,
        mut change: impl FnMut(&str) -> Option<Cow<'s, str>>,
    ) -> Result<Vec<Symbol>, TooMuchText> {
        let mut changed: Vec<(Symbol, Cow<'s, str>)> = Vec::new();
        for n in 1..self.len() {
            let symbol = Symbol(n as u32);
            if let Some(text) = change(self.get(symbol)) {
                changed.push((symbol, text));
            }
        }
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let mut new =
            Self { text: String::with_capacity(self.text.len()), ends: Vec::with_capacity(self.ends.len()) };
        new.ends.push(0);
        let mut next = changed.iter().peekable();
        for n in 1..self.len() {
            let symbol = Symbol(n as u32);
            match next.next_if(|(changed, _)| *changed == symbol) {
                Some((_, text)) => new.push(text)?,
                None => new.push(self.get(symbol))?,
            };
        }
        *self = new;
        Ok(changed.into_iter().map(|(symbol, _)| symbol).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_by_number() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.push("job").unwrap(), symbols.push("").unwrap());
        let c = symbols.push("näme").unwrap();
        assert_eq!([a, b, c].map(|s| symbols.get(s)), ["job", "", "näme"]);
        assert_eq!(symbols.get(Symbol::EMPTY), "");
        assert_eq!(symbols.get(Symbol(99)), "");
        assert_eq!(
            [Symbol::EMPTY, a, b, c, Symbol(99)].map(|s| symbols.is_blank(s)),
            [true, false, true, false, true]
        );
        assert_eq!(symbols.iter().collect::<Vec<_>>(), ["", "job", "", "näme"]);
    }

    #[test]
    fn replaced_texts_keep_their_numbers() {
        let mut symbols = Symbols::default();
        for text in ["one", "two", "three", "two"] {
            symbols.push(text).unwrap();
        }
        let changed = symbols.replace(|text| (text == "two").then_some(Cow::Borrowed("zwei!"))).unwrap();
        assert_eq!(changed, [Symbol(2), Symbol(4)]);
        assert_eq!(symbols.iter().collect::<Vec<_>>(), ["", "one", "zwei!", "three", "zwei!"]);
        let before = symbols.clone();
        assert_eq!(symbols.replace(|_| None).unwrap(), []);
        assert_eq!(symbols, before);
    }
}
