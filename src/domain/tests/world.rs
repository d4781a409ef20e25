//! A small world around the rules: a resource, a remote and a Secret, and what people do to them. Values are texts, digests
//! name them, time is a number.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::shell::Remembered;
use crate::api::v1alpha1::{ObjectSeen, Permission, SecretVersion, SecretVersionStatus, VersionState};
use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT};
use crate::domain::observed::{Access, Link, NameFound, Owner};
use crate::domain::projection::TargetView;
use crate::domain::step::{Event, Wake};

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
    /// It is carried out with another value, and answered.
    Altered,
    /// It is carried out, and the answer is lost.
    LostAfter,
    /// It is not carried out, and no answer comes.
    LostBefore,
    /// The time to send it runs out first.
    TooLate,
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

#[derive(Debug)]
pub(super) struct World {
    pub(super) cr: SecretVersion,
    pub(super) exists: bool,
    pub(super) remote: Vec<Remote>,
    pub(super) source: Option<String>,
    pub(super) source_writes: u64,
    pub(super) target: Option<(String, u64)>,
    pub(super) link: Link,
    /// What the remote says of the secret's name.
    pub(super) name: NameFound,
    /// Whether Secrets are watched.
    pub(super) watched: bool,
    pub(super) owner: Owner,
    pub(super) served_elsewhere: BTreeSet<String>,
    pub(super) post: Post,
    pub(super) crash: Option<Crash>,
    /// How long another create is over the rate.
    pub(super) create_wait: Option<Duration>,
    pub(super) now: Duration,
    pub(super) refresh_due: bool,
    /// Everything that was looked at since somebody last asked, by name.
    pub(super) looks: Vec<&'static str>,
    /// Everything that was done, by name.
    pub(super) effects: Vec<String>,
    pub(super) events: Vec<Event>,
    pub(super) kube_writes: usize,
    pub(super) late: Vec<(Duration, String)>,
    pub(super) target_writes: u64,
    /// How often it was made: each is another object.
    pub(super) targets_made: u64,
    pub(super) next_number: i64,
    pub(super) next_intent: u64,
    pub(super) memory: Remembered,
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

    pub(super) fn new(cr: SecretVersion, source: Option<String>) -> Self {
        Self {
            cr,
            exists: true,
            remote: Vec::new(),
            source,
            source_writes: 1,
            target: None,
            link: Link::Ready(access()),
            name: NameFound::One(SECRET.into()),
            watched: true,
            owner: Owner::This,
            served_elsewhere: BTreeSet::new(),
            post: Post::Answered,
            crash: None,
            create_wait: None,
            now: Duration::from_secs(1_000_000_000),
            refresh_due: false,
            looks: Vec::new(),
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

    /// What `Ready` says to people.
    pub(super) fn message(&self) -> String {
        let found = self.status().conditions.into_iter().find(|c| c.type_ == "Ready");
        found.map(|c| c.message).unwrap_or_default()
    }

    pub(super) fn values(&self) -> Vec<&str> {
        self.remote.iter().map(|v| v.value.as_str()).collect()
    }

    pub(super) fn target_value(&self) -> Option<&str> {
        self.target.as_ref().map(|t| t.0.as_str())
    }

    pub(super) fn target_object(&self, version: u64) -> ObjectSeen {
        ObjectSeen { uid: Some(self.target_uid()), ..object(TargetView::of(&self.cr).name(), version) }
    }

    pub(super) fn target_uid(&self) -> String {
        format!("uid-db-{}", self.targets_made)
    }

    /// What was looked at in one pass, which comes to rest.
    pub(super) fn looks_of_a_pass(&mut self) -> Vec<&'static str> {
        self.looks.clear();
        assert!(matches!(self.pass(), End::Rest(_)));
        std::mem::take(&mut self.looks)
    }

    pub(super) fn count(&self, effect: &str) -> usize {
        self.effects.iter().filter(|e| e.as_str() == effect).count()
    }

    fn has_finalizer(&self) -> bool {
        self.cr.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.now.as_secs()).unwrap()).unwrap()
    }

    pub(super) fn commit(&mut self, value: &str) -> String {
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
}

pub(super) fn object(name: &str, version: u64) -> ObjectSeen {
    ObjectSeen { name: name.into(), uid: Some(format!("uid-{name}")), resource_version: Some(version.to_string()) }
}
