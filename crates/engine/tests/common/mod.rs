//! Components made for the tests: a receiver that hands out its inlet, and a destination that does as it is told.
#![allow(clippy::unwrap_used, reason = "a test helper may panic")]
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::testing::counters;
use engine::{
    AnyExporterConfig, AnyProcessorConfig, AnyReceiverConfig, BoxFuture, BuildContext, BuildError, Claim,
    ComponentSpec, DeliverySettings, ExportError, Exported, Exporter, Fingerprint, Graph, GraphSpec, Inlet,
    PipelineSpec, ProcessError, Processor, Receiver, ReceiverContext, Rejected, Remainder, Running, Scope,
    Serving,
};
use model::otlp::ExportLogsServiceRequest;
use model::{AckMode, Payload, Request, Signal, Writer};

/// A request of `items` records that all carry `name`.
pub fn request(signal: Signal, items: usize, name: &str) -> Request {
    let name_field = if signal == Signal::Traces { 5 } else { 3 };
    let mut writer = Writer::new();
    writer.message(1, |resource| {
        resource.message(2, |scope| {
            for _ in 0..items {
                scope.message(2, |record| record.string(name_field, name));
            }
        });
    });
    Request::receive(signal, writer.finish()).unwrap().0
}

/// The OTLP that every payload of these tests is.
pub fn as_request(payload: &Payload) -> Request {
    match payload {
        Payload::Otlp(request) => request.clone(),
        Payload::Series(_) => panic!("no series in this test"),
    }
}

pub fn logs(items: usize, name: &str) -> Request {
    request(Signal::Logs, items, name)
}

/// The name that the first record of a request of [`logs`] carries.
pub fn name_of(request: &Request) -> String {
    let logs = ExportLogsServiceRequest::of(request.bytes());
    let scopes = logs.resource_logs().flat_map(|resource| resource.scope_logs());
    let mut records = scopes.flat_map(|scope| scope.log_records());
    records.next().map_or(String::new(), |record| record.severity_text().to_owned())
}

/// What a destination does with one call.
#[derive(Clone, Debug)]
pub enum Reply {
    Take,
    Partial(u64),
    Retry,
    RetryAfter(Duration),
    /// What is left, to be sent again.
    Remainder(Vec<Request>),
    Refuse(Scope),
    Panic,
    Never,
}

type Script = Box<dyn FnMut(&[Request]) -> Reply + Send>;

/// A destination: answers as its script says, and remembers.
#[derive(Clone)]
pub struct Destination {
    pub shared: Arc<Shared>,
    pub settings: DeliverySettings,
    pub claims: Vec<Claim>,
}

pub struct Shared {
    script: Mutex<Script>,
    calls: Mutex<Vec<Vec<Request>>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    gate: tokio::sync::Semaphore,
    shutdowns: AtomicUsize,
    builds: AtomicUsize,
}

