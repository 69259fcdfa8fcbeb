//! The form in which a destination takes its records, whatever form they came in.

use std::borrow::Cow;

use codec::prometheus::otlp_form;
use engine::ExportError;
use model::{Payload, Request};

/// The payload as OTLP.
pub(crate) fn otlp(payload: &Payload) -> Result<Cow<'_, Request>, ExportError> {
    Ok(otlp_form(payload))
}
