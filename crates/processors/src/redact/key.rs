//! Where the key of the pseudonyms comes from.
//!
//! Invariant: a key is never printed, and a dry run makes no file.

use std::fmt;

use ::redact::{Action, Key, KeyError, Keyring};
use engine::{BuildContext, BuildError};
use schemars::JsonSchema;
use serde::Deserialize;

use super::RedactConfig;

/// A text that must not be shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The key that the settings name; `None` where the action needs none and none is named.
pub(super) fn keyring(
    config: &RedactConfig,
    action: Action,
    context: &BuildContext,
) -> Result<Option<Keyring>, BuildError> {
    let id = &context.id;
    let key = match (&config.key, &config.key_file) {
        (Some(_), Some(_)) => {
            return Err(BuildError::new(format!("{id}: both `key` and `key_file` are set; remove one")));
        }
        (Some(Secret(text)), None) => Key::parse(text.as_bytes()),
        (None, Some(_)) if config.generate_key => load_or_generate(config, context),
        (None, Some(path)) => Key::from_file(path),
        (None, None) if action.needs_key() => {
            return Err(BuildError::new(format!(
                "{id}: action `{}` makes keyed pseudonyms and there is no key. Set `key_file: FILE`, and `generate_key: true` \
                 to have it made at the first start (nodes whose pseudonyms shall match need the same file); or choose \
                 `action: mask` or `action: drop`, which need no key",
                config.action.name()
            )));
        }
        (None, None) => return Ok(None),
    };
    key.map(|key| Some(Keyring::new(key))).map_err(|error| explain(id, config, error))
}

fn load_or_generate(config: &RedactConfig, context: &BuildContext) -> Result<Key, KeyError> {
    let Some(path) = &config.key_file else {
        return Key::generate();
    };
    if context.dry_run {
        // A key for this check alone: the real one is made at the first start.
        return if path.exists() { Key::from_file(path) } else { Key::generate() };
    }
    let (key, is_new) = Key::load_or_generate(path)?;
    if is_new {
        tracing::warn!(
            component = %context.id,
            file = %path.display(),
            fingerprint = %key.fingerprint(),
            "made a new redaction key; keep a copy: without it the same peers get other pseudonyms"
        );
    }
    Ok(key)
}

fn explain(id: &str, config: &RedactConfig, error: KeyError) -> BuildError {
    let hint = match &error {
        KeyError::Read { .. } if !config.generate_key => {
            "; or set `generate_key: true` to have it made at the first start"
        }
        _ => "",
    };
    BuildError::because(format!("{id}: {error}{hint}"), error)
}