impl Destination {
    pub fn scripted(script: impl FnMut(&[Request]) -> Reply + Send + 'static) -> Self {
        let shared = Shared {
            script: Mutex::new(Box::new(script)),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            gate: tokio::sync::Semaphore::new(1 << 20),
            shutdowns: AtomicUsize::new(0),
            builds: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared), settings: DeliverySettings::default(), claims: Vec::new() }
    }

    pub fn taking() -> Self {
        Self::scripted(|_| Reply::Take)
    }

    pub fn with(mut self, change: impl FnOnce(&mut DeliverySettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// From now on calls wait at the gate.
    pub fn hold(self) -> Self {
        self.shared.gate.forget_permits(1 << 20);
        self
    }

    /// Lets everybody through the gate.
    pub fn release(&self) {
        self.shared.gate.add_permits(1 << 20);
    }

    pub fn calls(&self) -> Vec<Vec<Request>> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    pub fn shutdowns(&self) -> usize {
        self.shared.shutdowns.load(Ordering::SeqCst)
    }

    pub fn builds(&self) -> usize {
        self.shared.builds.load(Ordering::SeqCst)
    }
}

struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Exporter for Destination {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        let requests: Vec<Request> = payloads.iter().map(as_request).collect();
        let now = self.shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let in_flight = InFlight(Arc::clone(&self.shared));
        Box::pin(async move {
            let _in_flight = in_flight;
            let _gate = self.shared.gate.acquire().await.unwrap();
            self.shared.calls.lock().unwrap().push(requests.clone());
            let reply = (self.shared.script.lock().unwrap())(&requests);
            let retryable =
                |retry_after| Err(ExportError::Retryable { message: "come again".to_owned(), retry_after });
            match reply {
                Reply::Take => Ok(Exported::default()),
                Reply::Partial(items) => {
                    let message = "not those".to_owned();
                    let rejected = Rejected { reason: "not_those", items, message, payloads: Vec::new() };
                    Ok(Exported { rejected: vec![rejected], remainder: None })
                }
                Reply::Remainder(left) => {
                    let payloads = left.into_iter().map(Payload::Otlp).collect();
                    let remainder = Remainder { payloads, message: "later".to_owned(), retry_after: None };
                    Ok(Exported { rejected: Vec::new(), remainder: Some(remainder) })
                }
                Reply::Retry => retryable(None),
                Reply::RetryAfter(after) => retryable(Some(after)),
                Reply::Refuse(scope) => {
                    Err(ExportError::Permanent { reason: "bad_request", message: "never".to_owned(), scope })
                }
                Reply::Panic => panic!("as the test told it to"),
                Reply::Never => std::future::pending().await,
            }
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.shared.shutdowns.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}

impl AnyExporterConfig for Destination {
    fn claims(&self) -> Vec<Claim> {
        self.claims.clone()
    }

    fn delivery(&self) -> DeliverySettings {
        self.settings.clone()
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        self.shared.builds.fetch_add(1, Ordering::SeqCst);
        Ok(self)
    }
}

/// How a test receiver behaves once it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    #[default]
    Obeys,
    IgnoresShutdown,
    EndsByItself,
    Panics,
    CannotBind,
}

/// A receiver that hands out its inlet.
#[derive(Clone, Default)]
pub struct Source {
    pub asks_once: bool,
    pub ack: AckMode,
    pub conduct: Conduct,
    pub claims: Vec<Claim>,
    pub inlet: Arc<Mutex<Option<Inlet>>>,
}

impl Source {
    pub fn new(ack: AckMode) -> Self {
        Self { ack, ..Self::default() }
    }

    pub fn inlet(&self) -> Inlet {
        self.inlet.lock().unwrap().clone().unwrap()
    }

    pub fn was_started(&self) -> bool {
        self.inlet.lock().unwrap().is_some()
    }

    /// Sends with a permit of the request's size.
    pub async fn send(&self, request: Request) -> Result<(), engine::Refusal> {
        let inlet = self.inlet();
        let mut permit = inlet.permit();
        permit.grow(request.bytes().len())?;
        inlet.send(request, permit).await
    }
}

impl Receiver for Source {
    fn asks_for_signals_once(&self) -> bool {
        self.asks_once
    }

    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            if self.conduct == Conduct::CannotBind {
                return Err(BuildError::new("address in use"));
            }
            *self.inlet.lock().unwrap() = Some(context.inlet.clone());
            let conduct = self.conduct;
            Ok(Box::pin(async move {
                match conduct {
                    Conduct::EndsByItself => {}
                    Conduct::Panics => panic!("as the test told it to"),
                    Conduct::IgnoresShutdown => std::future::pending().await,
                    _ => context.shutdown.requested().await,
                }
            }) as Serving)
        })
    }
}

impl AnyReceiverConfig for Source {
    fn claims(&self) -> Vec<Claim> {
        self.claims.clone()
    }

    fn ack(&self) -> Option<AckMode> {
        Some(self.ack)
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        Ok(self)
    }
}

type Work = dyn Fn(Request) -> Result<Option<Request>, ProcessError> + Send + Sync;

/// A processor that does what a closure does.
#[derive(Clone)]
pub struct Does {
    work: Arc<Work>,
    pub builds: Arc<AtomicUsize>,
}

impl Does {
    pub fn new(
        work: impl Fn(Request) -> Result<Option<Request>, ProcessError> + Send + Sync + 'static,
    ) -> Self {
        Self { work: Arc::new(work), builds: Arc::default() }
    }
}

