//! Keys for pseudonyms, and the files they live in.
//!
//! A key is 32 random bytes or more. In a file it stands as hex or base64 text, or raw. Whoever has the key can compute
//! the pseudonym of any peer that they know of, so a key file is as secret as the ids themselves; destroying it is what
//! turns pseudonyms into anonymous names.
//!
//! Each key has a key id of two letters, which every pseudonym carries, so that names made under different keys are
//! not taken for the same peer. It is derived from the key by HMAC unless given:
//! ```text
//! key id       first 10 bits of HMAC(key, "floodway1" 00 "kid"), two characters of a-z2-7
//! fingerprint  first 64 bits of HMAC(key, "floodway1" 00 "fingerprint"), hex
//! ```
//! Invariants: key bytes are wiped on drop and never printed; a key file is created whole or not at all, with mode 0600,
//! and never overwritten.
//!
//! Not here: rotation by time, and fetching keys from anywhere but files.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::Base;

/// Least length of a key, in bytes.
pub const MIN_KEY_BYTES: usize = 32;
/// Largest key file that is read, in bytes.
const MAX_KEY_FILE: u64 = 4096;
const HOW_TO: &str = "make one with: openssl rand -hex 32 > FILE && chmod 600 FILE";

/// What is wrong with a key or its file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read.
    #[error("cannot read the key file {}; {HOW_TO}", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot create the key file {}; does its folder exist, and may this user write there?", path.display())]
    Write {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is a file already; it is left as it is.
    #[error("the key file {} exists already and is not overwritten: a lost key cannot be made again", .0.display())]
    Exists(PathBuf),
    /// The file holds something, but no key.
    #[error("the key file {} holds no key", path.display())]
    Content {
        /// The key file.
        path: PathBuf,
        /// What is wrong with its content.
        #[source]
        source: Box<KeyError>,
    },
    /// Fewer than 32 bytes.
    #[error("a key needs {MIN_KEY_BYTES} random bytes (64 hex digits), this has {0}; {HOW_TO}")]
    TooShort(usize),
    /// Larger than any sensible key.
    #[error("a key file has at most {MAX_KEY_FILE} bytes; is this the right file?")]
    TooLong,
    /// Text that is neither hex nor base64.
    #[error(
        "this is text, but neither hex nor base64, perhaps a passphrase, and those can be guessed; {HOW_TO}"
    )]
    Passphrase,
    /// All bytes are equal.
    #[error("all bytes of this key are the same, so it is no random key; {HOW_TO}")]
    NotRandom,
    /// A key id of the wrong form.
    #[error("the key id {0:?} is not two characters out of a-z and 2-7, such as \"a7\"")]
    BadKeyId(String),
    /// Two keys of a keyring have the same key id.
    #[error("two keys have the key id {0:?}: give one of them another")]
    SameKeyId(String),
    /// The system has no random numbers to give.
    #[error("the system gave no random bytes for a new key: {0}")]
    NoRandom(String),
}

/// A secret key with its key id.
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<Vec<u8>>,
    kid: [u8; 2],
}

