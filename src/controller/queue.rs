//! One kind's queue: objects that were woken or whose time came wait for their turn, and each pass over them runs as a
//! task of its own.
//!
//! In place of `kube::runtime::Controller`, which takes the next of the waiting in the order of a hash map, so that one may
//! wait for ever while others keep coming (ADR 0011).

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};
use tracing::error;

use crate::domain::lane::Lane;

use super::index::Key;
use super::turns::Turns;

/// When an object is looked at again, unless it is woken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requeue {
    /// When something changes.
    OnChange,
    /// After this long.
    After(Duration),
}

/// Objects to look at, each with the lane that it may wait in at the latest.
pub(super) type Woken = UnboundedReceiver<(Key, Lane)>;

/// Works on what is woken until `shutdown`, then waits for the passes under way. Nothing is begun before `ready`.
///
/// `lane` is the lane of an object by itself, as it stands when it begins to wait. `depth` is told how many wait.
pub(super) async fn work<F>(
    mut woken: Woken,
    places: usize,
    depth: impl Fn(usize),
    ready: impl Future<Output = ()>,
    lane: impl Fn(&Key) -> Lane,
    pass: impl Fn(Key) -> F,
    shutdown: CancellationToken,
) where
    F: Future<Output = Requeue> + Send + 'static,
{
    let mut turns = Turns::new(places);
    let mut later = Later::default();
    let mut passes = JoinSet::new();
    let mut ready = std::pin::pin!(ready);
    let mut is_ready = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = &mut ready, if !is_ready => is_ready = true,
            Some(ended) = passes.join_next() => match ended {
                Ok((key, requeue)) => {
                    let waits = turns.finish(&key);
                    if let (Requeue::After(wait), false) = (requeue, waits) {
                        later.set(key, wait);
                    }
                }
                Err(broken) => error!("a pass ended without a word: {broken}"),
            },
            Some((key, at_the_latest)) = woken.next() => {
                let lane = lane(&key).min(at_the_latest);
                turns.add(key, lane);
            }
            Some(key) = later.next() => {
                let lane = lane(&key);
                turns.add(key, lane);
            }
        }
        while is_ready && let Some(key) = turns.next() {
            later.forget(&key);
            let pass = pass(key.clone());
            passes.spawn(async move { (key, pass.await) });
        }
        depth(turns.waiting());
    }
    while passes.join_next().await.is_some() {}
}

/// Objects whose time has not come, each once.
#[derive(Default)]
struct Later {
    queue: DelayQueue<Key>,
    tickets: HashMap<Key, delay_queue::Key>,
}

impl Later {
    fn set(&mut self, key: Key, wait: Duration) {
        self.forget(&key);
        let ticket = self.queue.insert(key.clone(), wait);
        self.tickets.insert(key, ticket);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(ticket) = self.tickets.remove(key) {
            self.queue.remove(&ticket);
        }
    }

    /// The next whose time came. `None` where nobody is waited for.
    async fn next(&mut self) -> Option<Key> {
        let key = self.queue.next().await?.into_inner();
        self.tickets.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// A queue whose passes are noted, and take as many permits as there are.
    struct Bench {
        wake: UnboundedSender<(Key, Lane)>,
        passes: Arc<Mutex<Vec<(String, Duration)>>>,
        permits: Arc<Semaphore>,
        shutdown: CancellationToken,
        work: JoinHandle<()>,
    }

    impl Bench {
        fn new(places: usize, requeue: impl Fn(&str) -> Requeue + Send + Sync + 'static) -> Self {
            let (wake, woken) = unbounded();
            let passes: Arc<Mutex<Vec<(String, Duration)>>> = Arc::default();
            let permits = Arc::new(Semaphore::new(0));
            let shutdown = CancellationToken::new();
            let (noted, taken, requeue, began) = (passes.clone(), permits.clone(), Arc::new(requeue), Instant::now());
            let pass = move |key: Key| {
                noted.lock().unwrap().push((key.name.to_string(), began.elapsed()));
                let (taken, requeue) = (taken.clone(), requeue.clone());
                async move {
                    taken.acquire().await.unwrap().forget();
                    requeue(&key.name)
                }
            };
            let lane = |_: &Key| Lane::Refresh;
            let work = tokio::spawn(work(woken, places, |_| {}, std::future::ready(()), lane, pass, shutdown.clone()));
            Self { wake, passes, permits, shutdown, work }
        }

        fn wake(&self, name: &str, lane: Lane) {
            self.wake.unbounded_send((Key::new("n", name), lane)).unwrap();
        }

        async fn settle(&self) -> Vec<String> {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.passes.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_comes_back_when_it_is_time_and_sooner_when_it_is_woken() {
        let queue = Bench::new(1, |_| Requeue::After(Duration::from_mins(1)));
        queue.permits.add_permits(1000);
        queue.wake("a", Lane::Refresh);
        tokio::time::sleep(Duration::from_secs(90)).await;
        queue.wake("a", Lane::Refresh);
        tokio::time::sleep(Duration::from_secs(100)).await;
        let times: Vec<u64> = queue.passes.lock().unwrap().iter().map(|(_, at)| at.as_secs()).collect();
        assert_eq!(times, [0, 60, 90, 150], "the time that was announced before the wake is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_is_not_passed_over_for_ever_by_those_that_keep_coming() {
        let queue = Bench::new(1, |_| Requeue::OnChange);
        for n in 0..50 {
            queue.wake(&format!("urgent-{n}"), Lane::Urgent);
        }
        queue.wake("patient", Lane::Refresh);
        for n in 50..100 {
            queue.wake(&format!("urgent-{n}"), Lane::Urgent);
            queue.permits.add_permits(1);
            if queue.settle().await.iter().any(|name| name == "patient") {
                return;
            }
        }
        panic!("never its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_woken_during_its_pass_is_looked_at_again_at_once() {
        let queue = Bench::new(4, |_| Requeue::After(Duration::from_hours(1)));
        queue.wake("a", Lane::Refresh);
        assert_eq!(queue.settle().await, ["a"]);
        queue.wake("a", Lane::Refresh);
        assert_eq!(queue.settle().await, ["a"], "not twice at the same time");
        queue.permits.add_permits(1);
        assert_eq!(queue.settle().await, ["a", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn told_to_stop_it_begins_nothing_and_waits_for_what_is_under_way() {
        let queue = Bench::new(2, |_| Requeue::OnChange);
        queue.wake("a", Lane::Refresh);
        assert_eq!(queue.settle().await, ["a"]);
        queue.shutdown.cancel();
        queue.settle().await;
        assert!(!queue.work.is_finished());
        queue.permits.add_permits(1);
        queue.work.await.unwrap();
        assert_eq!(queue.passes.lock().unwrap().len(), 1);
    }
}
