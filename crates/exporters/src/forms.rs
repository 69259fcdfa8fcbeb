//! The form in which a destination takes its records, whatever form they came in.

use std::borrow::Cow;

use engine::{ExportError, Scope};
use model::{Payload, Request};

/// The payload as OTLP.
pub(crate) fn otlp(payload: &Payload) -> Result<Cow<'_, Request>, ExportError> {
    match payload {
        Payload::Otlp(request) => Ok(Cow::Borrowed(request)),
        Payload::Series(_) => Err(ExportError::Permanent {
            reason: "unsupported_form",
            message: "this destination takes OTLP, and Prometheus series cannot be converted yet".to_owned(),
            scope: Scope::Request,
        }),
    }
}
