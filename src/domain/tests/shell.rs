//! The shell of the tests: it shows the world to the rules and carries out what they say, in a process that may die anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::world::{Crash, End, Post, Remote, SETTLE, World, object};
use crate::api::FINALIZER;
use crate::api::v1alpha1::{CreationPolicy, ObjectSeen};
use crate::domain::create::bare;
use crate::domain::decide::decide;
use crate::domain::observed::{
    Fate, Memory, Meta, Observed, Seen, SendFailure, Sent, Settings, Sight, Source, TargetSight, Version, Versions,
};
use crate::domain::outcome::{Outcome, classify, refused_for_good};
use crate::domain::reason::Reason;
use crate::domain::step::{Effect, Look, Step, Wake};
use crate::domain::twins;

/// How digests begin that were made with a key that is gone: nothing can be compared with them.
pub(super) const GONE: &str = "v1.gone.";

/// What a process remembers, by the time at which it learned of it. A crash loses all of it.
#[derive(Debug, Default)]
pub(super) struct Remembered {
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

#[derive(Clone, Copy, Debug)]
enum Known {
    Fresh,
    NotSent,
    Rejected,
    Refused,
    Ambiguous(Duration),
    Found(Duration),
}

impl World {
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
            source_meta: self.meta(self.source.as_ref().map(|_| self.source_object())),
            target_meta: self.meta(self.target.as_ref().map(|(_, n)| self.target_object(*n))),
            memory: self.remembered(),
            settings: Settings { settle: SETTLE },
            fresh_id: format!("intent-{}", self.next_intent),
            seen: Seen::default(),
        }
    }

    fn meta(&self, object: Option<ObjectSeen>) -> Meta {
        if self.watched { object.map_or(Meta::Absent, Meta::Present) } else { Meta::NotWatched }
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
        let served = values && v.served;
        let digest = served.then(|| digest_of(&v.value));
        let beside = |other: Option<String>| match (&digest, other) {
            (Some(a), Some(b)) if b.starts_with(GONE) || a.starts_with(GONE) => Sight::Unknown,
            (Some(a), Some(b)) if *a == b => Sight::Equal,
            (Some(_), _) => Sight::Different,
            (None, _) => Sight::Unknown,
        };
        let intent = self.cr.status.as_ref().and_then(|s| s.create.as_ref());
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
        self.looks.push(match &what {
            Look::Live => "live",
            Look::Name(_) => "name",
            Look::Source => "source",
            Look::Versions { values: true } => "values",
            Look::Versions { values: false } => "versions",
            Look::Version { .. } => "version",
            Look::Gone { .. } => "gone",
            Look::Target { .. } => "target",
        });
        match what {
            Look::Live => {
                o.live = true;
                o.cr = self.cr.clone();
                o.owner = self.owner.clone();
            }
            Look::Name(_) => o.seen.name = Some(self.name.clone()),
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
                let read = o.seen.all_mut().any(|v| v.id == version_id && v.digest.is_some());
                let served = self.remote.iter().any(|v| v.id == version_id && v.served);
                assert!(read || !served, "a target is compared with a value that was read");
                let wanted = self.remote.iter().find(|v| v.id == version_id).filter(|v| v.served);
                let sight = match (wanted, &self.target) {
                    (None, _) => TargetSight::NotServed,
                    (Some(_), None) => TargetSight::Absent,
                    (Some(v), Some((have, n))) if v.value == *have => TargetSight::Matches(self.target_object(*n)),
                    (Some(_), Some((_, n))) => TargetSight::Differs(self.target_object(*n)),
                };
                if let TargetSight::Matches(object) = &sight {
                    self.memory.target_checked = Some(object.clone());
                }
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
                let beside = |other: Option<&String>| match other {
                    Some(other) if other.starts_with(GONE) => Sight::Unknown,
                    Some(other) if *other == digest => Sight::Equal,
                    _ => Sight::Different,
                };
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
        for old in o.seen.all_mut() {
            if let Some(now) = self.remote.iter().find(|v| v.id == old.id) {
                *old = self.version(now, old.digest.is_some());
            }
        }
    }

    /// Carries out an effect. Answers whether the resource is gone after it.
    fn act(&mut self, o: &mut Observed, effect: Effect) -> bool {
        let alone =
            matches!(effect, Effect::WriteTarget { .. } | Effect::RemoveTarget { .. } | Effect::WriteStatus { .. });
        let let_go = matches!(effect, Effect::RemoveFinalizer { .. });
        assert!(o.live || alone || let_go, "it is done on a view that is not live");
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
            post @ (Post::Answered | Post::Altered) => {
                let kept = if post == Post::Altered { format!("{value}, altered") } else { value };
                let id = self.commit(&kept);
                self.memory.known.insert(id);
                let made = self.remote.last().expect("just made").clone();
                Sent::Answered(self.version(&made, true))
            }
            Post::LostAfter => {
                self.commit(&value);
                Sent::Failed(lost(Reason::RemoteUnavailable))
            }
            Post::LostBefore => Sent::Failed(lost(Reason::RemoteUnavailable)),
            Post::TooLate => {
                self.memory.intent = Some((intent.to_owned(), Known::NotSent));
                Sent::TooLate
            }
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

fn digest_of(value: &str) -> String {
    format!("v1.k.{value}")
}

fn at(second: i64) -> String {
    Timestamp::from_second(1_700_000_000 + second).unwrap().to_string()
}
