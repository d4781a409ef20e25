//! The world, and a shell that carries out what the rules say in it. Values are texts, digests name them, time is a number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::api::v1alpha1::{CreationPolicy, ObjectSeen, Permission, SecretVersion, SecretVersionStatus, VersionState};
use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT};
use crate::domain::create::bare;
use crate::domain::decide::decide;
use crate::domain::observed::{
    Access, Fate, Link, Memory, Meta, NameFound, Observed, Owner, Seen, SendFailure, Sent, Settings, Sight, Source,
    TargetSight, Version, Versions,
};
use crate::domain::outcome::{Outcome, classify, refused_for_good};
use crate::domain::reason::Reason;
use crate::domain::step::{Effect, Event, Look, Step, Wake};
use crate::domain::twins;

pub(super) const SETTLE: Duration = Duration::from_secs(30);
pub(super) const URL: &str = "https://remote";
pub(super) const ORGANIZATION: &str = "1";
pub(super) const SECRET: &str = "2";

/// A version at the remote, with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remote {
    pub(super) id: String,
    pub(super) number: i64,
    pub(super) state: VersionState,
    pub(super) value: String,
    pub(super) served: bool,
    pub(super) changed: i64,
}

/// What becomes of the next create request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// It is carried out and answered.
    Answered,
    /// It is carried out, and the answer is lost.
    LostAfter,
    /// It is not carried out, and no answer comes.
    LostBefore,
    /// It is refused with this status, in the API's own words.
    Refused(u16),
    /// It is carried out only after this long; the answer is lost.
    Late(Duration),
}

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crash {
    /// At which effect of the run, counted from 0.
    pub(super) at: usize,
    /// After the effect, else before it.
    pub(super) after: bool,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Rest(Wake),
    Crashed,
    Removed,
}

pub(super) struct World {
    pub(super) cr: SecretVersion,
    pub(super) exists: bool,
    pub(super) remote: Vec<Remote>,
    pub(super) source: Option<String>,
    pub(super) source_writes: u64,
    pub(super) target: Option<(String, u64)>,
    pub(super) link: Link,
    pub(super) owner: Owner,
    pub(super) served_elsewhere: BTreeSet<String>,
    pub(super) post: Post,
    pub(super) crash: Option<Crash>,
    /// How long another create is over the rate.
    pub(super) create_wait: Option<Duration>,
    pub(super) now: Duration,
    pub(super) refresh_due: bool,
    /// Everything that was done, by name.
    pub(super) effects: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) kube_writes: usize,
    late: Vec<(Duration, String)>,
    target_writes: u64,
    /// How often it was made: each is another object.
    targets_made: u64,
    next_number: i64,
    next_intent: u64,
    memory: Remembered,
}

#[derive(Default)]
struct Remembered {
    intent: Option<(String, Known)>,
    bare_since: Option<Duration>,
    finalizer_is_fresh: bool,
    missing: BTreeMap<String, Duration>,
    gone: BTreeSet<String>,
    known: BTreeSet<String>,
    judged: BTreeSet<String>,
    source_checked: Option<ObjectSeen>,
    target_checked: Option<ObjectSeen>,
}

#[derive(Clone, Copy)]
enum Known {
    Fresh,
    NotSent,
    Rejected,
    Refused,
    Ambiguous(Duration),
    Found(Duration),
}

pub(super) fn access() -> Access {
    Access {
        url: URL.into(),
        organization_id: ORGANIZATION.into(),
        cluster: false,
        permission: Permission::ReadWrite,
        protected: true,
        deleting: false,
        timeout: Duration::from_secs(30),
    }
}

fn resource(spec: &serde_json::Value) -> SecretVersion {
    let mut cr: SecretVersion = serde_json::from_value(json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
        "metadata": {"name": "db", "namespace": "ns", "uid": "uid-1", "generation": 1},
        "spec": {"connectionRef": {"kind": "AbejaConnection", "name": "c"}, "remoteRef": {"secretId": SECRET}},
    }))
    .unwrap();
    let mut full = serde_json::to_value(&cr.spec).unwrap();
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    cr.spec = serde_json::from_value(full).unwrap();
    cr
}

