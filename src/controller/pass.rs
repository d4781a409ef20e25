//! One pass over one resource: look, decide, act, until there is nothing more to do.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::api::Api;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tracing::debug;

use crate::api::v1alpha1::{ObjectSeen, SecretVersion};
use crate::domain::backoff::{self, Stimulus};
use crate::domain::class::Class;
use crate::domain::create::bare;
use crate::domain::decide::{decide, recorded_place, requested};
use crate::domain::lane::Lane;
use crate::domain::observed::{Link, Meta, NameFound, Observed, Owner, Seen, Settings};
use crate::domain::place::Place;
use crate::domain::projection::TargetView;
use crate::domain::record::pinned;
use crate::domain::refresh;
use crate::domain::step::{Rest, Step, Wake};
use crate::domain::twins;
use crate::remote::{self, ServedValue};
use crate::secret::SecretBytes;

use super::cache::Kept;
use super::connections::View;
use super::context::Ctx;
use super::error::Error;
use super::index::{ConnectionKey, Key};
use super::memory::{FateAt, Hold, Memory, Shared, lock};
use super::queue::Requeue;
use super::sweep::Organization;
use super::{apply, look};

/// More steps than any pass takes: the longest, a first create that replaces an intent, takes under twenty.
const MAX_STEPS: usize = 60;

/// How long a connection may take to be looked into before its resources say so.
const PATIENCE: Duration = Duration::from_secs(20);

impl Kept for SecretVersion {
    const MANY: bool = true;

    fn lane(&self) -> Lane {
        Lane::of(self)
    }
}

/// The state of one pass.
pub(super) struct Pass<'a> {
    /// What all passes share.
    pub ctx: &'a Ctx,
    /// What the rules see.
    pub observed: Observed,
    /// What is remembered of this resource.
    pub memory: Shared,
    /// The client of the connection, where it can be used.
    pub remote: Option<remote::Client>,
    /// Values that this pass was served, by version id.
    pub values: HashMap<String, ServedValue>,
    /// The source's bytes, read in this pass.
    pub source: Option<(SecretBytes, ObjectSeen)>,
    /// When the list was asked for that this pass decides on.
    pub listed_at: Option<Instant>,
    /// When the intent was begun.
    pub intent_began: Option<Instant>,
    /// The target's metadata, read in this pass.
    pub target: Option<kube::core::ObjectMeta>,
    /// Whether this pass asked for a page's answer: it asks once.
    pub asked: bool,
    /// Whether the target must be read live: the cache was found to lag.
    pub read_target: bool,
    /// What may end a wait early.
    pub stimulus: Stimulus,
    lock: Option<OwnedMutexGuard<()>>,
    tick: Option<i64>,
    /// What the remote was like when a sweep last woke the resource, before this pass.
    swept: Option<u64>,
}

/// Reconciles a resource.
pub(super) async fn reconcile(ctx: &Ctx, cached: &SecretVersion) -> Result<Requeue, Error> {
    let Some(uid) = cached.metadata.uid.clone() else { return Err(Error::Gone) };
    if !ctx.minds(cached) {
        ctx.memories.forget(&uid);
        return Err(Error::Elsewhere);
    }
    let memory = ctx.memories.of(&uid);
    let cr = lock(&memory).newest(cached);
    let view = ctx.connections.view(&cr);
    if let Some(wait) = wait_for_connection(&memory, &view) {
        return Ok(Requeue::After(wait));
    }
    let mut pass = Pass::begin(ctx, cr, memory, view);
    if let Some(wait) = pass.on_hold() {
        return Ok(Requeue::After(wait));
    }
    let memory = pass.memory.clone();
    let outcome = match pass.run().await {
        Ok(rest) => pass.end(rest).await,
        Err(error) => Err(error),
    };
    if matches!(outcome, Err(Error::Elsewhere)) {
        // What another shard does with it from now on is not in here.
        ctx.memories.forget(&uid);
    }
    if matches!(outcome, Err(Error::Kube { .. })) {
        let mut memory = lock(&memory);
        memory.failures = memory.failures.saturating_add(1);
    }
    outcome
}

