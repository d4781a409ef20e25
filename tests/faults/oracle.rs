//! Watches a world from its first moment to its last, and holds all that was ever seen to the invariants: one judge for every
//! row, whatever its fault. What is true only of one subject at rest is `subject`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abeja_simulator::journal::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion, SecretVersionStatus, VersionState};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::journal::{Entry, Requests};
use crate::subject::is_ready;

/// Under which name the operator writes.
const FIELD_MANAGER: &str = "secret-version-operator";

/// What is left to say once a world has come to its end.
pub(crate) struct AtEnd<'a> {
    /// Every request that the remote was sent, by secret.
    pub(crate) requests: &'a BTreeMap<String, Requests>,
    /// The remote's own state.
    pub(crate) state: &'a Value,
    /// Everything that people were told: see [`told`].
    pub(crate) told: &'a str,
}

/// What of events and log tells a person that something is amiss. Every create is told of, the second of a change too: that
/// it was made is no news of it.
pub(crate) fn told(text: &str) -> String {
    let plain = |line: &&str| !line.contains("created version ") && !line.contains("is the outcome of a create");
    text.lines().filter(plain).collect::<Vec<_>>().join("\n")
}

/// Sees every state of the resources and of the Secrets of one namespace, or of all.
#[derive(Debug)]
pub(crate) struct Oracle {
    seen: Arc<Mutex<Seen>>,
    watches: [JoinHandle<()>; 2],
}

#[derive(Debug, Default)]
struct Seen {
    /// Resources that exist, by UID.
    live: BTreeMap<String, SecretVersion>,
    /// The remote secret of every resource that there ever was, by UID.
    secret_of: BTreeMap<String, String>,
    /// Ids that a resource has ever recorded as created by itself.
    created: BTreeSet<String>,
    /// Remote secrets whose resources take a value apart, so that no Secret holds it whole.
    taken_apart: BTreeSet<String>,
    /// What was ever in a target: the resource's UID and the digest of the request that would have sent it.
    served: BTreeSet<(String, String)>,
    violations: BTreeSet<String>,
}

impl Oracle {
    /// Watches from now on, over a client that no fault befalls.
    pub(crate) fn watch(client: &kube::Client, namespace: Option<&str>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let resources = follow(of(client, namespace), seen.clone(), Seen::resource);
        let secrets = follow(of(client, namespace), seen.clone(), Seen::secret);
        Self { seen, watches: [tokio::spawn(resources), tokio::spawn(secrets)] }
    }

    /// What was against the invariants.
    pub(crate) fn judge(&self, end: &AtEnd<'_>) -> Vec<String> {
        let seen = lock(&self.seen);
        let mut violations: Vec<String> = seen.violations.iter().cloned().collect();
        let versions = versions(end.state);
        for (secret, requests) in end.requests {
            violations.extend(sent_twice(secret, requests, end.told));
            violations.extend(seen.touched(requests));
            violations.extend(seen.lost(secret, requests, &versions, end.told));
        }
        violations.extend(seen.never_served(end.requests, &versions));
        violations
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

fn of<K>(client: &kube::Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn follow<K>(api: Api<K>, seen: Arc<Mutex<Seen>>, note: fn(&mut Seen, Event<K>))
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        // One that broke is begun again: the apiserver may be what a test kills.
        if let Ok(event) = event {
            note(&mut lock(&seen), event);
        }
    }
}

impl Seen {
    /// What is no resource by the operator's own types is none to it; what such a one was before is what it still claims.
    fn resource(&mut self, event: Event<DeserializeGuard<SecretVersion>>) {
        match event {
            Event::Init => self.live.clear(),
            Event::InitDone => {}
            Event::Delete(cr) => {
                self.live.remove(cr.meta().uid.as_deref().unwrap_or_default());
            }
            Event::Apply(cr) | Event::InitApply(cr) => {
                let Ok(cr) = cr.0 else { return };
                let uid = cr.metadata.uid.clone().unwrap_or_default();
                let status = cr.status.clone().unwrap_or_default();
                let secret = cr.spec.remote_ref.secret_id.clone().or_else(|| status.secret_id.clone());
                if let Some(secret) = secret {
                    if cr.spec.target.as_ref().is_some_and(|target| !target.data.is_empty()) {
                        self.taken_apart.insert(secret.clone());
                    }
                    self.secret_of.insert(uid.clone(), secret);
                }
                let own = status.history.iter().filter(|r| r.origin == Origin::Created && r.uid == uid);
                self.created.extend(own.map(|r| r.version_id.clone()));
                self.violations.extend(untrue(&cr, &status));
                self.live.insert(uid, cr);
            }
        }
    }