impl Key {
    /// A key out of random bytes. The bytes are wiped when the key goes.
    ///
    /// # Errors
    /// [`KeyError::TooShort`], [`KeyError::NotRandom`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort(bytes.len()));
        }
        if bytes.iter().all(|&byte| byte == bytes[0]) {
            return Err(KeyError::NotRandom);
        }
        let digest = derive(&bytes, b"kid");
        let bits = u16::from_be_bytes([digest[0], digest[1]]) >> 6;
        let kid = [base32_char(bits >> 5), base32_char(bits)];
        Ok(Self { bytes, kid })
    }

    /// A key out of the content of a key file: hex or base64 text (space around it is ignored), or raw bytes.
    ///
    /// # Errors
    /// As [`Key::new`], and [`KeyError::Passphrase`] for other text.
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        let text = content.trim_ascii();
        if !text.iter().all(|byte| byte.is_ascii_graphic()) {
            let is_prose = text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
            return if is_prose { Err(KeyError::Passphrase) } else { Self::new(content.to_vec()) };
        }
        if text.len().is_multiple_of(2) && text.iter().all(|&byte| Base::Hex.contains(byte)) {
            return Self::new(decode_long(text, Base::Hex, 2));
        }
        let unpadded = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
        if unpadded.iter().all(|&byte| Base::B64.contains(byte)) {
            return Self::new(decode_long(unpadded, Base::B64, 4));
        }
        Err(KeyError::Passphrase)
    }

    /// Reads a key file. Warns in the log when others may read it.
    ///
    /// # Errors
    /// [`KeyError::Read`], or [`KeyError::Content`] with what is wrong inside.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        warn_if_exposed(path, &file);
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize + 1));
        file.take(MAX_KEY_FILE + 1).read_to_end(&mut content).map_err(failed)?;
        let key =
            if content.len() as u64 > MAX_KEY_FILE { Err(KeyError::TooLong) } else { Self::parse(&content) };
        key.map_err(|source| KeyError::Content { path: path.to_owned(), source: Box::new(source) })
    }

    /// A new random key of 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = vec![0u8; MIN_KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::NoRandom(error.to_string()))?;
        Self::new(bytes)
    }

    /// Makes a new key and a file for it, readable by its owner alone. The file appears with its whole content, or
    /// not at all.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when there is a file already; [`KeyError::Write`].
    pub fn generate_file(path: &Path) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        let mut text = Zeroizing::new(String::with_capacity(2 * key.bytes.len() + 1));
        for byte in key.bytes.iter() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text.push('\n');
        match create_whole(path, text.as_bytes()) {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KeyError::Exists(path.to_owned()))
            }
            Err(source) => Err(KeyError::Write { path: path.to_owned(), source }),
        }
    }

    /// Reads the key file, or makes it (and its folder) if there is none. The flag says whether it was made.
    ///
    /// # Errors
    /// As [`Key::from_file`] and [`Key::generate_file`]. A file that holds no key is an error, never replaced.
    pub fn load_or_generate(path: &Path) -> Result<(Self, bool), KeyError> {
        let exists = path.try_exists().map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        if exists {
            return Ok((Self::from_file(path)?, false));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| KeyError::Write { path: path.to_owned(), source })?;
        }
        match Self::generate_file(path) {
            Ok(key) => Ok((key, true)),
            // Another process was faster.
            Err(KeyError::Exists(_)) => Ok((Self::from_file(path)?, false)),
            Err(error) => Err(error),
        }
    }

    /// The same key under another key id: two characters out of `a-z2-7`.
    ///
    /// # Errors
    /// [`KeyError::BadKeyId`].
    pub fn with_kid(mut self, kid: &str) -> Result<Self, KeyError> {
        match *kid.as_bytes() {
            [a, b] if [a, b].iter().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')) => {
                self.kid = [a, b];
                Ok(self)
            }
            _ => Err(KeyError::BadKeyId(kid.to_owned())),
        }
    }

    /// The key id, two characters out of `a-z2-7`. Not secret.
    #[must_use]
    pub fn kid(&self) -> &str {
        // Always ASCII: it is made of base32 characters.
        std::str::from_utf8(&self.kid).unwrap_or_default()
    }

    /// 16 hex digits that tell keys apart, for logs and configuration dumps. Not secret.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        derive(&self.bytes, b"fingerprint")[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn kid_bytes(&self) -> [u8; 2] {
        self.kid
    }

    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        mac(&self.bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid()).field("fingerprint", &self.fingerprint()).finish()
    }
}

/// The key in use, and older ones whose pseudonyms are still about.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// A keyring that makes pseudonyms with `active`.
    #[must_use]
    pub fn new(active: Key) -> Self {
        Self { keys: vec![active] }
    }

    /// Adds a key that makes no new pseudonyms but is used for look-ups.
    ///
    /// # Errors
    /// [`KeyError::SameKeyId`] when a key with this key id is there already.
    pub fn with_retired(mut self, key: Key) -> Result<Self, KeyError> {
        if self.get(key.kid()).is_some() {
            return Err(KeyError::SameKeyId(key.kid().to_owned()));
        }
        self.keys.push(key);
        Ok(self)
    }

    /// The key that makes pseudonyms.
    #[must_use]
    pub fn active(&self) -> &Key {
        &self.keys[0]
    }

    /// The key with this key id.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&Key> {
        self.iter().find(|key| key.kid() == kid)
    }

    /// All keys, the active one first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }
}

