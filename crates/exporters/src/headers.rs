//! Headers that a user adds to every request.

use std::collections::BTreeMap;

use engine::BuildError;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that say how a request is sent, which only the transport knows.
const TRANSPORT: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Reads configured headers; `ours` says which further ones belong to the protocol.
pub(crate) fn header_map(
    headers: &BTreeMap<String, String>,
    ours: impl Fn(&str) -> bool,
) -> Result<HeaderMap, BuildError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name.as_str()).map_err(|e| {
            let text = format!("headers: {name:?} is no header name; use letters, digits and -");
            BuildError::because(text, e)
        })?;
        if TRANSPORT.contains(&parsed.as_str()) || ours(parsed.as_str()) {
            return Err(BuildError::new(format!(
                "headers: {name} is set by the protocol itself; take it out"
            )));
        }
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|e| {
            let text = format!("headers: the value of {name} has a line break or a control character");
            BuildError::because(text, e)
        })?;
        // Credentials are among them: never in a log.
        value.set_sensitive(true);
        map.insert(parsed, value);
    }
    Ok(map)
}
