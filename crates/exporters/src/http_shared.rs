//! What exporters over HTTP share: headers from settings, and what a destination says.

use std::collections::BTreeMap;

use engine::{BuildError, ExportError, Scope};
use http::{HeaderMap, HeaderName, HeaderValue};
use net::client::HttpError;

/// Most characters of what a destination says that are kept.
const MAX_TEXT: usize = 300;

/// The headers that a user has set. Those that say how a request is sent are the transport's own and refused; `ours` says which
/// further ones belong to the protocol.
pub(crate) fn header_map<V: AsRef<str>>(
    headers: &BTreeMap<String, V>,
    ours: impl Fn(&str) -> bool,
) -> Result<HeaderMap, BuildError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name.as_str()).map_err(|e| {
            BuildError::because(format!("headers: {name:?} is no header name; use letters, digits and -"), e)
        })?;
        if TRANSPORT.contains(&parsed.as_str()) || ours(parsed.as_str()) {
            return Err(BuildError::new(format!(
                "headers: {name} is set by the protocol itself; take it out"
            )));
        }
        map.insert(parsed, secret(value.as_ref(), &format!("headers: the value of {name}"))?);
    }
    Ok(map)
}

/// A value that no log shows. `what` names it in the error.
pub(crate) fn secret(value: &str, what: &str) -> Result<HeaderValue, BuildError> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|e| BuildError::because(format!("{what} has a line break or a control character"), e))?;
    value.set_sensitive(true);
    Ok(value)
}

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

/// What a destination says, fit for a line of a log.
pub(crate) fn printable(text: &str) -> String {
    let trimmed = text.trim().chars();
    trimmed.filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// A request without an answer, as the delivery loop is told.
pub(crate) fn unanswered(error: &HttpError) -> ExportError {
    let message = error.to_string();
    if error.is_retryable() {
        ExportError::Retryable { message, retry_after: None }
    } else {
        ExportError::Permanent { reason: "bad_request", message, scope: Scope::Request }
    }
}
