//! `floodway redact`: standard input to standard output, peer ids replaced.
//!
//! Input is any bytes. It is worked on in whole lines, as soon as they are there, so that it can stand behind `tail -f`; a line
//! longer than [`BUFFER`] is worked on in pieces that never part an id.
//!
//! Invariant: memory is bounded by [`BUFFER`], whatever the input.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use config::Log;
use redact::{Counts, Key, Keyring, Options, Redactor};

use crate::cli::RedactArgs;
use crate::logging;

/// The quickstart pipeline's key, so that both give the same pseudonyms.
const DEFAULT_KEY_FILE: &str = "./floodway-data/redact.key";
/// Bytes of input held at most.
const BUFFER: usize = 1 << 20;
/// A longer line is parted at least this many bytes before the end of what is there: no id is that long.
const MARGIN: usize = 16 << 10;

pub(crate) fn run(args: &RedactArgs) -> anyhow::Result<ExitCode> {
    // For what is worth a warning, such as a key file that everybody may read.
    logging::start(&Log { level: "warn".to_owned(), ..Log::default() })?;
    let keyring = keyring(args)?;
    let options = Options { qm_bare: args.qm_bare, ..Options::all(args.action) };
    let redactor = Redactor::new(options, keyring.as_ref())?;
    let mut stream =
        Stream { redactor: &redactor, counts: Counts::default(), bytes: 0, out: io::stdout().lock() };
    match stream.copy(&mut io::stdin().lock()) {
        // The reader has seen enough.
        Err(Failure::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(Failure::Write(error)) => return Err(error).context("cannot write to standard output"),
        Err(Failure::Read(error)) => return Err(error).context("cannot read standard input"),
        Ok(()) => {}
    }
    if args.stats {
        super::note(&stats(stream.bytes, &stream.counts));
    }
    Ok(ExitCode::SUCCESS)
}

fn keyring(args: &RedactArgs) -> anyhow::Result<Option<Keyring>> {
    let key = match &args.key_file {
        Some(path) => Key::from_file(path)?,
        None if !args.action.needs_key() => return Ok(None),
        None => {
            let (key, is_new) = Key::load_or_generate(Path::new(DEFAULT_KEY_FILE))?;
            if is_new {
                super::note(&format!(
                    "floodway: made a new key, {DEFAULT_KEY_FILE}; keep it to get the same pseudonyms again\n"
                ));
            }
            key
        }
    };
    Ok(Some(Keyring::new(key)))
}

fn stats(bytes: u64, counts: &Counts) -> String {
    let mut text = format!("floodway: {bytes} bytes read, {} ids replaced\n", counts.findings());
    for (class, of) in counts.iter().filter(|(_, of)| of.candidates > 0) {
        let _ = writeln!(
            text,
            "  {}: {} whole, {} partial; {} looked like one and were not",
            class.name(),
            of.confirmed,
            of.partial,
            of.rejected
        );
    }
    text
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
}

struct Stream<'r, W> {
    redactor: &'r Redactor,
    counts: Counts,
    bytes: u64,
    out: W,
}

impl<W: Write> Stream<'_, W> {
    fn copy(&mut self, input: &mut impl Read) -> Result<(), Failure> {
        let mut buffer = vec![0; BUFFER];
        let mut held = 0;
        loop {
            let read = match input.read(&mut buffer[held..]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Read(error)),
            };
            self.bytes += read as u64;
            let filled = held + read;
            let ready = match memchr::memrchr(b'\n', &buffer[held..filled]) {
                Some(at) => held + at + 1,
                None if filled == buffer.len() => self.part(&buffer),
                None => 0,
            };
            self.write(&buffer[..ready])?;
            buffer.copy_within(ready..filled, 0);
            held = filled - ready;
        }
        self.write(&buffer[..held])
    }

    fn write(&mut self, text: &[u8]) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let redacted = self.redactor.redact_line(text, &mut self.counts);
        self.out.write_all(&redacted).and_then(|()| self.out.flush()).map_err(Failure::Write)
    }

    /// Where a line that fills the buffer may be parted: not inside an id, as far as can be seen, and well before the end, since
    /// an id may go on behind it.
    fn part(&self, text: &[u8]) -> usize {
        let mut at = text.len() - MARGIN;
        self.redactor.redact_text(text, &mut Counts::default(), &mut |found| {
            if found.range.start < at && found.range.end > at {
                at = found.range.start;
            }
        });
        // Something that claims to be one id of half a buffer is none.
        if at < text.len() / 2 { text.len() / 2 } else { at }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use redact::Action;

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn redactor() -> Redactor {
        let key = Key::parse(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
        Redactor::new(Options::all(Action::Pseudonym), Some(&Keyring::new(key))).unwrap()
    }

    /// Hands out its input in the given pieces.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.0.pop_front() else {
                return Ok(0);
            };
            let n = piece.len().min(buffer.len());
            buffer[..n].copy_from_slice(&piece[..n]);
            if n < piece.len() {
                self.0.push_front(piece.split_off(n));
            }
            Ok(n)
        }
    }

    fn redacted(pieces: Vec<Vec<u8>>) -> Vec<u8> {
        let redactor = redactor();
        let mut stream = Stream { redactor: &redactor, counts: Counts::default(), bytes: 0, out: Vec::new() };
        assert!(stream.copy(&mut Pieces(pieces.into())).is_ok());
        stream.out
    }

    #[test]
    fn ids_in_a_line_longer_than_the_buffer_are_all_replaced() {
        // No white space anywhere, and ids at every phase relative to the parting places.
        let mut line = Vec::new();
        while line.len() < 3 * BUFFER {
            line.extend_from_slice(format!("/p2p/{PEER}/{}", "x".repeat(line.len() % 61)).as_bytes());
        }
        let out = String::from_utf8(redacted(vec![line])).unwrap();
        assert!(!out.contains("12D3Koo"), "an id was parted");
        assert!(!out.contains(&PEER[30..]), "an id was parted");
    }

    proptest! {
        #[test]
        fn how_the_input_arrives_does_not_matter(
            words in prop::collection::vec(prop::sample::select(vec![PEER, " ", "\n", "peer=", "\u{0}", "x", "/ip4/10.0.0.1/tcp/4001/p2p/"]), 0..60),
            cuts in prop::collection::vec(1usize..40, 1..60),
        ) {
            let input = words.concat().into_bytes();
            let mut pieces = Vec::new();
            let mut rest = input.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            pieces.push(rest.to_vec());
            pieces.retain(|piece| !piece.is_empty());
            prop_assert_eq!(redacted(pieces), redacted(vec![input]));
        }

        #[test]
        fn text_without_ids_is_untouched(input in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(redacted(vec![input.clone()]), input);
        }
    }
}