    fn secret(&mut self, event: Event<Secret>) {
        let (Event::Apply(secret) | Event::InitApply(secret)) = event else { return };
        let Some(owner) = owner(&secret) else { return };
        for (key, value) in secret.data.iter().flatten().filter(|(key, _)| is_ours(&secret, key)) {
            if value.0.is_empty() {
                let name = secret.metadata.name.as_deref().unwrap_or_default();
                self.violations.insert(format!("I4: {key} of Secret {name} was emptied"));
            }
            self.served.insert((owner.clone(), request_of(&STANDARD.encode(&value.0))));
        }
    }

    /// I3: what is switched off or deleted was created here, and recorded so.
    fn touched(&self, requests: &Requests) -> Vec<String> {
        let strange = requests.values().filter(|entry| {
            (entry.is("delete_version") || entry.is("update_version"))
                && entry.version_id.as_ref().is_some_and(|id| !self.created.contains(id))
        });
        // A referenced version may be switched on: that takes nothing from anybody.
        let off = strange.filter(|entry| entry.is("delete_version") || entry.body_sha256 == switch_off());
        off.map(|entry| {
            format!("I3: a request changed version {:?}, which nobody recorded as created", entry.version_id)
        })
        .collect()
    }

    /// I2: what was created is recorded by a live resource, or was told, or nobody is left to record it.
    fn lost(&self, secret: &str, requests: &Requests, at_remote: &[Version], told: &str) -> Vec<String> {
        let alive: Vec<&SecretVersion> = self
            .live
            .iter()
            .filter(|(uid, cr)| self.secret_of.get(*uid).is_some_and(|s| s == secret) && cr.spec.value_from.is_some())
            .map(|(_, cr)| cr)
            .collect();
        if alive.is_empty() {
            return Vec::new();
        }
        let recorded: BTreeSet<&str> = alive
            .iter()
            .filter_map(|cr| cr.status.as_ref())
            .flat_map(|status| status.history.iter().map(|record| record.version_id.as_str()))
            .collect();
        let made = commits(requests).filter_map(|entry| entry.version_id.as_deref());
        made.filter(|id| at_remote.iter().any(|version| version.id == *id))
            .filter(|id| !recorded.contains(id) && !told.contains(*id))
            .map(|id| format!("I2: version {id} was created, and neither recorded nor told of"))
            .collect()
    }

    /// I4: what is in a target was at the remote.
    fn never_served(&self, requests: &BTreeMap<String, Requests>, at_remote: &[Version]) -> Vec<String> {
        let never = self.served.iter().filter(|(uid, request)| {
            let Some(secret) = self.secret_of.get(uid).filter(|secret| !self.taken_apart.contains(*secret)) else {
                return false;
            };
            let sent = requests
                .get(secret)
                .is_some_and(|requests| commits(requests).any(|entry| entry.body_sha256.as_ref() == Some(request)));
            !sent && !at_remote.iter().any(|version| version.secret == *secret && version.request == *request)
        });
        never.map(|(uid, _)| format!("I4: the target of {uid} held a value that the remote never had")).collect()
    }
}

/// I1: the same value twice in a row, and nothing deleted between, is one change sent twice. A second one that was told of is a
/// late twin.
fn sent_twice(secret: &str, requests: &Requests, told: &str) -> Vec<String> {
    let mut before: Option<&Entry> = None;
    let mut violations = Vec::new();
    for entry in requests.values().filter(|entry| entry.committed) {
        if entry.is("delete_version") {
            before = None;
        }
        if !entry.is("create_version") {
            continue;
        }
        let twin = before.is_some_and(|before| before.body_sha256 == entry.body_sha256);
        let known = |entry: &Entry| entry.version_id.as_ref().is_some_and(|id| told.contains(id));
        if twin && !known(entry) && !before.is_some_and(known) {
            violations.push(format!("I1: versions {before:?} and {entry:?} of secret {secret} are one change"));
        }
        before = Some(entry);
    }
    violations
}

/// I10: what says that it is ready is so.
fn untrue(cr: &SecretVersion, status: &SecretVersionStatus) -> Option<String> {
    let name = cr.metadata.name.as_deref().unwrap_or_default();
    if !is_ready(cr) || cr.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if status.version_id.is_none() {
        return Some(format!("I10: {name} is ready without a version"));
    }
    let wanted = cr.spec.state.unwrap_or(VersionState::Active);
    let managed = cr.spec.value_from.is_some() && status.origin == Some(Origin::Created);
    (managed && status.state != Some(wanted)).then(|| format!("I10: {name} is ready in the wrong state"))
}

fn commits(requests: &Requests) -> impl Iterator<Item = &Entry> {
    requests.values().filter(|entry| entry.is("create_version") && entry.committed)
}

/// The UID of the resource that owns a Secret.
fn owner(secret: &Secret) -> Option<String> {
    let owners = secret.metadata.owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.kind == "SecretVersion").map(|owner| owner.uid.clone())
}