impl Processor for Does {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        (self.work)(request)
    }
}

impl AnyProcessorConfig for Does {
    fn duplicate(&self) -> Box<dyn AnyProcessorConfig> {
        Box::new(self.clone())
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        Ok(self)
    }
}

/// A graph in the making. Ids are unique to the test, since counters are shared by all of them.
pub struct Rig {
    pub spec: GraphSpec,
}

impl Rig {
    pub fn new() -> Self {
        let _ = counters();
        Self { spec: GraphSpec { budget_bytes: 64 << 20, ..GraphSpec::default() } }
    }

    pub fn receiver(self, id: &str, source: &Source) -> Self {
        self.receiver_of(id, source, &Signal::ALL)
    }

    pub fn receiver_of(mut self, id: &str, source: &Source, signals: &'static [Signal]) -> Self {
        self.spec.receivers.push(ComponentSpec {
            id: id.to_owned(),
            signals,
            fingerprint: Fingerprint::default(),
            config: Box::new(source.clone()),
        });
        self
    }

    pub fn processor(self, id: &str, does: &Does) -> Self {
        self.processor_of(id, does, &Signal::ALL)
    }

    pub fn processor_of(mut self, id: &str, does: &Does, signals: &'static [Signal]) -> Self {
        self.spec.processors.push(ComponentSpec {
            id: id.to_owned(),
            signals,
            fingerprint: Fingerprint::default(),
            config: Box::new(does.clone()),
        });
        self
    }

    pub fn exporter(self, id: &str, destination: &Destination) -> Self {
        self.exporter_of(id, destination, &Signal::ALL)
    }

    pub fn exporter_of(mut self, id: &str, destination: &Destination, signals: &'static [Signal]) -> Self {
        let config = Box::new(destination.clone());
        let fingerprint = Fingerprint::default();
        self.spec.exporters.push(ComponentSpec { id: id.to_owned(), signals, fingerprint, config });
        self
    }

    pub fn pipeline(mut self, name: &str, receivers: &str, processors: &str, exporters: &str) -> Self {
        let ids = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        self.spec.pipelines.push(PipelineSpec {
            name: name.to_owned(),
            signal: None,
            receivers: ids(receivers),
            processors: ids(processors),
            exporters: ids(exporters),
        });
        self
    }

    /// Gives the receiver settings that stand apart from those with another number.
    pub fn receiver_version(mut self, id: &str, version: u64) -> Self {
        let specs = self.spec.receivers.iter_mut();
        specs.filter(|spec| spec.id == id).for_each(|spec| spec.fingerprint = Fingerprint(version));
        self
    }

    /// The same for an exporter.
    pub fn exporter_version(mut self, id: &str, version: u64) -> Self {
        let specs = self.spec.exporters.iter_mut();
        specs.filter(|spec| spec.id == id).for_each(|spec| spec.fingerprint = Fingerprint(version));
        self
    }

    pub async fn start(self) -> Running {
        Graph::build(self.spec, false).unwrap().start().await.unwrap()
    }
}

/// The commonest graph: one receiver, one exporter, both called `id`.
pub async fn line(id: &str, source: &Source, destination: &Destination) -> Running {
    Rig::new().receiver(id, source).exporter(id, destination).pipeline("main", id, "", id).start().await
}

/// The books of one receiver and one exporter of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    pub accepted: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub buffered: u64,
}

pub fn books(id: &str) -> Books {
    let labels = [("component", id)];
    let value = |name| counters().value(name, &labels);
    Books {
        accepted: value("floodway_accepted_items_total"),
        delivered: value("floodway_delivered_items_total"),
        dropped: value("floodway_dropped_items_total"),
        buffered: counters().gauge("floodway_queue_items", &labels) as u64,
    }
}

pub fn dropped(id: &str, reason: &str) -> u64 {
    counters().value("floodway_dropped_items_total", &[("component", id), ("reason", reason)])
}

/// Waits until `condition` holds; panics after ten seconds.
pub async fn until(condition: impl Fn() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("what was waited for did not happen");
}
