//! Every interleaving of permits, and of the shutdown's flag: `cargo xtask test --loom`. The queue's are beside it.

use std::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::spawn;

use crate::{Budget, Shutdown};

#[test]
fn permits_never_pass_the_limit_together_and_end_at_nothing() {
    loom::model(|| {
        let budget = Budget::new(10);
        let held = Arc::new(AtomicUsize::new(0));
        let work = |first: usize, then: usize| {
            let (budget, held) = (budget.clone(), Arc::clone(&held));
            move || {
                let mut permit = budget.permit();
                for bytes in [first, then] {
                    if permit.grow(bytes).is_ok() {
                        assert!(held.fetch_add(bytes, Ordering::Relaxed) + bytes <= 10);
                    }
                }
                held.fetch_sub(permit.bytes(), Ordering::Relaxed);
                permit.shrink(3);
            }
        };
        let (one, two) = (spawn(work(6, 4)), work(5, 2));
        two();
        one.join().unwrap();
        assert_eq!(budget.used(), 0);
    });
}

#[test]
fn whoever_waits_for_the_shutdown_hears_it_and_sees_what_came_before() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let (trigger, shutdown) = Shutdown::new();
        let before = Arc::new(AtomicBool::new(false));
        let threads = [0, 1].map(|_| {
            let (shutdown, before) = (shutdown.clone(), Arc::clone(&before));
            spawn(move || {
                block_on(shutdown.requested());
                assert!(shutdown.is_requested());
                assert!(before.load(Ordering::Relaxed));
            })
        });
        before.store(true, Ordering::Relaxed);
        drop(trigger);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