/// Whether the operator was the last to write a key, not a test that plays a person.
fn is_ours(secret: &Secret, key: &str) -> bool {
    let pointer = format!("/f:data/f:{key}");
    let entries = secret.metadata.managed_fields.iter().flatten();
    let mut ours = entries.filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    ours.any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&pointer).is_some()))
}

/// The digest of the request that would create a version of this value.
fn request_of(base64: &str) -> String {
    digest(format!(r#"{{"value": "{base64}"}}"#).as_bytes()).unwrap_or_default()
}

/// The digest of a request that switches a version off.
fn switch_off() -> Option<String> {
    digest(br#"{"status": "inactive"}"#)
}

struct Version {
    secret: String,
    id: String,
    /// The digest of the request that would have made it.
    request: String,
}

fn versions(state: &Value) -> Vec<Version> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let secrets = state["organizations"].as_array().into_iter().flatten().filter_map(|o| o["secrets"].as_array());
    let version = |secret: &Value, version: &Value| Version {
        secret: text(&secret["id"]),
        id: text(&version["id"]),
        request: request_of(version["value"].as_str().unwrap_or_default()),
    };
    secrets
        .flatten()
        .flat_map(|secret| secret["versions"].as_array().into_iter().flatten().map(move |v| version(secret, v)))
        .collect()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The judge itself: each invariant can be found broken.
mod tests {
    use secret_version_operator::api::FINALIZER;
    use serde_json::json;

    use super::*;

    fn entry(seq: u64, operation: &str, version: &str, body: Option<&str>) -> (u64, Entry) {
        let entry = json!({
            "seq": seq, "at": "2026-01-01T00:00:00Z", "operation": operation, "secret_id": "s", "version_id": version,
            "body_sha256": body, "finished": true, "committed": true,
        });
        (seq, serde_json::from_value(entry).unwrap())
    }

    fn made(seq: u64, version: &str, value: &str) -> (u64, Entry) {
        entry(seq, "create_version", version, Some(&request_of(value)))
    }

    fn resource(history: &Value) -> SecretVersion {
        let resource = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
            "metadata": { "name": "r", "uid": "u", "generation": 1, "finalizers": [FINALIZER] },
            "spec": {
                "connectionRef": { "kind": "AbejaConnection", "name": "c" }, "remoteRef": { "secretId": "s" },
                "valueFrom": { "secretKeyRef": { "name": "source", "key": "k" } },
            },
            "status": { "observedGeneration": 1, "versionId": "v1", "state": "Active", "origin": "Created", "history": history,
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "", "observedGeneration": 1,
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        });
        serde_json::from_value(resource).unwrap()
    }

    fn record(id: &str) -> Value {
        json!({ "versionId": id, "version": 1, "origin": "Created", "digest": "d", "uid": "u", "place": "p" })
    }

    fn judge(
        seen: Seen,
        requests: impl IntoIterator<Item = (u64, Entry)>,
        values: &[(&str, &str)],
        told: &str,
    ) -> String {
        let versions: Vec<Value> = values.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
        let state = json!({ "organizations": [{ "secrets": [{ "id": "s", "versions": versions }] }] });
        let requests = BTreeMap::from([("s".to_owned(), requests.into_iter().collect())]);
        let oracle = Oracle { seen: Arc::new(Mutex::new(seen)), watches: [(); 2].map(|()| tokio::spawn(async {})) };
        oracle.judge(&AtEnd { requests: &requests, state: &state, told }).join("; ")
    }

    fn seen(cr: SecretVersion) -> Seen {
        let mut seen = Seen::default();
        seen.resource(Event::Apply(DeserializeGuard(Ok(cr))));
        seen
    }

    #[tokio::test]
    async fn what_is_as_it_must_be_is_not_complained_of() {
        let values = [("v1", "YQ=="), ("v2", "Yg==")];
        let both = seen(resource(&json!([record("v1"), record("v2")])));
        let requests = [made(1, "v1", "YQ=="), made(2, "v2", "Yg=="), entry(3, "delete_version", "v1", None)];
        assert_eq!(judge(both, requests, &values, ""), "");
    }

    #[tokio::test]
    async fn one_change_sent_twice_is_found_unless_it_was_told() {
        let values = [("v1", "YQ=="), ("v2", "YQ==")];
        let both = || seen(resource(&json!([record("v1"), record("v2")])));
        let requests = || [made(1, "v1", "YQ=="), made(2, "v2", "YQ==")];
        assert!(judge(both(), requests(), &values, "").starts_with("I1"));
        assert_eq!(judge(both(), requests(), &values, "version 2 (v2) looks like a late outcome"), "");
    }

    #[tokio::test]
    async fn that_a_version_was_made_is_no_news_of_a_twin() {
        let values = [("v1", "YQ=="), ("v2", "YQ==")];
        let both = || seen(resource(&json!([record("v1"), record("v2")])));
        let requests = || [made(1, "v1", "YQ=="), made(2, "v2", "YQ==")];
        let log = "created version 1 (v1)\ncreated version 2 (v2)\nversion 2 (v2) is the outcome of a create whose ...";
        assert!(judge(both(), requests(), &values, &told(log)).starts_with("I1"));
    }

    #[tokio::test]
    async fn a_version_that_nobody_records_is_found() {
        let one = || seen(resource(&json!([record("v1")])));
        let requests = || [made(1, "v1", "YQ=="), made(2, "v2", "Yg==")];
        let values = [("v1", "YQ=="), ("v2", "Yg==")];
        assert!(judge(one(), requests(), &values, "").starts_with("I2"));
        assert_eq!(judge(one(), requests(), &values, "left at the remote: v2"), "");
    }

    #[tokio::test]
    async fn what_was_not_created_here_may_not_be_touched() {
        let one = || seen(resource(&json!([record("v1")])));
        let values = [("v1", "YQ==")];
        for request in
            [entry(2, "delete_version", "v9", None), entry(2, "update_version", "v9", switch_off().as_deref())]
        {
            assert!(judge(one(), [made(1, "v1", "YQ=="), request], &values, "").starts_with("I3"));
        }
        let on = entry(2, "update_version", "v9", digest(br#"{"status": "active"}"#).as_deref());
        assert_eq!(judge(one(), [made(1, "v1", "YQ=="), on], &values, ""), "");
    }

    #[tokio::test]
    async fn a_target_holds_what_the_remote_had() {
        let target = |value: &str| {
            let secret = json!({
                "metadata": { "name": "t", "ownerReferences": [{ "kind": "SecretVersion", "name": "r", "uid": "u",
                    "apiVersion": "secrets.abeja.io/v1alpha1" }],
                    "managedFields": [{ "manager": FIELD_MANAGER, "fieldsV1": { "f:data": { "f:k": {} } } }] },
                "data": { "k": value },
            });
            let mut seen = seen(resource(&json!([record("v1")])));
            seen.secret(Event::Apply(serde_json::from_value(secret).unwrap()));
            judge(seen, [made(1, "v1", "YQ==")], &[("v1", "YQ==")], "")
        };
        assert_eq!(target("YQ=="), "");
        assert!(target("Yg==").contains("never had"));
        assert!(target("").contains("emptied"));
    }

    #[tokio::test]
    async fn ready_is_not_said_in_vain() {
        let mut inactive = resource(&json!([record("v1")]));
        inactive.status.as_mut().unwrap().state = Some(VersionState::Inactive);
        let mut none = resource(&json!([]));
        none.status.as_mut().unwrap().version_id = None;
        for cr in [inactive, none] {
            assert!(judge(seen(cr), [made(1, "v1", "YQ==")], &[("v1", "YQ==")], "v1").starts_with("I10"));
        }
    }
}
