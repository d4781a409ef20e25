//! The order of things. Every request takes its turn here, and every event of a request has an instant of its own, so
//! that the course of a world follows from its seed alone: what is sent within one instant is ordered by what it is, not by
//! which task was polled first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// The wires of a world, and its clock.
#[derive(Debug)]
pub(crate) struct Network {
    start: Instant,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    waiting: Vec<(String, oneshot::Sender<Rng>)>,
    /// Milliseconds that something happens in already.
    taken: BTreeSet<u64>,
    trace: Vec<String>,
}

impl Network {
    /// Begins now.
    pub(crate) fn start(rng: Rng) -> Arc<Self> {
        let state = State { rng, waiting: Vec::new(), taken: BTreeSet::new(), trace: Vec::new() };
        let network = Arc::new(Self { start: Instant::now(), state: Mutex::new(state), news: Notify::new() });
        tokio::spawn(direct(network.clone()));
        network
    }

    /// Waits for the turn of a request, and gives it chances of its own.
    pub(crate) async fn turn(&self, who: String) -> Rng {
        let (sender, receiver) = oneshot::channel();
        self.lock().waiting.push((who, sender));
        self.news.notify_one();
        match receiver.await {
            Ok(rng) => rng,
            Err(_) => std::future::pending().await,
        }
    }

    /// Sleeps, at least so many milliseconds, to one in which nothing else happens.
    pub(crate) async fn pause(&self, millis: u64) {
        let at = {
            let mut state = self.lock();
            let now = self.now();
            state.taken = state.taken.split_off(&now);
            let mut at = now + millis.max(1);
            while !state.taken.insert(at) {
                at += 1;
            }
            at
        };
        sleep_until(self.start + Duration::from_millis(at)).await;
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes what happened.
    pub(crate) fn note(&self, what: &str) {
        let line = format!("{:>9.3} {what}", Duration::from_millis(self.now()).as_secs_f64());
        self.lock().trace.push(line);
    }

    /// What happened.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives out the turns: all that came within an instant, in order, each in an instant of its own.
async fn direct(network: Arc<Network>) {
    loop {
        network.news.notified().await;
        // The clock moves only once nobody has anything left to do, so all that this instant brings is there.
        network.pause(1).await;
        let mut waiting = std::mem::take(&mut network.lock().waiting);
        waiting.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (at, (_, sender)) in waiting.into_iter().enumerate() {
            if at > 0 {
                network.pause(1).await;
            }
            let seed = network.lock().rng.u64(..);
            let _ = sender.send(Rng::with_seed(seed));
        }
    }
}
