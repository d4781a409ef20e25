//! Refreshes by page: one look over an organization's secrets serves every resource that is refreshed there, and wakes those
//! whose versions moved. Reads only, and decides nothing: whoever is woken reads live.
//!
//! Where an organization's secrets cannot be listed, or are far more than are used here, each resource is refreshed by itself
//! at its own times, as if there were no sweep.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, info};

use crate::api::v1alpha1::RefreshMode;
use crate::domain::backoff;
use crate::domain::class::Class;
use crate::domain::moved::moved;
use crate::domain::observed::Version;
use crate::domain::place::Place;
use crate::domain::refresh;
use crate::remote::{Next, Round, SecretsPage, Values};

use super::context::Ctx;
use super::index::{ConnectionKey, Key};
use super::look::bare;
use super::memory::lock;
use super::survey::place_of;
use super::wants::{self, Answer, Wanted, Wants};

/// How long an organization is refreshed secret by secret before its list is tried again.
const TRY_AGAIN: Duration = Duration::from_hours(1);

/// How often it is seen meanwhile whether so many secrets are used that the list is worth a try.
const RECOUNT: Duration = Duration::from_mins(1);

/// Looks in a row that may fail before resources see to themselves, each of which says what is wrong.
const PATIENCE: u32 = 1;

/// The least time before a page that was refused is asked for again, or a sweep that is still needed is ended.
const PACE: Duration = Duration::from_secs(1);

/// An organization as one connection sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Organization {
    /// The connection.
    pub connection: ConnectionKey,
    /// The organization's id.
    pub id: String,
}

#[derive(Debug)]
struct Swept {
    mode: RefreshMode,
    /// The time from one look to the next.
    every: Duration,
    /// Told when somebody wants to be looked at more often.
    hurry: Arc<Notify>,
    /// Who waits for what its pages say.
    wants: Arc<Wants>,
}

/// Which organizations are swept.
#[derive(Debug)]
pub struct Sweeps {
    all: Mutex<BTreeMap<Organization, Swept>>,
    begin: UnboundedSender<Organization>,
}

impl Sweeps {
    /// Nothing is swept yet. What is to be comes out of the other end.
    pub fn new() -> (Self, UnboundedReceiver<Organization>) {
        let (begin, asked_for) = unbounded();
        (Self { all: Mutex::default(), begin }, asked_for)
    }

    /// Whether a resource of this organization, which wants to be refreshed so often, need not see to it by itself.
    pub fn covers(&self, organization: &Organization, every: Duration) -> bool {
        let mut all = lock(&self.all);
        if let Some(swept) = all.get_mut(organization) {
            if every < swept.every {
                swept.every = every;
                swept.hurry.notify_one();
            }
            return swept.mode == RefreshMode::ByPage;
        }
        let swept = Swept { mode: RefreshMode::ByPage, every, hurry: Arc::default(), wants: Arc::default() };
        all.insert(organization.clone(), swept);
        self.begin.unbounded_send(organization.clone()).is_ok()
    }

    fn hurry(&self, organization: &Organization) -> Arc<Notify> {
        lock(&self.all).get(organization).map(|swept| swept.hurry.clone()).unwrap_or_default()
    }

    /// Asks, for a resource, those who read an organization's pages.
    pub(super) fn ask(&self, organization: &Organization, uid: &str, key: &Key, wanted: &Wanted) -> Answer {
        lock(&self.all).get(organization).map_or(Answer::Alone, |swept| swept.wants.ask(uid, key, wanted))
    }

    fn wants(&self, organization: &Organization) -> Option<Arc<Wants>> {
        lock(&self.all).get(organization).map(|swept| swept.wants.clone())
    }

    fn set_every(&self, organization: &Organization, every: Duration) {
        if let Some(swept) = lock(&self.all).get_mut(organization) {
            swept.every = every;
        }
    }

    /// How an organization is refreshed, where it is.
    pub fn mode(&self, organization: &Organization) -> Option<RefreshMode> {
        lock(&self.all).get(organization).map(|swept| swept.mode)
    }

    /// How many organizations are refreshed so.
    fn count(&self, mode: RefreshMode) -> usize {
        lock(&self.all).values().filter(|swept| swept.mode == mode).count()
    }

    /// Changes the mode. Answers whether it was another before.
    fn set_mode(&self, organization: &Organization, mode: RefreshMode) -> bool {
        let mut all = lock(&self.all);
        let Some(swept) = all.get_mut(organization) else { return false };
        std::mem::replace(&mut swept.mode, mode) != mode
    }

    /// Ends a sweep, unless somebody waits for it. Answers whether it is ended.
    fn end(&self, organization: &Organization) -> bool {
        let mut all = lock(&self.all);
        let ends = all.get(organization).is_none_or(|swept| swept.wants.is_idle());
        if ends {
            all.remove(organization);
        }
        ends
    }
}