/// Character of RFC 4648 base32, in lowercase, for the low five bits of `bits`.
pub(crate) fn base32_char(bits: u16) -> u8 {
    b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(bits & 31)]
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length, and no other error exists")]
fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn derive(key: &[u8], purpose: &[u8]) -> [u8; 32] {
    let mut mac = mac(key);
    mac.update(crate::pseudonym::SCHEME);
    mac.update(&[0]);
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

/// Decodes text longer than the decoder's buffer, in groups of `group` characters.
fn decode_long(text: &[u8], base: Base, group: usize) -> Vec<u8> {
    let bits = if base == Base::Hex { 4 } else { 6 };
    text.chunks(group)
        .filter_map(|chars| {
            let length = chars.len() * bits / 8;
            Some(base.decode(chars, length)?[..length].to_vec())
        })
        .flatten()
        .collect()
}

/// Writes `content` to a new file beside `path` and gives it its name only when it is on the disk.
fn create_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{:016x}.new", u64::from_ne_bytes(random)));
    let temporary = path.with_file_name(name);
    let result = write_new(&temporary, content).and_then(|()| {
        // A hard link, unlike a rename, fails when the name is taken.
        std::fs::hard_link(&temporary, path).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            // A file system without links.
            _ => write_new(path, content),
        })
    });
    // What matters is the file under its own name; a left-over is harmless, and reported by no one.
    let _ = std::fs::remove_file(&temporary);
    result
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(unix)]
fn warn_if_exposed(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = %format_args!("{mode:o}"),
            "others than its owner may read the key file, and with it undo every pseudonym; run: chmod 600 on it"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_exposed(_path: &Path, _file: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..32).collect()
    }

    #[test]
    fn every_form_of_a_key_file_is_the_same_key() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let forms = [
            bytes(),
            hex.into(),
            format!(" {}\r\n", hex.to_uppercase()).into(),
            base64.into(),
            format!("{base64}=\n").into(),
        ];
        for form in forms {
            assert_eq!(Key::parse(&form).unwrap().fingerprint(), Key::new(bytes()).unwrap().fingerprint());
        }
    }

    #[test]
    fn bad_keys_are_refused_with_the_reason() {
        assert!(matches!(Key::parse(b""), Err(KeyError::TooShort(0))));
        assert!(matches!(Key::parse(b"00ff"), Err(KeyError::TooShort(2))));
        assert!(matches!(Key::parse(&[0; 32]), Err(KeyError::NotRandom)));
        assert!(matches!(Key::parse(&[b'0'; 64]), Err(KeyError::NotRandom)));
        assert!(matches!(
            Key::parse(b"correct horse battery staple correct horse"),
            Err(KeyError::Passphrase)
        ));
        assert!(matches!(
            Key::parse(b"correct.horse.battery.staple.correct.horse"),
            Err(KeyError::Passphrase)
        ));
        let missing = Key::from_file(Path::new("/nonexistent/key")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/key") && missing.contains("openssl rand"), "{missing}");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = Key::new(bytes()).unwrap();
        let shown = format!("{key:?} {:?}", Keyring::new(key.clone()));
        assert!(
            !shown.contains("0001") && !shown.contains("[0, 1") && shown.contains(&key.fingerprint()),
            "{shown}"
        );
    }

    #[test]
    fn key_ids_are_derived_or_given() {
        let key = Key::new(bytes()).unwrap();
        let derived = key.kid().to_owned();
        assert_eq!(derived.len(), 2);
        assert_eq!(key.clone().with_kid("a7").unwrap().kid(), "a7");
        for bad in ["", "a", "abc", "A7", "a1", "é"] {
            assert!(matches!(key.clone().with_kid(bad), Err(KeyError::BadKeyId(_))), "{bad}");
        }
        let ring = Keyring::new(key.clone()).with_retired(key.clone().with_kid("zz").unwrap()).unwrap();
        assert_eq!(ring.active().kid(), derived);
        assert!(ring.get("zz").is_some());
        assert!(matches!(ring.with_retired(key), Err(KeyError::SameKeyId(_))));
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/redact.key");
        let (made, fresh) = Key::load_or_generate(&path).unwrap();
        let (read, again) = Key::load_or_generate(&path).unwrap();
        assert!(fresh && !again);
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert!(matches!(Key::generate_file(&path), Err(KeyError::Exists(_))));
        assert_eq!(Key::from_file(&path).unwrap().fingerprint(), made.fingerprint());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no left-overs");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "").unwrap();
        let empty = Key::load_or_generate(&path).unwrap_err();
        assert!(matches!(empty, KeyError::Content { .. }), "an emptied key file is never replaced");
    }
}