/// How long to wait for a connection that was not looked into yet. Its first look wakes those who wait; only one that
/// does not come is worth saying so in a status.
fn wait_for_connection(memory: &Shared, view: &View) -> Option<Duration> {
    let mut memory = lock(memory);
    if !view.pending {
        memory.pending_since = None;
        return None;
    }
    let since = *memory.pending_since.get_or_insert_with(Instant::now);
    let left = PATIENCE.saturating_sub(since.elapsed());
    (!left.is_zero()).then_some(left)
}

impl<'a> Pass<'a> {
    fn begin(ctx: &'a Ctx, cr: SecretVersion, memory: Shared, view: View) -> Self {
        let uid = cr.metadata.uid.clone().unwrap_or_default();
        let namespace = cr.metadata.namespace.clone().unwrap_or_default();
        let now = ctx.host.now();
        let tick = refresh::interval(&cr, ctx.default_interval).map(|every| refresh::tick(&uid, every, now));
        let monotonic = Instant::now();
        let (seen_memory, backoff, swept) = {
            let mut memory = lock(&memory);
            note_sights(&mut memory, &cr, &view, monotonic);
            (memory.observe(monotonic), backoff::delay(memory.failures, &uid), memory.swept)
        };
        let source_meta = source_key(&cr).map_or(Meta::NotWatched, |key| ctx.secrets.meta(&key));
        let target_meta = ctx.secrets.meta(&Key::new(&namespace, TargetView::of(&cr).name()));
        let observed = Observed {
            live: false,
            now: whole_seconds(now),
            backoff,
            refresh_due: false,
            link: view.link,
            owner: Owner::This,
            served_elsewhere: BTreeSet::new(),
            namespace_terminating: ctx.connections.terminating(&namespace),
            source_meta,
            target_meta,
            memory: seen_memory,
            settings: Settings { settle: ctx.settle },
            fresh_id: fresh_id(ctx),
            seen: Seen::default(),
            cr,
        };
        let stimulus = Stimulus {
            generation: observed.cr.metadata.generation,
            requested: requested(&observed.cr).map(str::to_owned),
            deleting: observed.cr.metadata.deletion_timestamp.is_some(),
            source: observed.source_meta.clone(),
            target: observed.target_meta.clone(),
            link: view.fingerprint,
            claimed: false,
        };
        let mut pass = Self {
            ctx,
            observed,
            memory,
            remote: view.client,
            values: HashMap::new(),
            source: None,
            listed_at: None,
            intent_began: None,
            target: None,
            asked: false,
            read_target: false,
            stimulus,
            lock: None,
            tick,
            swept,
        };
        pass.survey();
        pass.stimulus.claimed = pass.observed.owner != Owner::This;
        pass.try_what_was_refused();
        pass.observed.refresh_due = pass.is_due();
        pass
    }

    /// Whether a refresh is due: a sweep says so, or where there is none, the clock.
    fn is_due(&self) -> bool {
        let swept = self.is_swept();
        let mut memory = lock(&self.memory);
        // What this process sees for the first time keeps its turn: it is due at its next tick.
        if swept || memory.tick.is_none() {
            memory.tick = self.tick;
        }
        memory.due || (self.tick.is_some() && memory.tick != self.tick)
    }

    /// Whether a sweep sees to the refreshes of this resource: it looks for secrets by their ids.
    fn is_swept(&self) -> bool {
        self.place().is_some() && self.sweep().is_some()
    }

    /// The sweep of this resource's organization, where there is one for it.
    pub(super) fn sweep(&self) -> Option<Organization> {
        let cr = &self.observed.cr;
        let every = refresh::interval_unless_at_rest(cr, self.ctx.default_interval)?;
        // Where Secrets are not watched a refresh looks at them, too.
        let unwatched = self.observed.target_meta == Meta::NotWatched;
        let Link::Ready(access) = &self.observed.link else { return None };
        if unwatched || access.deleting {
            return None;
        }
        // A connection of the cluster serves its own organization only.
        let id = self.organization().filter(|id| !access.cluster || *id == access.organization_id)?;
        let organization = Organization { connection: ConnectionKey::of(cr), id };
        self.ctx.sweeps.covers(&organization, every).then_some(organization)
    }

