//! The operator's own rules, asked once for each view that differs.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};

use secret_version_operator::api::v1alpha1::VersionState;
use secret_version_operator::domain::decide::decide;
use secret_version_operator::domain::step::{Effect, Look, Step, Wake};
use secret_version_operator::domain::twins::are_judged;

use crate::breaks;
use crate::config::Config;
use crate::translate::{number, observed, small, told};
use crate::world::{Numbers, Status, View};

/// What people are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Versions that are named.
    pub named: Numbers,
    /// Versions that are named as late.
    pub late: Numbers,
    /// Whether more may have been left behind.
    pub left_behind: bool,
}

/// A step of the rules, in the model's types.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Live,
    Source,
    Versions { values: bool },
    Version(u8),
    Gone(u8),
    Target(u8),
    AddFinalizer,
    RemoveFinalizer(Told),
    WriteIntent(Status, Told),
    WriteStatus(Status, Told),
    Create(u8),
    SetState(u8, bool),
    Delete(u8),
    WriteTarget(u8),
    Rest { status: Status, told: Told, judged: bool, refresh: bool },
}

/// Whether a step only reads, or sends a create, which asks for the Lease once more: nothing of it outlives the Lease.
pub(crate) fn is_look(act: &Act) -> bool {
    matches!(
        act,
        Act::Live
            | Act::Source
            | Act::Versions { .. }
            | Act::Version(_)
            | Act::Gone(_)
            | Act::Target(_)
            | Act::Create(_)
    )
}

const SHARDS: u64 = 64;

/// Asks the rules, and keeps their answers: they are pure, so the same view gets the same answer.
pub(crate) struct Rules {
    answers: Vec<Mutex<HashMap<u64, Arc<Act>>>>,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self { answers: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn decide(&self, view: &View, config: &Config) -> Arc<Act> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(view);
        let shard = &self.answers[usize::try_from(hash % SHARDS).unwrap_or(0)];
        let known = shard.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        known.unwrap_or_else(|| {
            let act = Arc::new(ask(view, config));
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, act.clone());
            act
        })
    }
}

fn ask(view: &View, config: &Config) -> Act {
    let mut observed = observed(view, config);
    breaks::before(config.broken, &mut observed);
    let step = breaks::after(config.broken, &observed, decide(&observed));
    let judged = matches!(&step, Step::Rest(rest) if are_judged(&observed, rest));
    act(step, judged)
}

fn act(step: Step, judged: bool) -> Act {
    match step {
        Step::Look(look) => match look {
            Look::Live => Act::Live,
            Look::Source => Act::Source,
            Look::Versions { values } => Act::Versions { values },
            Look::Version { id } => Act::Version(number(&id)),
            Look::Gone { id } => Act::Gone(number(&id)),
            Look::Target { version_id } => Act::Target(number(&version_id)),
            Look::Name(_) => unreachable!("every resource of the model names its secret by id"),
        },
        Step::Do(effect) => match effect {
            Effect::AddFinalizer => Act::AddFinalizer,
            Effect::RemoveFinalizer { events } => Act::RemoveFinalizer(told(&events)),
            Effect::WriteIntent { status, events } => Act::WriteIntent(small(&status), told(&events)),
            Effect::WriteStatus { status, events } => Act::WriteStatus(small(&status), told(&events)),
            Effect::CreateVersion { intent } => Act::Create(number(&intent)),
            Effect::SetState { version_id, state } => Act::SetState(number(&version_id), state == VersionState::Active),
            Effect::DeleteVersion { version_id } => Act::Delete(number(&version_id)),
            Effect::WriteTarget { version_id, .. } => Act::WriteTarget(number(&version_id)),
            Effect::RemoveTarget { .. } => unreachable!("no target of the model changes its name"),
        },
        Step::Rest(rest) => Act::Rest {
            status: small(&rest.status),
            told: told(&rest.events),
            judged,
            refresh: rest.wake == Wake::Refresh,
        },
    }
}
