//! The user of a world: makes and changes things over a client that no fault befalls, and knows what to expect in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abeja_simulator::store::SecretPath;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use secret_version_operator::api::v1alpha1::{AbejaConnection, SecretVersion};
use secret_version_operator::secret::Keyring;
use serde_json::{Value, json};

use crate::oracle::{RESOURCES, versions};
use crate::process::Life;
use crate::script::{Act, Plan, Wish};
use crate::world::{CANARY, NAMESPACE, ORGANIZATION, REFRESH, TEAM, TIMEOUT, URL, World};

/// The user's name to the apiserver.
pub(crate) const NAME: &str = "user";

/// The end of a resource that waits for a person, because what it found is not its own to switch off.
pub(crate) const FOUND: &str = "found what is not its own";

/// The label of somebody else.
pub(crate) const LABEL: &str = "example.com/theirs";

/// What somebody else keeps in a Secret.
const THEIRS: &str = "dGhlaXJz";

/// A person, and the controllers of the cluster.
pub(crate) struct User {
    world: Arc<World>,
    client: kube::Client,
    plan: Plan,
}

impl User {
    /// Sets the cluster up as a person does.
    pub(crate) async fn new(world: &Arc<World>, plan: &Plan) -> Self {
        let client = world.apiserver.client(NAME).kube(TEAM);
        let user = Self { world: world.clone(), client, plan: plan.clone() };
        let keys = Keyring::generate([7; 32]);
        let keys: BTreeMap<String, String> = keys.into_iter().map(|(k, v)| (k, STANDARD.encode(v))).collect();
        user.make::<Secret>(
            NAMESPACE,
            json!({"metadata": {"name": "secret-version-operator-digest-keys"}, "type": "Opaque", "data": keys}),
        )
        .await;
        user.make::<Secret>(
            TEAM,
            json!({"metadata": {"name": "credential"}, "type": "Opaque",
            "data": {"token": STANDARD.encode(format!("{CANARY}-token"))}}),
        )
        .await;
        user.make::<AbejaConnection>(
            TEAM,
            json!({"apiVersion": "secrets.abeja.io/v1alpha1", "kind": "AbejaConnection",
            "metadata": {"name": "connection"},
            "spec": {"url": URL, "organizationId": ORGANIZATION, "timeoutSeconds": TIMEOUT.as_secs(), "maxRetries": 2,
                "auth": {"token": {"secretRef": {"name": "credential"}}}}}),
        )
        .await;
        user
    }

    /// How many resources there are at the most.
    pub(crate) fn resources(&self) -> u64 {
        self.plan.wishes.len() as u64
    }

    /// Does one thing. What the apiserver refuses, such as making what is there, is let be.
    pub(crate) async fn act(&self, act: &Act) {
        self.world.network.note(&format!("user {act:?}"));
        match act {
            Act::Source(r, letter) => self.source(*r, *letter).await,
            Act::DeleteSource(r) => self.delete::<Secret>(&source(*r)).await,
            Act::Create(r) => self.create(*r, &self.plan.wishes[*r].clone()).await,
            Act::Delete(r) => self.remove(*r).await,
            // Only a resource that makes versions has these.
            Act::State(r, _) | Act::Policy(r, _) if self.plan.follows[*r] => {}
            Act::State(r, state) => self.spec(*r, &json!({"state": state})).await,
            Act::Suspend(r, suspend) => self.spec(*r, &json!({"suspend": suspend})).await,
            Act::Policy(r, policy) => self.spec(*r, &json!({"deletionPolicy": policy})).await,
            Act::Rename(r, target) => {
                self.spec(*r, &json!({"target": {"name": format!("{}{target}", name(*r))}})).await;
            }
            Act::DeleteTarget(r) => self.delete::<Secret>(&self.target(*r)).await,
            Act::SpoilTarget(r) => self.spoil(*r).await,
            Act::Label(r) => self.label(*r).await,
            Act::Squat(r, there) => self.squat(*r, *there).await,
            Act::Sync(r) => self.sync(*r).await,
            Act::Foreign(r) => self.foreign(*r),
            Act::Credential(good) => self.credential(*good).await,
            Act::Compact => self.world.apiserver.compact(),
            Act::Kill(p) => self.world.lives()[*p].iter().for_each(|life| life.kill()),
            Act::Stop(p) => self.world.lives()[*p].iter().for_each(|life| life.stop.cancel()),
            Act::StallLease(p, millis) => {
                let until = (self.world.network.now() + millis).min(self.world.weather.until);
                self.world.lives()[*p].iter().for_each(|life| life.lease_stalled.store(until, Ordering::Relaxed));
            }
            Act::Clock(p, off) => {
                self.world.lives()[*p].iter().for_each(|life| life.clock_off.store(*off, Ordering::Relaxed));
            }
        }
        for cr in (0..self.plan.wishes.len()).filter_map(|r| self.resource(r)) {
            if !cr["metadata"]["deletionTimestamp"].is_null() {
                self.world.oracle().deleted(&cr);
            }
        }
        self.world.apiserver.collect_garbage();
    }

