//! Senders: some wait for each answer, some hand over many requests at once, some lose patience. Who is refused comes again, for a
//! while; who hears nothing, since the engine died, sends again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{AckMode, Request, Signal, Writer};
use tokio::time::{sleep, timeout};

use super::sink::request;
use super::world::{MOST_ITEMS, Shared};
use crate::{
    AnyProcessorConfig, AnyReceiverConfig, BoxFuture, BuildContext, BuildError, Claim, Inlet, ProcessError,
    Processor, Receiver, ReceiverContext, Refusal, Serving,
};

/// The way in of one ack mode, of the engine's present life.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) ack: AckMode,
    pub(super) inlet: Arc<Mutex<Option<Inlet>>>,
}

impl Source {
    pub(super) fn new(ack: AckMode) -> Self {
        Self { ack, inlet: Arc::default() }
    }

    fn inlet(&self) -> Option<Inlet> {
        self.inlet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on nobody is there.
    pub(super) fn gone(&self) {
        *self.inlet.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Receiver for Source {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            *self.inlet.lock().unwrap() = Some(context.inlet.clone());
            Ok(Box::pin(async move { context.shutdown.requested().await }) as Serving)
        })
    }
}

impl AnyReceiverConfig for Source {
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn ack(&self) -> Option<AckMode> {
        Some(self.ack)
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        Ok(self)
    }
}

/// A processor that makes some requests larger than what was reserved for them.
#[derive(Clone, Debug)]
pub(super) struct Grows {
    pub(super) world: Shared,
}

impl Processor for Grows {
    fn process(&self, request: Request) -> Result<Option<Request>, ProcessError> {
        let more = self.world.below(4000) as usize;
        if self.world.below(3) > 0 {
            return Ok(Some(request));
        }
        let mut writer = Writer::new();
        writer.message(1, |resource| resource.string(3, &"y".repeat(more)));
        let bytes = [request.bytes(), &writer.finish()[..]].concat();
        Ok(Request::receive(request.signal(), bytes.into()).ok().map(|(request, _)| request))
    }
}

impl AnyProcessorConfig for Grows {
    fn duplicate(&self) -> Box<dyn AnyProcessorConfig> {
        Box::new(self.clone())
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Processor>, BuildError> {
        Ok(self)
    }
}

/// How a sender goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Waits,
    /// As for TCP, where the receiver itself hands over again.
    Pushes,
    /// Goes on before it has an answer.
    HandsOver,
    /// Waits only so long.
    Impatient,
}

pub(super) struct Sender {
    number: usize,
    world: Shared,
    source: Source,
    signal: Signal,
    manner: Manner,
    requests: u64,
    pause_ms: u64,
    bad: u64,
}

impl Sender {
    pub(super) fn new(number: usize, world: &Shared, source: Source) -> Self {
        let rng = &mut world.lock().rng;
        let manners = [Manner::Waits, Manner::Pushes, Manner::HandsOver, Manner::Impatient];
        Self {
            number,
            world: world.clone(),
            source,
            signal: if rng.percent(70) { Signal::Logs } else { Signal::Traces },
            manner: manners[rng.below(4) as usize],
            requests: 3 + rng.below(25),
            pause_ms: [5, 50, 400][rng.below(3) as usize],
            bad: if rng.percent(30) { 5 } else { 0 },
        }
    }

    pub(super) async fn run(self) {
        for _ in 0..self.requests {
            sleep(Duration::from_millis(self.world.below(self.pause_ms))).await;
            for _ in 0..1 + self.world.below(6) {
                match self.attempt().await {
                    Some(Err(refusal)) if refusal.retryable => {
                        let hint = refusal.retry_after.unwrap_or_default().as_millis() as u64;
                        sleep(Duration::from_millis(self.world.below(1 + 2 * hint))).await;
                    }
                    Some(_) => break,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }

    async fn inlet(&self) -> Inlet {
        loop {
            if let Some(inlet) = self.source.inlet() {
                return inlet;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tries once; `None` if it does not know what became of it.
    async fn attempt(&self) -> Option<Result<(), Refusal>> {
        let inlet = self.inlet().await;
        let (attempt, request, life) = self.request();
        let mut permit = inlet.permit();
        if let Err(full) = permit.grow(request.bytes().len()) {
            self.world.lock().told(attempt, life, Err("budget_full"));
            return Some(Err(full.into()));
        }
        let told = |world: &Shared, result: &Result<(), Refusal>| {
            let answer = result.clone().map_err(|refusal| refusal.reason);
            world.lock().told(attempt, life, answer);
        };
        let result = match self.manner {
            Manner::Waits => inlet.send(request, permit).await,
            Manner::Pushes => inlet.push(request, permit).await,
            Manner::Impatient => {
                let patience = Duration::from_millis(1 + self.world.below(3000));
                timeout(patience, inlet.send(request, permit)).await.ok()?
            }
            Manner::HandsOver => match inlet.enter(request, permit) {
                Ok(entered) if !entered.is_settled() => {
                    let world = self.world.clone();
                    tokio::spawn(async move {
                        let result = entered.settled().await;
                        let answer = result.map_err(|refusal| refusal.reason);
                        world.lock().told(attempt, life, answer);
                    });
                    return Some(Ok(()));
                }
                entered => entered.map(drop),
            },
        };
        told(&self.world, &result);
        if self.world.lock().life == life { Some(result) } else { None }
    }

    fn request(&self) -> (usize, Request, u64) {
        let mut world = self.world.lock();
        let items =
            1 + if world.rng.percent(5) { world.rng.below(MOST_ITEMS - 1) } else { world.rng.below(6) };
        let attempt = world.attempt(self.number, self.source.ack, items, self.manner == Manner::Pushes);
        let padding = if world.rng.percent(10) { world.rng.below(3000) } else { world.rng.below(100) };
        let numbers: Vec<u64> = world.numbers(attempt).collect();
        let bad: Vec<u64> = numbers.iter().copied().filter(|_| world.rng.percent(self.bad)).collect();
        let request = request(self.signal, &numbers, |number| bad.contains(&number), padding as usize);
        (attempt, request, world.life)
    }
}