    /// What the remote refused for good is tried again once source, spec or connection changed.
    fn try_what_was_refused(&mut self) {
        {
            let mut memory = lock(&self.memory);
            let same = memory
                .refused
                .as_ref()
                .is_none_or(|then| then.same_but_for_own_write(&self.stimulus, self.last_target(&memory)));
            if same {
                return;
            }
            memory.refused = None;
            if let Some((_, fate @ FateAt::Refused)) = &mut memory.intent {
                *fate = FateAt::Rejected;
            }
        }
        self.remember();
    }

    /// The target as it was last found right, or as it is recorded.
    pub(super) fn last_target<'m>(&'m self, memory: &'m Memory) -> Option<&'m ObjectSeen> {
        let recorded = || self.observed.cr.status.as_ref()?.target.as_ref();
        memory.target_checked.as_ref().or_else(recorded)
    }

    /// How long nothing is tried, because the last try failed and nothing changed since.
    fn on_hold(&self) -> Option<Duration> {
        let memory = lock(&self.memory);
        let Hold { until, then, swept } = memory.hold.as_deref()?;
        let left = until.saturating_duration_since(Instant::now());
        let same = then.same_but_for_own_write(&self.stimulus, self.last_target(&memory)) && *swept == memory.swept;
        (same && !left.is_zero()).then_some(left)
    }

    async fn run(&mut self) -> Result<Rest, Error> {
        for _ in 0..MAX_STEPS {
            if !self.ctx.guard.may_act() {
                return Err(Error::LeaseLost);
            }
            self.stay_within_shard().await?;
            self.observed.now = whole_seconds(self.ctx.host.now());
            match decide(&self.observed) {
                Step::Look(what) => {
                    debug!(?what, "look");
                    look::look(self, what).await?;
                }
                Step::Do(effect) => {
                    debug!(effect = effect.name(), "do");
                    apply::apply(self, effect).await?;
                }
                Step::Rest(rest) => {
                    debug!(wake = ?rest.wake, "rest");
                    return Ok(rest);
                }
            }
        }
        Err(Error::Endless(MAX_STEPS))
    }

    /// Goes no further with what is another shard's: with a resource, or with the place that a name was found to mean, which is
    /// written down for that shard to go on.
    async fn stay_within_shard(&mut self) -> Result<(), Error> {
        let (ctx, cr) = (self.ctx, &self.observed.cr);
        if !ctx.minds(cr) {
            return Err(Error::Elsewhere);
        }
        // Where a place is recorded, the rules act in no other.
        let Some(place) = self.place().filter(|place| recorded_place(cr).is_none() && !ctx.shard.owns(place)) else {
            return Ok(());
        };
        if matches!(&self.observed.seen.name, Some(NameFound::One(id)) if *id == place.secret_id) {
            let named = pinned(cr, &place);
            self.write_status(&named).await?;
        }
        Err(Error::Elsewhere)
    }

    /// Writes the status where it differs, and says when to come back.
    async fn end(mut self, rest: Rest) -> Result<Requeue, Error> {
        self.write_status(&rest.status).await?;
        let reference = self.observed.cr.object_ref(&());
        for event in &rest.events {
            self.ctx.tell(&reference, event).await;
        }
        if self.observed.seen.trouble.as_ref().is_some_and(|trouble| matches!(trouble.class, Class::Throttled(_))) {
            self.ctx.throttled(&ConnectionKey::of(&self.observed.cr));
        }
        let swept = self.is_swept();
        let mut memory = lock(&self.memory);
        if twins::are_judged(&self.observed, &rest) {
            let versions = self.observed.seen.versions.iter().flat_map(|versions| &versions.all);
            memory.judged.extend(versions.map(|version| version.id.clone()));
        }
        if let Some((_, fate @ FateAt::Fresh)) = &mut memory.intent {
            *fate = FateAt::NotSent;
        }
        let hold = |wait: Duration| {
            let (until, then) = (Instant::now() + wait, self.stimulus.clone());
            Some(Box::new(Hold { until, then, swept: self.swept }))
        };
        let wait = match rest.wake {
            Wake::Refresh => {
                (memory.failures, memory.hold, memory.tick) = (0, None, self.tick);
                // A sweep may have found it in yet another state meanwhile.
                memory.due &= memory.swept != self.swept;
                let uid = self.observed.cr.metadata.uid.as_deref().unwrap_or_default();
                refresh::interval(&self.observed.cr, self.ctx.default_interval)
                    .filter(|_| !swept)
                    .map(|every| refresh::until_next(uid, every, self.ctx.host.now()))
            }
            Wake::After(wait) => {
                memory.hold = hold(wait);
                Some(wait)
            }
            Wake::Backoff(wait) => {
                memory.failures = memory.failures.saturating_add(1);
                memory.hold = hold(wait);
                Some(wait)
            }
        };
        Ok(wait.map_or(Requeue::OnChange, Requeue::After))
    }