impl World {
    /// A managed resource with more of a spec, and a source with a value.
    pub(super) fn managed(spec: &serde_json::Value) -> Self {
        let mut full = json!({"valueFrom": {"secretKeyRef": {"name": "source", "key": "k"}}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Self::new(resource(&full), Some("a".into()))
    }

    /// An observed resource.
    pub(super) fn observed(spec: &serde_json::Value) -> Self {
        Self::new(resource(spec), None)
    }

    fn new(cr: SecretVersion, source: Option<String>) -> Self {
        Self {
            cr,
            exists: true,
            remote: Vec::new(),
            source,
            source_writes: 1,
            target: None,
            link: Link::Ready(access()),
            owner: Owner::This,
            served_elsewhere: BTreeSet::new(),
            post: Post::Answered,
            crash: None,
            create_wait: None,
            now: Duration::from_secs(1_000_000_000),
            refresh_due: false,
            effects: Vec::new(),
            events: Vec::new(),
            kube_writes: 0,
            late: Vec::new(),
            target_writes: 0,
            targets_made: 0,
            next_number: 1,
            next_intent: 1,
            memory: Remembered::default(),
        }
    }

    /// Somebody else makes a version.
    pub(super) fn make(&mut self, value: &str) -> String {
        self.commit(value)
    }

    pub(super) fn edit_source(&mut self, value: &str) {
        self.source = Some(value.into());
        self.source_writes += 1;
    }

    pub(super) fn edit_spec(&mut self, edit: impl FnOnce(&mut SecretVersion)) {
        edit(&mut self.cr);
        self.cr.metadata.generation = self.cr.metadata.generation.map(|g| g + 1);
    }

    pub(super) fn request_sync(&mut self, token: &str) {
        self.cr.metadata.annotations.get_or_insert_default().insert(RECONCILE_REQUESTED_AT.into(), token.into());
    }

    pub(super) fn delete(&mut self) {
        if self.has_finalizer() {
            self.cr.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.timestamp()));
        } else {
            self.exists = false;
        }
    }

    /// The process dies and another begins, knowing nothing.
    pub(super) fn restart(&mut self) {
        self.memory = Remembered::default();
        self.crash = None;
    }

    pub(super) fn status(&self) -> SecretVersionStatus {
        self.cr.status.clone().unwrap_or_default()
    }