/// Sweeps whatever organization resources ask for, each in a task of its own: one that is slow or broken slows no other.
pub(super) async fn run(ctx: Arc<Ctx>, mut begun: UnboundedReceiver<Organization>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => return,
            Some(organization) = begun.next() => drop(tasks.spawn(guarded(ctx.clone(), organization))),
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Whatever goes wrong in it, an organization goes on being looked after: its resources rely on that.
async fn guarded(ctx: Arc<Ctx>, organization: Organization) {
    while AssertUnwindSafe(tend(&ctx, &organization)).catch_unwind().await.is_err() {
        ctx.metrics.reconcile_panic("Sweep");
        error!(organization = organization.id, "the sweep panicked, and begins anew");
        tokio::time::sleep(RECOUNT).await;
    }
}

/// Looks over an organization, and serves who waits for its pages, until nobody there is refreshed any more.
async fn tend(ctx: &Ctx, organization: &Organization) {
    let Some(wants) = ctx.sweeps.wants(organization) else { return };
    tokio::select! {
        biased;
        () = sweep(ctx, organization) => {}
        () = wants::serve(ctx, organization, &wants) => {}
    }
}

/// Looks over an organization again and again, until nobody there is refreshed any more.
async fn sweep(ctx: &Ctx, organization: &Organization) {
    let mut failures = 0;
    let hurry = ctx.sweeps.hurry(organization);
    // Shards do not all look in the same moment.
    let phase = format!("{}/{}/{}", organization.connection.key, organization.id, ctx.shard);
    publish(ctx, organization);
    loop {
        // Not all of them are kept over the wait.
        let (every, secrets) = {
            let users = Users::of(ctx, organization);
            (users.every, users.by_secret.len())
        };
        let Some(every) = every else {
            if ctx.sweeps.end(organization) {
                return publish(ctx, organization);
            }
            // Whoever asks is not always counted: what a name means is written down only after the first answer.
            tokio::time::sleep(PACE).await;
            continue;
        };
        ctx.sweeps.set_every(organization, every);
        let tick = refresh::until_next(&phase, every, ctx.host.now());
        let wait = if failures == 0 { tick } else { backoff::delay(failures, &phase) };
        tokio::select! {
            biased;
            () = hurry.notified() => continue,
            () = tokio::time::sleep(wait) => {}
        }
        match look(ctx, organization).await {
            Look::Done => {
                failures = 0;
                if ctx.sweeps.set_mode(organization, RefreshMode::ByPage) {
                    info!(organization = organization.id, "refreshed by page again");
                    publish(ctx, organization);
                }
            }
            Look::NotNow => failures = 0,
            Look::Failed | Look::Throttled(_) => {
                failures += 1;
                if failures > PATIENCE {
                    alone(ctx, organization, "the list fails again and again");
                }
            }
            Look::Alone(why) => {
                failures = 0;
                alone(ctx, organization, why);
                worth_another_try(ctx, organization, secrets).await;
            }
        }
    }
}

/// Waits until an hour is over, or twice as many secrets are used.
async fn worth_another_try(ctx: &Ctx, organization: &Organization, secrets: usize) {
    let until = Instant::now() + TRY_AGAIN;
    while Instant::now() < until {
        tokio::time::sleep(RECOUNT).await;
        if Users::of(ctx, organization).by_secret.len() > 2 * secrets {
            return;
        }
    }
}

/// From now on each resource sees to its own refreshes: it keeps its turn, so they do not all come at once.
fn alone(ctx: &Ctx, organization: &Organization, why: &str) {
    if !ctx.sweeps.set_mode(organization, RefreshMode::BySecret) {
        return;
    }
    info!(organization = organization.id, "refreshed secret by secret: {why}");
    publish(ctx, organization);
    let keys: Vec<Key> = Users::of(ctx, organization).by_secret.into_values().flatten().collect();
    for key in &keys {
        if let Some(uid) = ctx.resource(key).and_then(|object| object.0.as_ref().ok()?.metadata.uid.clone()) {
            lock(&ctx.memories.of(&uid)).tick = None;
        }
    }
    ctx.wake_resources(keys);
}

/// Shows people how an organization is refreshed.
fn publish(ctx: &Ctx, organization: &Organization) {
    for (mode, word) in [(RefreshMode::ByPage, "by_page"), (RefreshMode::BySecret, "by_secret")] {
        ctx.metrics.set_organizations(word, ctx.sweeps.count(mode));
    }
    ctx.wake_connection(&organization.connection);
}

/// The resources of an organization that are refreshed, of this shard. Those that may not use what they name are none of them.
struct Users {
    by_secret: BTreeMap<Arc<str>, Vec<Key>>,
    /// The shortest of their intervals.
    every: Option<Duration>,
}

impl Users {
    fn of(ctx: &Ctx, organization: &Organization) -> Self {
        let mut users = Self { by_secret: BTreeMap::new(), every: None };
        let connections = &ctx.connections;
        let Some(url) = connections.url(&organization.connection) else { return users };
        let here = Place { url, organization_id: organization.id.clone(), secret_id: String::new() };
        for (key, secret, user) in ctx.index.users(&organization.connection) {
            let (Some(secret), Some(every)) = (secret, user.every) else { continue };
            let is_here = match user.recorded {
                Some(recorded) => (&recorded.0, &recorded.1) == (&here.url, &here.organization_id),
                None => is_new_here(ctx, &key, &here),
            };
            let is_ours = || ctx.shard.owns(&Place { secret_id: secret.to_string(), ..here.clone() });
            if !is_here || !is_ours() || !connections.permits(&organization.connection, &key.namespace, &secret) {
                continue;
            }
            users.every = Some(users.every.map_or(every, |least| least.min(every)));
            // Nearly always one: the room for more would be most of what this takes.
            users.by_secret.entry(secret).or_insert_with(|| Vec::with_capacity(1)).push(key);
        }
        users
    }
}

/// Whether a resource that records no place yet names this one, whatever its secret.
fn is_new_here(ctx: &Ctx, key: &Key, here: &Place) -> bool {
    let place = ctx.resource(key).and_then(|object| place_of(ctx, object.0.as_ref().ok()?));
    place.is_some_and(|place| (&place.url, &place.organization_id) == (&here.url, &here.organization_id))
}

/// What a look came to.
pub(super) enum Look {
    Done,
    /// The connection cannot be used, and says so itself.
    NotNow,
    Failed,
    /// The remote wants to be left alone for longer than could be waited.
    Throttled(Duration),
    /// The list is not the way to refresh here.
    Alone(&'static str),
}

/// One page, tried again where the remote or its budget make it wait, as long as that is not for longer than `patience`.
pub(super) async fn page(
    ctx: &Ctx,
    organization: &Organization,
    offset: u64,
    values: Values,
    patience: Duration,
) -> Result<SecretsPage, Look> {
    let began = Instant::now();
    loop {
        let client = ctx.connections.client(&organization.connection).filter(|_| ctx.guard.may_act());
        let Some(client) = client else { return Err(Look::NotNow) };
        let error = match client.list_secrets_page(&organization.id, offset, values).await {
            Ok(page) => return Ok(page),
            Err(error) => error,
        };
        if matches!(error.class(), Class::Throttled(_)) {
            ctx.throttled(&organization.connection);
        }
        match (error.status(), error.class()) {
            (Some(403..=405), _) => return Err(Look::Alone("the credential may not list the organization's secrets")),
            (_, Class::Throttled(after)) if began.elapsed() + after > patience => return Err(Look::Throttled(after)),
            (_, Class::Throttled(after)) => tokio::time::sleep(after.max(PACE)).await,
            _ => return Err(Look::Failed),
        }
    }
}

async fn look(ctx: &Ctx, organization: &Organization) -> Look {
    let began = Instant::now();
    let users = Users::of(ctx, organization);
    let mut round = Round::new(users.by_secret.keys().map(ToString::to_string));
    let mut offset = 0;
    loop {
        let page = match page(ctx, organization, offset, Values::Omit, Duration::MAX).await {
            Ok(page) => page,
            Err(ended) => return ended,
        };
        for secret in &page.secrets {
            if let Some(keys) = users.by_secret.get(&*secret.id) {
                let mut versions: Vec<Version> = secret.versions.iter().map(bare).collect();
                // In whatever order they are listed, they are the same.
                versions.sort_by(|one, other| one.id.cmp(&other.id));
                wake_if_moved(ctx, keys, &versions);
            }
        }
        match round.page(page.secrets.iter().map(|secret| secret.id.as_str()), page.has_next) {
            Next::Page(next) => offset = next,
            Next::Done => break,
            Next::TooLong => return Look::Alone("its list covers far more secrets than are used here"),
            Next::Endless => return Look::Failed,
        }
    }
    // Twice not listed, or in a single page: gone, perhaps, or no longer to be seen.
    for keys in round.unseen().filter_map(|id| users.by_secret.get(id)) {
        wake_if_moved(ctx, keys, &[]);
    }
    debug!(organization = organization.id, elapsed = ?began.elapsed(), "looked over");
    Look::Done
}

/// Wakes those to whom the versions of their secret are news.
fn wake_if_moved(ctx: &Ctx, keys: &[Key], versions: &[Version]) {
    let mut hasher = DefaultHasher::new();
    for version in versions {
        (&version.id, version.number, version.state, &version.updated_at).hash(&mut hasher);
    }
    let state = hasher.finish();
    for key in keys {
        let Some(object) = ctx.resource(key) else { continue };
        let Ok(cached) = &object.0 else { continue };
        let Some(uid) = &cached.metadata.uid else { continue };
        let memory = ctx.memories.of(uid);
        let mut memory = lock(&memory);
        let cr = memory.newest(cached);
        let tick = refresh::interval(&cr, ctx.default_interval).map(|every| refresh::tick(uid, every, ctx.host.now()));
        if moved(&cr, versions).wakes(memory.swept == Some(state), memory.tick != tick) {
            memory.swept = Some(state);
            memory.due = true;
            drop(memory);
            ctx.wake_resources([key.clone()]);
        }
    }
}
