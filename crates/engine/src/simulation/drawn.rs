//! What a seed decides of settings and moods: small limits, short times, so that all of them are reached.

use super::world::{Mood, World};
use crate::{DeliverySettings, OnFull, QueueSettings, RetrySettings};

pub(super) fn settings(world: &mut World) -> DeliverySettings {
    let rng = &mut world.rng;
    let initial_backoff_ms = 1 + rng.below(200);
    let more_bytes = if rng.percent(50) { 10_000 } else { 100_000 };
    DeliverySettings {
        queue: QueueSettings {
            max_bytes: 3500 + rng.below(more_bytes) as usize,
            max_requests: 2 + rng.below(100) as usize,
            on_full: if rng.percent(85) { OnFull::Refuse } else { OnFull::Drop },
            max_wait_ms: rng.below(2000),
            concurrency: 1 + rng.below(5) as usize,
            max_request_bytes: rng.below(6000) as usize,
        },
        retry: RetrySettings {
            initial_backoff_ms,
            max_backoff_ms: initial_backoff_ms + rng.below(5000),
            max_elapsed_ms: rng.percent(30).then(|| rng.below(20_000)),
            timeout_ms: 100 + rng.below(3000),
            breaker_failures: rng.below(6) as u32,
        },
        ordered: rng.percent(30),
        ..DeliverySettings::default()
    }
}

pub(super) fn buffer_options(world: &mut World) -> buffer::Options {
    let rng = &mut world.rng;
    let more_bytes = if rng.percent(50) { 20_000 } else { 200_000 };
    buffer::Options {
        max_bytes: 20_000 + rng.below(more_bytes),
        max_records: if rng.percent(20) { 5 + rng.below(40) } else { 1_000_000 },
        segment_bytes: 1000 + rng.below(20_000),
        max_age_ms: rng.percent(15).then(|| 100 + rng.below(30_000)),
        on_full: if rng.percent(75) { buffer::OnFull::Refuse } else { buffer::OnFull::DropOldest },
    }
}

pub(super) fn mood(world: &mut World) -> Mood {
    let slow_ms = [2, 20, 300, 4000][world.rng.below(4) as usize];
    let mut some = |most| if world.rng.percent(50) { world.rng.below(most) } else { 0 };
    match some(10) {
        0..3 => Mood { slow_ms, ..Mood::default() },
        // Dead.
        3 => Mood { retry: 100, slow_ms, ..Mood::default() },
        4 => Mood { never: 100, ..Mood::default() },
        _ => Mood {
            retry: some(30),
            never: some(10),
            taken_never: some(10),
            refuse_request: some(5),
            refuse_records: some(10),
            reject: some(10),
            remainder: some(20),
            panic: some(10),
            slow_ms,
        },
    }
}
