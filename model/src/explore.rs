//! Explores a world to its end, or to the first broken promise.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::config::Config;
use crate::environment::Action;
use crate::model::Protocol;

/// What was found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States that were reached, by every way to them.
    pub states: usize,
    /// States that differ.
    pub unique: usize,
    /// The longest way.
    pub depth: usize,
    /// Whether every state was reached that there is.
    pub to_its_end: bool,
    /// How long it took.
    pub took: Duration,
    /// The promise that was broken, how, and the shortest way there.
    pub broken: Option<(String, Vec<Action>)>,
}

/// Explores to the end, with one thread, whose ways are the shortest, or faster with more.
pub fn explore(config: Config, threads: usize) -> Outcome {
    explore_some(config, threads, usize::MAX)
}

/// The same, up to about so many states.
pub fn explore_some(config: Config, threads: usize, most: usize) -> Outcome {
    let began = Instant::now();
    let checker = Protocol::new(config)
        .checker()
        .threads(threads)
        .target_state_count(most)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let shortest = checker.discoveries().into_iter().min_by_key(|(_, path)| path.clone().into_actions().len());
    let broken = shortest.map(|(promise, path)| {
        let detail = checker.model().wrong_at_rest(path.last_state());
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        (format!("{promise}{detail}"), path.into_actions())
    });
    Outcome {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        to_its_end: checker.state_count() < most,
        took: began.elapsed(),
        broken,
    }
}
