//! What this process remembers of each resource between passes, on the monotonic clock. Losing it is safe.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::v1alpha1::{ObjectSeen, SecretVersion};
use crate::domain::backoff::Stimulus;
use crate::domain::observed::{self, Fate};

/// Creates that may come at once.
const CREATE_BURST: f64 = 5.0;

/// Creates per second after that: one a minute.
const CREATE_RATE: f64 = 1.0 / 60.0;

/// An intent's fate, with times as they are kept.
#[derive(Clone, Copy, Debug)]
pub enum FateAt {
    /// Written in this pass.
    Fresh,
    /// Not sent, and will not be.
    NotSent,
    /// Refused by the remote.
    Rejected,
    /// Refused by the remote for good.
    Refused,
    /// Sent; the request ended then.
    Ambiguous(Instant),
    /// Found; first seen then.
    Found(Instant),
}

/// The ids of all secrets with a name, and until when that may be used.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub ids: Arc<[String]>,
    pub until: Instant,
}

/// Why nothing is tried for now.
#[derive(Debug)]
pub struct Hold {
    pub until: Instant,
    /// What was so when the last try failed.
    pub then: Stimulus,
    /// What a sweep had found the remote to be like.
    pub swept: Option<u64>,
}

/// What a write of this process made of the resource.
#[derive(Debug)]
pub(super) struct Own {
    cr: SecretVersion,
    /// The resource versions that it replaced.
    replaced: Vec<String>,
}

/// The memory of one resource. At rest nearly all of it is empty, so what is large has a box of its own.
#[derive(Debug)]
pub struct Memory {
    /// The fate of the intent with this id.
    pub intent: Option<(String, FateAt)>,
    /// When the finalizer was first seen with neither record nor intent.
    pub bare_since: Option<Instant>,
    /// Whether this process added the finalizer, and neither record nor intent was seen since.
    pub finalizer_is_fresh: bool,
    /// Ids that lists lack, and since when.
    pub missing: BTreeMap<String, Instant>,
    /// Ids proved gone.
    pub gone: BTreeSet<String>,
    /// Ids that this process created.
    pub known: BTreeSet<String>,
    /// The source when its bytes were last found unchanged.
    pub source_checked: Option<Box<ObjectSeen>>,
    /// The target when it was last found right, where that is not what the cache shows in status.
    pub target_checked: Option<ObjectSeen>,
    /// Ids that were judged to be late twins or other people's.
    pub judged: BTreeSet<String>,
    /// Since when the credential has been gone while the resource was being deleted.
    pub unreachable_since: Option<Instant>,
    /// Since when the connection has not been looked into.
    pub pending_since: Option<Instant>,
    /// Passes that failed in a row.
    pub failures: u32,
    /// Until when nothing is tried, unless something other than this changed, or a sweep found the remote in another state.
    pub hold: Option<Box<Hold>>,
    /// The refresh tick that was last served.
    pub tick: Option<i64>,
    /// Whether a sweep found that the remote moved, and no pass has settled it yet.
    pub due: bool,
    /// What the remote was like when a sweep last woke the resource.
    pub swept: Option<u64>,
    /// What a name was just found to mean.
    pub named: Option<Box<Named>>,
    /// What was so when the remote refused a create for good.
    pub refused: Option<Box<Stimulus>>,
    /// The resource as this process last wrote it, until the cache shows as much.
    own: Option<Box<Own>>,
    creates: f64,
    creates_at: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            intent: None,
            bare_since: None,
            finalizer_is_fresh: false,
            missing: BTreeMap::new(),
            gone: BTreeSet::new(),
            known: BTreeSet::new(),
            source_checked: None,
            target_checked: None,
            judged: BTreeSet::new(),
            unreachable_since: None,
            pending_since: None,
            failures: 0,
            hold: None,
            tick: None,
            due: false,
            swept: None,
            named: None,
            refused: None,
            own: None,
            creates: CREATE_BURST,
            creates_at: Instant::now(),
        }
    }
}

impl Memory {
    /// The memory as the rules see it: ages instead of times.
    pub fn observe(&self, now: Instant) -> observed::Memory {
        let age = |since: Instant| now.saturating_duration_since(since);
        let fate = |fate: FateAt| match fate {
            FateAt::Fresh => Fate::Fresh,
            FateAt::NotSent => Fate::NotSent,
            FateAt::Rejected => Fate::Rejected,
            FateAt::Refused => Fate::Refused,
            FateAt::Ambiguous(at) => Fate::Ambiguous(age(at)),
            FateAt::Found(at) => Fate::Found(age(at)),
        };
        observed::Memory {
            intent: self.intent.as_ref().map(|(id, at)| (id.clone(), fate(*at))),
            bare_for: self.bare_since.map(age),
            finalizer_is_fresh: self.finalizer_is_fresh,
            create_wait: self.create_wait(now),
            missing: self.missing.iter().map(|(id, since)| (id.clone(), age(*since))).collect(),
            gone: self.gone.clone(),
            known: self.known.clone(),
            source_checked: self.source_checked.as_deref().cloned(),
            target_checked: self.target_checked.clone(),
            judged: self.judged.clone(),
            unreachable_for: self.unreachable_since.map(age),
        }
    }