    /// What a person does who waits for a resource to become what it should be.
    pub(crate) async fn insist(&self, waited: u64) {
        self.world.apiserver.collect_garbage();
        for (r, wish) in self.plan.wishes.iter().enumerate() {
            match self.resource(r) {
                None if wish.exists => self.create(r, wish).await,
                Some(cr) if !wish.exists && cr["metadata"]["deletionTimestamp"].is_null() => {
                    self.remove(r).await;
                }
                // What asks for a person's decision gets it.
                Some(cr) if reason(&cr) == "CreateUnresolved" && waited > 60_000 => self.sync(r).await,
                Some(cr) if cr["metadata"]["deletionTimestamp"].is_null() => {
                    let mut spec = json!({"target": {"name": format!("{}{}", name(r), wish.target)}});
                    if !self.plan.follows[r] {
                        (spec["state"], spec["deletionPolicy"]) = (json!(wish.state), json!(wish.policy));
                    }
                    self.spec(r, &spec).await;
                }
                _ => {}
            }
        }
    }

    /// What is not yet as it should be.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let leads = |life: &Arc<Life>| !life.is_dead() && self.world.oracle().leads(&life.name);
        let leaders = self.world.lives().iter().flatten().filter(|life| leads(life)).count();
        let wanted = if self.plan.rivals { self.plan.processes } else { self.world.shards().into() };
        if leaders < wanted {
            missing.push("nobody leads".to_owned());
        }
        let connection =
            self.world.apiserver.object("abejaconnections.secrets.abeja.io", TEAM, "connection").unwrap_or_default();
        if !is_ready(&connection) {
            missing.push(format!("the connection is not ready: {} {}", reason(&connection), message(&connection)));
        }
        for (r, wish) in self.plan.wishes.iter().enumerate() {
            match (self.resource(r), wish.exists) {
                (None, false) => {}
                (None, true) => missing.push(format!("{} does not exist", name(r))),
                (Some(cr), true) if cr["metadata"]["deletionTimestamp"].is_null() => {
                    missing.extend(self.lacks(r, wish, &cr));
                }
                (Some(cr), _) => missing.push(format!("{} is not gone: {} {}", name(r), reason(&cr), message(&cr))),
            }
        }
        missing
    }

    fn lacks(&self, r: usize, wish: &Wish, cr: &Value) -> Option<String> {
        let generation = &cr["metadata"]["generation"];
        // A version that is not its own it does not switch off, and says so.
        let created =
            cr["status"]["history"].as_array().into_iter().flatten().any(|record| record["origin"] == "Created");
        let kept = reason(cr) == "NotCreatedHere" && wish.state == "Inactive" && !created;
        if kept && cr["status"]["observedGeneration"] == *generation {
            return None;
        }
        if reason(cr) == "SecretClaimed" && self.is_claimed(r) && cr["status"]["observedGeneration"] == *generation {
            return None;
        }
        let say = |what: &str| Some(format!("{}: {what} ({} {})", name(r), reason(cr), message(cr)));
        let versions = self.versions(r);
        let newest = versions.iter().filter(|v| v["status"] == "active").max_by_key(|v| v["version"].as_u64());
        if self.plan.follows[r] && newest.is_none() {
            return None;
        }
        if cr["status"]["observedGeneration"] != *generation || !is_ready(cr) {
            return say("is not ready");
        }
        let own = STANDARD.encode(value(self.world.seed, r, wish.value));
        let followed = newest.filter(|_| self.plan.follows[r]).map(|newest| newest["value"].clone());
        let value = followed.unwrap_or(json!(own));
        let id = cr["status"]["versionId"].as_str().unwrap_or_default();
        let Some(version) = versions.iter().find(|v| v["id"] == id) else { return say("its version is not there") };
        if version["value"] != value {
            return say("its version has another value");
        }
        if !self.plan.follows[r] && version["status"] != wish.state.to_lowercase() {
            return say("its version is in another state");
        }
        let target = self.world.apiserver.object("secrets", TEAM, &format!("{}{}", name(r), wish.target));
        if target.is_none_or(|target| target["data"]["value"] != value) {
            return say("its target does not hold the value");
        }
        let finalizer = cr["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        (wish.policy != "Retain" && created && !finalizer).then(|| format!("{}: it has no finalizer", name(r)))
    }

    /// Whether another live resource manages the same remote secret.
    fn is_claimed(&self, r: usize) -> bool {
        let place = &self.plan.places[r];
        (0..self.plan.places.len()).any(|other| {
            other != r
                && !self.plan.follows[other]
                && self.plan.places[other] == *place
                && self.resource(other).is_some()
        })
    }

    /// What is left, in words that no id and no time is in.
    pub(crate) fn end_state(&self) -> Vec<String> {
        let mut end = Vec::new();
        for (r, wish) in self.plan.wishes.iter().enumerate() {
            // What a follower follows is made by somebody else, when it pleases them.
            if self.plan.follows[r] {
                continue;
            }
            let cr = self.resource(r);
            // Whether what one resource leaves is there for the next to find is a matter of when it went.
            if cr.as_ref().is_some_and(|cr| reason(cr) == "NotCreatedHere") {
                end.push(FOUND.to_owned());
                continue;
            }
            let ready = cr.as_ref().map(|cr| (is_ready(cr), reason(cr)));
            let value = STANDARD.encode(value(self.world.seed, r, wish.value));
            let id = cr.as_ref().and_then(|cr| cr["status"]["versionId"].as_str().map(str::to_owned));
            let version =
                self.versions(r).into_iter().find(|v| Some(v["id"].as_str().unwrap_or_default()) == id.as_deref());
            let holds = version.map(|v| (v["value"] == value, v["status"].clone()));
            let target = self.world.apiserver.object("secrets", TEAM, &self.target(r));
            let target = target.map(|target| target["data"]["value"] == value);
            end.push(format!("{}: {ready:?}, its version {holds:?}, its target {target:?}", name(r)));
        }
        end
    }

    fn resource(&self, r: usize) -> Option<Value> {
        self.world.apiserver.object(RESOURCES, TEAM, &name(r))
    }

    fn versions(&self, r: usize) -> Vec<Value> {
        versions(&self.world, &self.plan.places[r])
    }

    async fn source(&self, r: usize, letter: char) {
        let value = value(self.world.seed, r, letter);
        let data = json!({"data": {"password": STANDARD.encode(&value)}});
        let api = self.api::<Secret>(TEAM);
        let before = self.world.apiserver.object("secrets", TEAM, &source(r));
        if before.is_some() {
            let _ = api.patch(&source(r), &PatchParams::default(), &Patch::Merge(&data)).await;
        } else {
            let mut object = data;
            (object["metadata"], object["type"]) = (json!({"name": source(r)}), json!("Opaque"));
            self.make::<Secret>(TEAM, object).await;
        }
        if !self.plan.follows[r] {
            self.world.oracle().source(&self.plan.places[r], r, &value, self.resource(r).is_some());
        }
    }

    async fn create(&self, r: usize, wish: &Wish) {
        let mut spec = json!({
            "connectionRef": {"kind": "AbejaConnection", "name": "connection"},
            "remoteRef": {"secretId": self.plan.places[r]},
            "refreshInterval": format!("{}s", REFRESH.as_secs()),
        });
        if self.plan.follows[r] {
            spec["versionRef"] = json!({"latest": "Active"});
        } else {
            spec["valueFrom"] = json!({"secretKeyRef": {"name": source(r), "key": "password"}});
            (spec["state"], spec["deletionPolicy"]) = (json!(wish.state), json!(wish.policy));
        }
        let object = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": {"name": name(r)}, "spec": spec,
        });
        if self.make::<SecretVersion>(TEAM, object).await {
            self.world.oracle().resource(&self.plan.places[r], r);
        }
    }

    async fn remove(&self, r: usize) {
        if let Some(cr) = self.resource(r) {
            self.world.oracle().deleted(&cr);
            self.world.oracle().removed(&cr, self.world.network.now());
        }
        self.delete::<SecretVersion>(&name(r)).await;
    }

    async fn spec(&self, r: usize, change: &Value) {
        let patch = json!({ "spec": change });
        let api = self.api::<SecretVersion>(TEAM);
        let _ = api.patch(&name(r), &PatchParams::default(), &Patch::Merge(&patch)).await;
    }

    async fn sync(&self, r: usize) {
        let at = self.world.network.now().to_string();
        let patch = json!({"metadata": {"annotations": {"secrets.abeja.io/reconcile-requested-at": at}}});
        let api = self.api::<SecretVersion>(TEAM);
        let _ = api.patch(&name(r), &PatchParams::default(), &Patch::Merge(&patch)).await;
    }

    async fn spoil(&self, r: usize) {
        let patch = json!({"data": {"value": STANDARD.encode("spoiled")}});
        let _ = self.api::<Secret>(TEAM).patch(&self.target(r), &PatchParams::default(), &Patch::Merge(&patch)).await;
    }

    async fn label(&self, r: usize) {
        let patch = json!({"metadata": {"labels": {LABEL: "theirs"}}});
        let target =
            self.api::<Secret>(TEAM).patch(&self.target(r), &PatchParams::default(), &Patch::Merge(&patch)).await;
        self.world.oracle().theirs(target.ok().and_then(|target| target.metadata.uid));
    }

    async fn squat(&self, r: usize, there: bool) {
        let other = format!("{}-other", name(r));
        if there {
            let secret = json!({"metadata": {"name": other, "labels": {LABEL: "theirs"}}, "type": "Opaque", "data": {"theirs": THEIRS}});
            if self.make::<Secret>(TEAM, secret).await {
                let made = self.world.apiserver.object("secrets", TEAM, &other);
                let uid = made.and_then(|made| made["metadata"]["uid"].as_str().map(str::to_owned));
                self.world.oracle().squats(uid);
            }
        } else if self.world.apiserver.object("secrets", TEAM, &other).is_some_and(|it| it["data"]["theirs"] == THEIRS)
        {
            self.delete::<Secret>(&other).await;
        }
    }

    async fn credential(&self, good: bool) {
        let token = if good { format!("{CANARY}-token") } else { format!("{CANARY}-wrong") };
        let patch = json!({"data": {"token": STANDARD.encode(token)}});
        let _ = self.api::<Secret>(TEAM).patch("credential", &PatchParams::default(), &Patch::Merge(&patch)).await;
    }

    fn foreign(&self, r: usize) {
        let path = SecretPath { organization: ORGANIZATION, secret: &self.plan.places[r] };
        let (value, now) = (format!("foreign-{}", self.world.network.now()), self.world.wall_clock());
        let _ = self.world.simulator.with_store(|store| store.create_version(path, value.into_bytes(), false, now));
    }

    /// The target as the resource names it now.
    fn target(&self, r: usize) -> String {
        let named = self.resource(r).and_then(|cr| cr["spec"]["target"]["name"].as_str().map(str::to_owned));
        named.unwrap_or_else(|| name(r))
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn make<K>(&self, namespace: &str, object: Value) -> bool
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>(namespace).create(&PostParams::default(), &object).await.is_ok()
    }

    async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let _ = self.api::<K>(TEAM).delete(name, &DeleteParams::default()).await;
    }
}

fn name(r: usize) -> String {
    format!("r{r}")
}

fn source(r: usize) -> String {
    format!("source{r}")
}

/// A value that no other resource and no other world has.
fn value(seed: u64, r: usize, letter: char) -> String {
    format!("{CANARY}-{seed:x}-{r}-{letter}")
}

fn ready(cr: &Value) -> Option<&Value> {
    cr["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Ready")
}

fn is_ready(cr: &Value) -> bool {
    ready(cr).is_some_and(|c| c["status"] == "True")
}

fn reason(cr: &Value) -> String {
    ready(cr).and_then(|c| c["reason"].as_str()).unwrap_or_default().to_owned()
}

fn message(cr: &Value) -> String {
    ready(cr).and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
}