    /// The API of the resource.
    pub(super) fn api(&self) -> Api<SecretVersion> {
        Api::namespaced(self.ctx.client.clone(), self.namespace())
    }

    /// The namespace of the resource.
    pub(super) fn namespace(&self) -> &str {
        self.observed.cr.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The name of the resource.
    pub(super) fn name(&self) -> &str {
        self.observed.cr.metadata.name.as_deref().unwrap_or_default()
    }

    /// The place, as far as the spec, the connection and status tell.
    pub(super) fn place(&self) -> Option<Place> {
        let Link::Ready(access) = &self.observed.link else { return recorded_place(&self.observed.cr) };
        let remote = &self.observed.cr.spec.remote_ref;
        let pinned = || self.observed.cr.status.as_ref().and_then(|s| s.secret_id.clone());
        let found = || match &self.observed.seen.name {
            Some(NameFound::One(id)) => Some(id.clone()),
            _ => None,
        };
        Some(Place {
            url: access.url.clone(),
            organization_id: remote.organization_id.clone().unwrap_or_else(|| access.organization_id.clone()),
            secret_id: remote.secret_id.clone().or_else(pinned).or_else(found)?,
        })
    }

    /// The organization of the place, which is known before the place is.
    pub(super) fn organization(&self) -> Option<String> {
        if let Some(place) = self.place() {
            return Some(place.organization_id);
        }
        let Link::Ready(access) = &self.observed.link else { return None };
        let own = &self.observed.cr.spec.remote_ref.organization_id;
        Some(own.clone().unwrap_or_else(|| access.organization_id.clone()))
    }

    /// Takes the lock of the place, unless this pass has it.
    pub(super) async fn take_lock(&mut self) {
        if let (None, Some(place)) = (&self.lock, self.place()) {
            self.lock = Some(self.ctx.places.lock(&place).await);
        }
    }

    /// The rules' view of the memory, after the memory changed. Where this pass decides on a list, ages are those of when it was
    /// asked for: what it lacks had only so long to show, however late it came.
    pub(super) fn remember(&mut self) {
        let listed = self.listed_at.filter(|_| self.observed.seen.versions.is_some());
        self.observed.memory = lock(&self.memory).observe(listed.unwrap_or_else(Instant::now));
    }
}

/// An id that no other intent has.
pub(super) fn fresh_id(ctx: &Ctx) -> String {
    format!("{:016x}{:016x}", ctx.host.random(), ctx.host.random())
}

/// Times in conditions have no fractions, so what is written must have none, or it would differ from what is read.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The Secret that a managed resource takes its value from.
pub(super) fn source_key(cr: &SecretVersion) -> Option<Key> {
    let source = cr.spec.value_from.as_ref()?.secret_key_ref.as_ref()?;
    Some(Key::new(cr.metadata.namespace.as_deref().unwrap_or_default(), &source.name))
}

/// Notes what this pass sees for the first time.
fn note_sights(memory: &mut Memory, cr: &SecretVersion, view: &View, now: Instant) {
    if let Some(intent) = cr.status.as_ref().and_then(|s| s.create.as_ref())
        && memory.intent.as_ref().is_none_or(|(id, _)| *id != intent.id)
    {
        memory.intent = Some((intent.id.clone(), FateAt::Found(now)));
    }
    if !bare(cr) {
        memory.bare_since = None;
        memory.finalizer_is_fresh = false;
    } else if memory.bare_since.is_none() {
        memory.bare_since = Some(now);
    }
    let gone = cr.metadata.deletion_timestamp.is_some() && view.credential_gone;
    memory.unreachable_since = gone.then(|| memory.unreachable_since.unwrap_or(now));
}
