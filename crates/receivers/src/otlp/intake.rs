//! What both transports share: from the bytes of a request to the pipelines, and the outcome in OTLP's terms.

use bytes::Bytes;
use engine::{ComponentMetrics, Inlet, Permit, ReceiverContext, Refusal};
use metrics::Counter;
use model::{Repairs, Request, Signal, Writer};

/// The pipelines behind an OTLP receiver.
#[derive(Clone)]
pub(super) struct Intake {
    inlet: Inlet,
    metrics: ComponentMetrics,
    repaired: RepairCounters,
}

#[derive(Clone)]
struct RepairCounters {
    invalid_utf8: Counter,
    duplicates: Counter,
    overlong: Counter,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Not an export request of this signal.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] Refusal),
}

/// What the client is told about a request that was taken: nothing, or a warning.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) warning: Option<String>,
}

impl Intake {
    pub(super) fn new(context: &ReceiverContext) -> Self {
        let repaired = |kind| context.metrics.counter("floodway_repairs_total", &[("repair", kind)]);
        Self {
            inlet: context.inlet.clone(),
            metrics: context.metrics.clone(),
            repaired: RepairCounters {
                invalid_utf8: repaired("invalid_utf8"),
                duplicates: repaired("duplicate_field"),
                overlong: repaired("overlong_varint"),
            },
        }
    }

    pub(super) fn permit(&self) -> Permit {
        self.inlet.permit()
    }

    /// Counts a request that was refused before its records were known.
    pub(super) fn refused(&self, reason: &'static str) {
        self.metrics.refused(reason, 0);
    }

    /// Takes the protobuf bytes of a request.
    pub(super) async fn protobuf(
        &self,
        signal: Signal,
        bytes: Bytes,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        let (request, repairs) = Request::receive(signal, bytes).map_err(|e| self.malformed(&e))?;
        self.take(request, repairs, permit).await
    }

    /// Takes a request that was checked, and what had to be mended for it.
    pub(super) async fn take(
        &self,
        request: Request,
        repairs: Repairs,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        self.inlet.send(request, permit).await?;
        // Not before: a request that is sent again would be counted again.
        self.count(repairs);
        Ok(Accepted { warning: warning(repairs) })
    }

    /// Counts a request that is no export request. The error says where, and quotes nothing.
    pub(super) fn malformed(&self, error: &dyn std::fmt::Display) -> Refused {
        self.refused("malformed");
        Refused::Malformed(error.to_string())
    }

    fn count(&self, repairs: Repairs) {
        if repairs.any() {
            self.repaired.invalid_utf8.increment(repairs.invalid_utf8 as u64);
            self.repaired.duplicates.increment(repairs.duplicates as u64);
            self.repaired.overlong.increment(repairs.overlong as u64);
        }
    }
}

/// OTLP lets a server warn by a partial success that rejects nothing. Only lost text is worth it: the other repairs change
/// nothing that a reader sees.
fn warning(repairs: Repairs) -> Option<String> {
    (repairs.invalid_utf8 > 0).then(|| {
        format!(
            "invalid UTF-8 in {} strings was replaced by U+FFFD; nothing was rejected",
            repairs.invalid_utf8
        )
    })
}

impl Accepted {
    /// `Export*ServiceResponse`, the same for every signal: `{ 1: partial_success { 1: rejected 2: error_message } }`.
    pub(super) fn protobuf(&self) -> Bytes {
        let Some(warning) = &self.warning else {
            return Bytes::new();
        };
        let mut writer = Writer::new();
        writer.message(1, |w| w.string(2, warning));
        writer.finish()
    }

    /// The same in OTLP/JSON.
    pub(super) fn json(&self) -> String {
        match &self.warning {
            None => "{}".to_owned(),
            Some(warning) => serde_json::json!({"partialSuccess": {"errorMessage": warning}}).to_string(),
        }
    }
}