    /// Status and reason of a condition.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|c| c.type_ == kind);
        found.map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
    }

    pub(super) fn ready(&self) -> bool {
        self.condition("Ready").0 == "True"
    }

    pub(super) fn reason(&self) -> String {
        self.condition("Ready").1
    }

    pub(super) fn values(&self) -> Vec<&str> {
        self.remote.iter().map(|v| v.value.as_str()).collect()
    }

    pub(super) fn target_value(&self) -> Option<&str> {
        self.target.as_ref().map(|t| t.0.as_str())
    }

    fn target_object(&self, version: u64) -> ObjectSeen {
        // It is named like the resource.
        ObjectSeen { uid: Some(self.target_uid()), ..object("db", version) }
    }

    pub(super) fn target_uid(&self) -> String {
        format!("uid-db-{}", self.targets_made)
    }

    pub(super) fn count(&self, effect: &str) -> usize {
        self.effects.iter().filter(|e| e.as_str() == effect).count()
    }

    fn has_finalizer(&self) -> bool {
        self.cr.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.now.as_secs()).unwrap()).unwrap()
    }

    fn commit(&mut self, value: &str) -> String {
        let number = self.next_number;
        self.next_number += 1;
        let id = format!("v{number}");
        self.remote.push(Remote {
            id: id.clone(),
            number,
            state: VersionState::Active,
            value: value.into(),
            served: true,
            changed: number,
        });
        id
    }

    /// How long ago that was.
    pub(super) fn since(&self, then: Duration) -> Duration {
        self.now.saturating_sub(then)
    }

    /// Time passes, and what was late arrives.
    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= self.now);
        self.late = later;
        for (_, value) in due {
            self.commit(&value);
        }
    }

    /// Passes until nothing is left to do, time going on as the rules ask. Processes that die are replaced.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            match self.pass() {
                End::Removed | End::Rest(Wake::Refresh) => return,
                End::Crashed => self.restart(),
                End::Rest(Wake::After(wait) | Wake::Backoff(wait)) => {
                    if self.condition("Stalled").0 == "True" {
                        return;
                    }
                    self.advance(wait);
                }
            }
        }
        panic!("never settled: {:?} after {:?}", self.status(), self.effects);
    }

    /// As `settle`, for as long as a problem lasts that only others can end.
    pub(super) fn settle_for(&mut self, limit: Duration) {
        let until = self.now + limit;
        while self.now < until {
            match self.pass() {
                End::Removed | End::Rest(Wake::Refresh) => return,
                End::Crashed => self.restart(),
                End::Rest(Wake::After(wait) | Wake::Backoff(wait)) => self.advance(wait),
            }
        }
    }

    /// One pass.
    pub(super) fn pass(&mut self) -> End {
        if !self.exists {
            return End::Removed;
        }
        if let Some(intent) = &self.status().create
            && self.memory.intent.as_ref().is_none_or(|(id, _)| *id != intent.id)
        {
            self.memory.intent = Some((intent.id.clone(), Known::Found(self.now)));
        }
        self.memory.bare_since = bare(&self.cr).then(|| self.memory.bare_since.unwrap_or(self.now));
        let mut o = self.observe();
        for _ in 0..60 {
            match decide(&o) {
                Step::Look(what) => self.look(&mut o, what),
                Step::Do(effect) => {
                    let n = self.effects.len();
                    let dies = |after| self.crash == Some(Crash { at: n, after });
                    if dies(false) {
                        return End::Crashed;
                    }
                    let dies_after = dies(true);
                    self.effects.push(effect.name().to_owned());
                    let removed = self.act(&mut o, effect);
                    if dies_after {
                        return End::Crashed;
                    }
                    if removed {
                        return End::Removed;
                    }
                }
                Step::Rest(rest) => {
                    if twins::are_judged(&o, &rest) {
                        let listed = o.seen.versions.iter().flat_map(|versions| &versions.all);
                        self.memory.judged.extend(listed.map(|version| version.id.clone()));
                    }
                    if self.status() != *rest.status {
                        self.kube_writes += 1;
                        self.cr.status = Some(*rest.status);
                    }
                    self.events.extend(rest.events);
                    if let Some((_, known @ Known::Fresh)) = &mut self.memory.intent {
                        *known = Known::NotSent;
                    }
                    if rest.wake == Wake::Refresh {
                        self.refresh_due = false;
                    }
                    return End::Rest(rest.wake);
                }
            }
        }
        panic!("a pass did not come to rest: {:?}", self.effects);
    }

    /// The snapshot that a pass begins with.
    pub(super) fn observe(&self) -> Observed {
        Observed {
            cr: self.cr.clone(),
            live: false,
            now: self.timestamp(),
            backoff: Duration::from_secs(10),
            refresh_due: self.refresh_due,
            link: self.link.clone(),
            owner: self.owner.clone(),
            served_elsewhere: self.served_elsewhere.clone(),
            namespace_terminating: false,
            source_meta: self.source.as_ref().map_or(Meta::Absent, |_| Meta::Present(self.source_object())),
            target_meta: self.target.as_ref().map_or(Meta::Absent, |(_, n)| Meta::Present(self.target_object(*n))),
            memory: self.remembered(),
            settings: Settings { settle: SETTLE },
            fresh_id: format!("intent-{}", self.next_intent),
            seen: Seen::default(),
        }
    }

    fn remembered(&self) -> Memory {
        let age = |since: Duration| self.since(since);
        Memory {
            intent: self.memory.intent.as_ref().map(|(id, known)| {
                let fate = match *known {
                    Known::Fresh => Fate::Fresh,
                    Known::NotSent => Fate::NotSent,
                    Known::Rejected => Fate::Rejected,
                    Known::Refused => Fate::Refused,
                    Known::Ambiguous(at) => Fate::Ambiguous(age(at)),
                    Known::Found(at) => Fate::Found(age(at)),
                };
                (id.clone(), fate)
            }),
            bare_for: self.memory.bare_since.map(age),
            finalizer_is_fresh: self.memory.finalizer_is_fresh,
            create_wait: self.create_wait,
            missing: self.memory.missing.iter().map(|(id, at)| (id.clone(), age(*at))).collect(),
            gone: self.memory.gone.clone(),
            known: self.memory.known.clone(),
            source_checked: self.memory.source_checked.clone(),
            target_checked: self.memory.target_checked.clone(),
            judged: self.memory.judged.clone(),
            unreachable_for: None,
        }
    }

    fn source_object(&self) -> ObjectSeen {
        object("source", self.source_writes)
    }

    fn version(&self, v: &Remote, values: bool) -> Version {
        let status = self.status();
        let served = values && v.served;
        let digest = served.then(|| digest_of(&v.value));
        let beside = |other: Option<String>| match (&digest, other) {
            (None, _) => Sight::Unknown,
            (Some(a), Some(b)) if *a == b => Sight::Equal,
            _ => Sight::Different,
        };
        let intent = status.create.as_ref();
        let earlier = intent.is_some_and(|i| i.earlier.iter().any(|e| Some(&e.digest) == digest.as_ref()));
        Version {
            id: v.id.clone(),
            number: v.number,
            state: v.state,
            created_at: at(v.number),
            updated_at: at(v.changed),
            is_source: beside(self.source.as_deref().map(digest_of)),
            is_intent: beside(intent.map(|i| i.digest.clone())),
            is_earlier: if earlier { Sight::Equal } else { Sight::Different },
            digest,
        }
    }

    fn look(&mut self, o: &mut Observed, what: Look) {
        match what {
            Look::Live => {
                o.live = true;
                o.cr = self.cr.clone();
                o.owner = self.owner.clone();
            }
            Look::Name(_) => o.seen.name = Some(NameFound::One(SECRET.into())),
            Look::Source => self.see_source(o),
            Look::Versions { values } => {
                let all: Vec<Version> = self.remote.iter().map(|v| self.version(v, values)).collect();
                let listed = |id: &String| all.iter().any(|v| v.id == *id);
                let recorded: Vec<String> = self.status().history.iter().map(|r| r.version_id.clone()).collect();
                self.memory.missing.retain(|id, _| !listed(id));
                for id in recorded.into_iter().chain(self.memory.known.clone()).filter(|id| !listed(id)) {
                    self.memory.missing.entry(id).or_insert(self.now);
                }
                o.seen.versions = Some(Versions { values, all });
                o.memory = self.remembered();
            }
            Look::Version { id } => {
                let found = self.remote.iter().find(|v| v.id == id).map(|v| self.version(v, true));
                o.seen.version.insert(id, found);
            }
            Look::Gone { id } => {
                assert!(self.remote.iter().all(|v| v.id != id));
                self.memory.known.remove(&id);
                self.memory.gone.insert(id);
                o.memory = self.remembered();
            }
            Look::Target { version_id } => {
                let wanted = self.remote.iter().find(|v| v.id == version_id).filter(|v| v.served);
                let sight = match (wanted, &self.target) {
                    (None, _) => TargetSight::NotServed,
                    (Some(_), None) => TargetSight::Absent,
                    (Some(v), Some((have, n))) if v.value == *have => TargetSight::Matches(self.target_object(*n)),
                    (Some(_), Some((_, n))) => TargetSight::Differs(self.target_object(*n)),
                };
                o.seen.target = Some((version_id, sight));
            }
        }
    }

    fn see_source(&mut self, o: &mut Observed) {
        let status = self.status();
        o.seen.source = Some(match self.source.as_deref() {
            None => Source::NotFound,
            Some("") => Source::Empty,
            Some(value) => {
                let digest = digest_of(value);
                let beside =
                    |other: Option<&String>| if other == Some(&digest) { Sight::Equal } else { Sight::Different };
                let is_last = beside(status.digest.as_ref());
                if is_last == Sight::Equal {
                    self.memory.source_checked = Some(self.source_object());
                }
                Source::Bytes {
                    object: self.source_object(),
                    is_last,
                    is_intent: beside(status.create.as_ref().map(|i| &i.digest)),
                    digest,
                }
            }
        });
    }

    /// The resource changed: what was compared with the old one is compared anew.
    fn compare(&mut self, o: &mut Observed) {
        o.cr = self.cr.clone();
        o.memory = self.remembered();
        if matches!(o.seen.source, Some(Source::Bytes { .. })) {
            self.see_source(o);
        }
        let values = o.seen.versions.as_ref().is_some_and(|v| v.values);
        let fresh: Vec<Version> = self.remote.iter().map(|v| self.version(v, values)).collect();
        for old in o.seen.all_mut() {
            if let Some(new) = fresh.iter().find(|v| v.id == old.id) {
                *old = new.clone();
            }
        }
    }

    /// Carries out an effect. Answers whether the resource is gone after it.
    fn act(&mut self, o: &mut Observed, effect: Effect) -> bool {
        match effect {
            Effect::AddFinalizer => {
                self.kube_writes += 1;
                self.cr.metadata.finalizers = Some(vec![FINALIZER.into()]);
                self.memory.finalizer_is_fresh = true;
            }
            Effect::RemoveFinalizer { events } => {
                self.events.extend(events);
                self.exists = false;
                return true;
            }
            Effect::WriteIntent { status, events } => {
                self.events.extend(events);
                assert!(o.live, "an intent is written on a live view only");
                self.kube_writes += 1;
                self.next_intent += 1;
                o.fresh_id = format!("intent-{}", self.next_intent);
                self.memory.intent = status.create.as_ref().map(|i| (i.id.clone(), Known::Fresh));
                self.memory.finalizer_is_fresh = false;
                self.cr.status = Some(*status);
            }
            Effect::WriteStatus { status, events } => {
                self.kube_writes += 1;
                self.memory.finalizer_is_fresh = false;
                self.cr.status = Some(*status);
                self.events.extend(events);
            }
            Effect::CreateVersion { intent } => self.send(o, &intent),
            Effect::SetState { version_id, state } => {
                let changed = self.next_number * 1000;
                let version =
                    self.remote.iter_mut().find(|v| v.id == version_id).expect("only what exists is switched");
                (version.state, version.changed) = (state, changed);
            }
            Effect::DeleteVersion { version_id } => {
                let recorded = self.status().history.iter().any(|r| r.version_id == version_id);
                assert!(recorded, "only what is recorded is deleted");
                self.remote.retain(|v| v.id != version_id);
                o.seen.deleted.insert(version_id);
            }
            Effect::WriteTarget { version_id, policy } => {
                assert_ne!(policy, CreationPolicy::None);
                let value = self.remote.iter().find(|v| v.id == version_id).map(|v| v.value.clone());
                self.target_writes += 1;
                self.targets_made += u64::from(self.target.is_none());
                self.kube_writes += 1;
                self.target = Some((value.expect("only what is served is written"), self.target_writes));
                let written = self.target_object(self.target_writes);
                self.memory.target_checked = Some(written.clone());
                o.target_meta = Meta::Present(written.clone());
                o.seen.target_written = Some(written.clone());
                o.seen.target = Some((version_id, TargetSight::Matches(written)));
            }
            Effect::RemoveTarget { .. } => o.seen.former_target_done = true,
        }
        self.compare(o);
        false
    }

    fn send(&mut self, o: &mut Observed, intent: &str) {
        let durable = self.status().create.expect("nothing is sent without a durable intent");
        assert_eq!(durable.id, intent);
        let value = self.source.clone().expect("what is sent was read");
        self.memory.intent = Some((intent.to_owned(), Known::Ambiguous(self.now)));
        let lost = |reason| SendFailure {
            status: None,
            api_error: false,
            not_connected: false,
            retry_after: None,
            reason,
            message: "lost".into(),
        };
        let sent = match std::mem::replace(&mut self.post, Post::Answered) {
            Post::Answered => {
                let id = self.commit(&value);
                self.memory.known.insert(id);
                let made = self.remote.last().expect("just made").clone();
                Sent::Answered(self.version(&made, true))
            }
            Post::LostAfter => {
                self.commit(&value);
                Sent::Failed(lost(Reason::RemoteUnavailable))
            }
            Post::LostBefore => Sent::Failed(lost(Reason::RemoteUnavailable)),
            Post::Late(after) => {
                self.late.push((self.now + after, value));
                Sent::Failed(lost(Reason::RemoteUnavailable))
            }
            Post::Refused(status) => Sent::Failed(SendFailure {
                status: Some(status),
                api_error: true,
                reason: Reason::BadRequest,
                ..lost(Reason::BadRequest)
            }),
        };
        let listed = o.seen.versions.as_ref().map_or(&[][..], |v| v.all.as_slice());
        match classify(&sent, listed, &durable.baseline) {
            Outcome::Rejected => {
                let for_good = matches!(&sent, Sent::Failed(failure) if refused_for_good(failure));
                let known = if for_good { Known::Refused } else { Known::Rejected };
                self.memory.intent = Some((intent.to_owned(), known));
                o.seen.sent = Some((intent.to_owned(), sent));
            }
            Outcome::Ambiguous => (o.seen.sent, o.seen.versions) = (None, None),
            Outcome::Created | Outcome::Referenced | Outcome::NotSent => {
                o.seen.sent = Some((intent.to_owned(), sent));
            }
        }
    }
}

fn object(name: &str, version: u64) -> ObjectSeen {
    ObjectSeen { name: name.into(), uid: Some(format!("uid-{name}")), resource_version: Some(version.to_string()) }
}

fn digest_of(value: &str) -> String {
    format!("v1.k.{value}")
}

fn at(second: i64) -> String {
    Timestamp::from_second(1_700_000_000 + second).unwrap().to_string()
}