    fn creates_now(&self, now: Instant) -> f64 {
        let refill = now.saturating_duration_since(self.creates_at).as_secs_f64() * CREATE_RATE;
        (self.creates + refill).min(CREATE_BURST)
    }

    fn create_wait(&self, now: Instant) -> Option<Duration> {
        let have = self.creates_now(now);
        (have < 1.0).then(|| Duration::from_secs_f64((1.0 - have) / CREATE_RATE))
    }

    /// Counts one create against the rate.
    pub fn spend_create(&mut self, now: Instant) {
        self.creates = self.creates_now(now) - 1.0;
        self.creates_at = now;
    }

    /// The newer of the cached resource and what this process wrote, or found where it was to write.
    pub fn newest(&mut self, cached: &SecretVersion) -> SecretVersion {
        match &self.own {
            Some(own)
                if own.cr.metadata.uid == cached.metadata.uid
                    && cached.metadata.resource_version.as_ref().is_some_and(|v| own.replaced.contains(v)) =>
            {
                own.cr.clone()
            }
            _ => {
                self.own = None;
                cached.clone()
            }
        }
    }

    /// Notes that one state of the resource was replaced by another, whether or not the cache shows it yet.
    pub fn replaced(&mut self, before: Option<String>, after: &SecretVersion) {
        let mut replaced = self.own.take().map(|own| own.replaced).unwrap_or_default();
        if before != after.metadata.resource_version {
            replaced.extend(before);
        }
        self.own = Some(Box::new(Own { cr: after.clone(), replaced }));
    }
}

/// The memory of every resource, by UID.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<String, Shared>>);

/// One resource's memory: a pass holds it, and so may a request that outlives the pass.
pub(super) type Shared = Arc<Mutex<Memory>>;

impl Memories {
    /// The memory of a resource.
    pub fn of(&self, uid: &str) -> Shared {
        lock(&self.0).entry(uid.to_owned()).or_default().clone()
    }

    /// How many passes over a resource failed in a row. None is known of one that is no longer there.
    pub fn failures(&self, uid: &str) -> u32 {
        lock(&self.0).get(uid).map_or(0, |memory| lock(memory).failures)
    }

    /// Forgets a resource.
    pub fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    /// Notes that the cache shows a resource so. What it says itself need not be remembered then.
    pub fn shown(&self, cr: &SecretVersion) {
        let Some(memory) = cr.metadata.uid.as_ref().and_then(|uid| lock(&self.0).get(uid).cloned()) else { return };
        let mut memory = lock(&memory);
        let recorded = cr.status.as_ref().and_then(|status| status.target.as_ref());
        if memory.target_checked.as_ref() == recorded {
            memory.target_checked = None;
        }
        if memory.own.as_ref().is_some_and(|own| own.cr.metadata.resource_version == cr.metadata.resource_version) {
            memory.own = None;
        }
    }

    /// Forgets all others, where there is something to forget.
    pub fn keep(&self, uids: impl FnOnce() -> HashSet<String>) {
        if !lock(&self.0).is_empty() {
            let uids = uids();
            lock(&self.0).retain(|uid, _| uids.contains(uid));
        }
    }
}

/// Locks even after a panic elsewhere: memory is only ever replaced whole, field by field.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_creates_at_once_and_then_one_a_minute() {
        let mut memory = Memory::default();
        for _ in 0..5 {
            assert_eq!(memory.create_wait(Instant::now()), None);
            memory.spend_create(Instant::now());
        }
        let wait = memory.create_wait(Instant::now()).unwrap();
        assert!(wait > Duration::from_secs(59) && wait <= Duration::from_mins(1), "{wait:?}");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(memory.create_wait(Instant::now()), None);
    }

    fn at(version: &str) -> SecretVersion {
        let mut cr = SecretVersion::default();
        cr.metadata.resource_version = Some(version.into());
        cr
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_shows_what_was_replaced_is_not_believed() {
        let mut memory = Memory::default();
        memory.replaced(Some("1".into()), &at("2"));
        memory.replaced(Some("2".into()), &at("3"));
        for (cached, expected) in [("1", "3"), ("2", "3"), ("3", "3"), ("4", "4"), ("1", "1")] {
            assert_eq!(memory.newest(&at(cached)).metadata.resource_version.as_deref(), Some(expected), "{cached}");
        }
    }
}
