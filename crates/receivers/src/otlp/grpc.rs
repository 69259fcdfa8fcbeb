//! OTLP/gRPC: the three `Export` methods.

use std::sync::Arc;

use bytes::Bytes;
use engine::{Refusal, Shutdown};
use model::Signal;
use net::Bound;
use net::body::Limits;
use net::grpc::{self, Code, Status, Unary, UnaryService};
use net::server::{Hooks, HttpOptions};

use super::intake::{Intake, Refused};
use crate::admission::Budgeted;

pub(super) async fn serve(
    bound: Bound,
    limits: Limits,
    hooks: Arc<dyn Hooks>,
    intake: Intake,
    shutdown: Shutdown,
) {
    let service = Unary::new(Export { intake }, limits);
    let stop = async move { shutdown.requested().await };
    let drained = net::server::serve(bound, HttpOptions::default(), hooks, stop, service).await;
    tracing::debug!(finished = drained.finished, cut = drained.cut, "OTLP/gRPC stopped");
}

struct Export {
    intake: Intake,
}

impl UnaryService for Export {
    type Method = Signal;
    type Permit = Budgeted;

    fn route(&self, path: &str) -> Option<Signal> {
        match path {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
            _ => None,
        }
    }

    fn permit(&self) -> Budgeted {
        Budgeted(self.intake.permit())
    }

    async fn call(&self, signal: Signal, request: grpc::Request<Budgeted>) -> Result<Bytes, Status> {
        let taken = self.intake.protobuf(signal, request.message, request.permit.0).await;
        taken.map(|accepted| accepted.protobuf()).map_err(|refused| status(&refused))
    }

    fn refused(&self, status: &Status) {
        self.intake.refused(match status.code {
            Code::ResourceExhausted if status.retry_after.is_some() => "budget_full",
            Code::ResourceExhausted => "too_large",
            Code::DeadlineExceeded => "timeout",
            Code::Cancelled => "aborted",
            Code::Unimplemented => "unsupported",
            _ => "malformed",
        });
    }
}

fn status(refused: &Refused) -> Status {
    let code = match refused {
        Refused::Malformed(_) => Code::InvalidArgument,
        Refused::Engine(Refusal { reason: "no_pipeline", .. }) => Code::Unimplemented,
        Refused::Engine(Refusal { reason: "budget_full" | "queue_full" | "too_large", .. }) => {
            Code::ResourceExhausted
        }
        Refused::Engine(refusal) if refusal.retryable => Code::Unavailable,
        Refused::Engine(_) => Code::Internal,
    };
    let status = Status::new(code, refused.to_string());
    match refused {
        Refused::Engine(Refusal { retryable: true, retry_after: Some(after), .. }) => {
            status.retry_after(*after)
        }
        _ => status,
    }
}
