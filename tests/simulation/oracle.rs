//! Sees all that the operator does, at the moment that it takes effect, and holds it to the invariants.

use std::collections::{BTreeMap, BTreeSet};

use abeja_simulator::Operation;
use abeja_simulator::journal::{Entry, digest};
use abeja_simulator::store::{Page, SecretPath, View};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use secret_version_operator::domain::place::Place;
use serde_json::Value;

use crate::process::Life;
use crate::user::LABEL;
use crate::world::{CANARY, ORGANIZATION, URL, World};

/// The Lease of the installation, as it is kept here.
const LEASE: &str = "\"secret-version-operator\"";

/// As what a version may be told of, where no record holds it.
const TOLD: [&str; 6] =
    ["LateVersion", "AmbiguousCreate", "VersionsRetained", "StatusLost", "VersionInUse", "VersionDeactivated"];

/// As what a process tells of versions that are not its own.
const NOTICED: [&str; 2] = ["ForeignVersion", "LateVersion"];

/// The longest that a cache lags, in milliseconds.
const LAG: u64 = 40_000;

/// How long a request may be tried again within one pass, in milliseconds.
const ON_ITS_WAY: u64 = 30_000;

/// A while, in milliseconds.
const WHILE: u64 = 10_000;

/// The most requests that a process may send in a while, whatever goes wrong.
const IN_A_WHILE: u64 = 200;

/// Our resources, as the apiserver calls them.
pub(crate) const RESOURCES: &str = "secretversions.secrets.abeja.io";

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Writes of Kubernetes objects, but for the Lease.
    pub(crate) writes: u64,
    /// Requests to the remote.
    pub(crate) remote: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    violations: Vec<String>,
    counts: Counts,
    /// How often a remote secret was to get a value: each is a change, for which one version may be made.
    changes: BTreeMap<(String, String), usize>,
    /// The remote secret and the value of each source, by resource.
    sources: BTreeMap<usize, String>,
    /// Who holds which Lease.
    holders: BTreeMap<String, String>,
    /// Ids that resources ever recorded as created by themselves, by the UID.
    created: BTreeMap<String, BTreeSet<String>>,
    /// Bodies of Events about versions.
    told: String,
    /// Who sent what: the UID of a resource, by remote secret and digest of the request.
    sent: BTreeMap<(String, String), BTreeSet<String>>,
    /// Which version a resource serves, and since when, in milliseconds of the world; by the UID.
    serves: BTreeMap<String, (String, u64)>,
    /// The UIDs of resources that ever had an intent, by remote secret.
    intents: BTreeMap<String, BTreeSet<String>>,
    /// When a resource was deleted, in milliseconds of the world; by the UID.
    removed: BTreeMap<String, u64>,
    /// How many requests each process sent in each while.
    sent_in: BTreeMap<(String, u64), u64>,
    /// What each process told of versions that are not its own: it says so once, and after a restart once more.
    noticed: BTreeSet<(String, String)>,
    /// Secrets that bear a label of somebody else, by UID.
    labelled: BTreeSet<String>,
    /// Secrets that are somebody else's, by UID.
    squatters: BTreeSet<String>,
    /// Resources that were deleted with nobody left to record or tell what they made.
    let_go: BTreeSet<String>,
}

impl Oracle {
    /// Notes what must not be.
    pub(crate) fn violation(&mut self, what: String) {
        if !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a process holds a Lease.
    pub(crate) fn leads(&self, who: &str) -> bool {
        self.holders.values().any(|holder| holder == who)
    }

    /// A source got a value, and whether there is a resource to see it.
    pub(crate) fn source(&mut self, place: &str, r: usize, value: &str, watched: bool) {
        let before = self.sources.insert(r, value.to_owned());
        if watched && before.as_deref() != Some(value) {
            *self.changes.entry((place.to_owned(), value.to_owned())).or_default() += 1;
        }
    }

    /// A resource was made: to it, whatever its source holds is a change.
    pub(crate) fn resource(&mut self, place: &str, r: usize) {
        if let Some(value) = self.sources.get(&r) {
            *self.changes.entry((place.to_owned(), value.clone())).or_default() += 1;
        }
    }

    /// A process sends something.
    pub(crate) fn sends(&mut self, who: &str, now: u64) {
        let sent = self.sent_in.entry((who.to_owned(), now / WHILE)).or_default();
        *sent += 1;
        if *sent > IN_A_WHILE {
            self.violation(format!("I9: {who} sends more than {IN_A_WHILE} requests within {WHILE} ms"));
        }
    }

    /// A request to the remote leaves a process.
    pub(crate) fn remote_request(&mut self, life: &Life, request: &reqwest::Request) {
        let (world, who) = (&*life.world, life.name.as_str());
        self.counts.remote += 1;
        self.within_shard(life, request.url().path());
        if *request.method() == Method::GET {
            return;
        }
        if !self.leads(who) {
            self.violation(format!("I6: {who} changes the remote, and {:?} hold the Lease", self.holders.values()));
        }
        let (installation, group) = (self.holders.get(LEASE).map(String::as_str), life.group());
        if group.is_some() && installation != group.as_deref() {
            self.violation(format!("I6: {who} of {} changes the remote, and {installation:?} hold it all", life.shard));
        }
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        if *request.method() == Method::POST {
            return self.note_sender(world, request.url().path(), digest(body).unwrap_or_default());
        }
        let off = *request.method() == Method::DELETE || body.windows(8).any(|word| word == b"inactive");
        let id = request.url().path().rsplit('/').next().unwrap_or_default();
        if off {
            self.switched_off(world, id, *request.method() == Method::DELETE);
        }
    }

    /// Each remote secret is one shard's.
    fn within_shard(&mut self, life: &Life, path: &str) {
        let mut parts = path.split('/').skip_while(|part| *part != "secrets").skip(1);
        let Some(secret) = parts.next().filter(|id| !id.is_empty()) else { return };
        let place =
            Place { url: URL.to_owned(), organization_id: ORGANIZATION.to_owned(), secret_id: secret.to_owned() };
        if !life.shard.owns(&place) {
            self.violation(format!("I6: {} of {} asks for {secret}, which is another's", life.name, life.shard));
        }
    }

    fn note_sender(&mut self, world: &World, path: &str, body: String) {
        let secret = path.rsplit('/').nth(1).unwrap_or_default();
        let all = world.apiserver.objects(RESOURCES);
        let open = |uid: &&String| {
            let cr = all.iter().find(|cr| cr["metadata"]["uid"] == **uid);
            // One that is gone may have been there when its create set out.
            let just_gone = || self.removed.get(*uid).is_some_and(|at| world.network.now() < at + ON_ITS_WAY);
            cr.map_or_else(just_gone, |cr| !cr["status"]["create"].is_null())
        };
        let uids: Vec<String> = self.intents.get(secret).into_iter().flatten().filter(open).cloned().collect();
        self.sent.entry((secret.to_owned(), body)).or_default().extend(uids);
    }

    /// A person deletes a resource, or changes one that is being deleted.
    pub(crate) fn deleted(&mut self, cr: &Value) {
        let finalizer = cr["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        // With no way to look at the remote any more, all that can be told is that there may be one.
        if !finalizer || cr["spec"]["deletionPolicy"] == "Retain" || cr["spec"]["suspend"] == true {
            self.let_go.extend(cr["metadata"]["uid"].as_str().map(str::to_owned));
        }
    }

    /// A person deletes a resource.
    pub(crate) fn removed(&mut self, cr: &Value, now: u64) {
        self.removed.entry(cr["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).or_insert(now);
    }

    /// Somebody put a label on a Secret.
    pub(crate) fn theirs(&mut self, uid: Option<String>) {
        self.labelled.extend(uid);
    }

    /// Somebody made a Secret.
    pub(crate) fn squats(&mut self, uid: Option<String>) {
        self.squatters.extend(uid);
    }

    /// I3: only what its own resource created is switched off or deleted, and only where that is wanted.
    fn switched_off(&mut self, world: &World, id: &str, deleted: bool) {
        // Somebody else was faster: nothing is taken away.
        let there =
            world.secrets.iter().any(|secret| versions(world, secret).iter().any(|version| version["id"] == id));
        if !there {
            return;
        }
        let all = world.apiserver.objects(RESOURCES);
        let uid = |cr: &Value| cr["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let owner = all.iter().find(|cr| self.created.get(&uid(cr)).is_some_and(|ids| ids.contains(id)));
        let Some(owner) = owner else {
            // A state is idempotent: what was asked for while the resource lived may be on its way a little longer.
            let just_gone = |(uid, ids): (&String, &BTreeSet<String>)| {
                let at = self.removed.get(uid);
                ids.contains(id) && at.is_some_and(|at| world.network.now() < at + ON_ITS_WAY)
            };
            if deleted || !self.created.iter().any(just_gone) {
                self.violation(format!("I3: version {id}, which no living resource created, is taken away"));
            }
            return;
        };
        if deleted && owner["metadata"]["deletionTimestamp"].is_null() {
            self.violation(format!("I3: version {id} is deleted, and its resource is not"));
        }
        if !deleted && owner["spec"]["state"] == "Inactive" && owner["status"]["versionId"] == id {
            return;
        }
        // A cache may lag what another resource serves since a moment ago.
        let long = |cr: &Value| {
            self.serves.get(&uid(cr)).is_some_and(|(at, since)| at == id && world.network.now() > since + LAG)
        };
        let elsewhere =
            all.iter().any(|cr| uid(cr) != uid(owner) && long(cr) && cr["metadata"]["deletionTimestamp"].is_null());
        if elsewhere {
            self.violation(format!("I3: version {id} is taken away, and another resource serves it"));
        }
    }

    /// A write of a process took effect.
    pub(crate) fn written(&mut self, world: &World, who: &str, path: &str, body: &[u8]) {
        let parts: Vec<&str> = path.split('/').collect();
        let kind = parts.iter().rev().take(3).find(|part| part.ends_with('s') && **part != "status");
        let kind = kind.copied().unwrap_or_default();
        let object: Value = serde_json::from_slice(body).unwrap_or_default();
        if kind == "leases" {
            let holder = object["spec"]["holderIdentity"].as_str().unwrap_or_default();
            self.holders.insert(object["metadata"]["name"].to_string(), holder.to_owned());
            return;
        }
        let lets_go = kind == "abejaconnections" && object["metadata"]["finalizers"].is_null();
        let notices = NOTICED.iter().any(|reason| object["reason"] == *reason);
        // A process that is started late lets go late of a connection that nobody needs.
        if !lets_go && (!notices || !self.noticed.insert((who.to_owned(), object["note"].to_string()))) {
            self.counts.writes += 1;
        }
        if kind == "secrets" {
            self.others(&object);
        }
        match kind {
            "secrets" if object["kind"] == "Secret" => return self.target(world, &object),
            "secretversions" => self.status(world, &object),
            "events" if TOLD.iter().any(|reason| object["reason"] == *reason) => {
                self.told += &String::from_utf8_lossy(body);
            }
            _ => {}
        }
        self.leaks(kind, &String::from_utf8_lossy(body));
    }

    /// I11: what others wrote stays, and what is theirs is neither taken over nor removed.
    fn others(&mut self, secret: &Value) {
        let removed = secret["details"]["uid"].as_str();
        let uid = secret["metadata"]["uid"].as_str().or(removed).unwrap_or_default();
        if self.squatters.contains(uid) {
            self.violation(format!("I11: Secret {uid}, which is somebody else's, is written or removed"));
        }
        if removed.is_none() && self.labelled.contains(uid) && secret["metadata"]["labels"][LABEL].is_null() {
            self.violation(format!("I11: a label of somebody else is taken off Secret {uid}"));
        }
    }

    /// I7: no value and no credential is where it could be read.
    pub(crate) fn leaks(&mut self, place: &str, text: &str) {
        let encoded = STANDARD.encode(CANARY);
        if text.contains(CANARY) || text.contains(&encoded[..5]) {
            self.violation(format!("I7: a value or a credential is in {place}"));
        }
    }

    fn status(&mut self, world: &World, cr: &Value) {
        let uid = cr["metadata"]["uid"].as_str().unwrap_or_default();
        let history = cr["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let own = history.iter().filter(|record| record["origin"] == "Created" && record["uid"] == uid);
        let own: Vec<String> = own.filter_map(|record| record["versionId"].as_str().map(str::to_owned)).collect();
        self.created.entry(uid.to_owned()).or_default().extend(own);
        if !cr["status"]["create"].is_null() {
            let secret = cr["spec"]["remoteRef"]["secretId"].as_str().unwrap_or_default().to_owned();
            self.intents.entry(secret).or_default().insert(uid.to_owned());
        }
        let id = cr["status"]["versionId"].as_str().unwrap_or_default();
        if self.serves.get(uid).is_none_or(|(before, _)| before != id) {
            self.serves.insert(uid.to_owned(), (id.to_owned(), world.network.now()));
        }
        let conditions = cr["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = conditions.iter().any(|c| {
            c["type"] == "Ready" && c["status"] == "True" && c["observedGeneration"] == cr["metadata"]["generation"]
        });
        if !ready || !cr["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let secret = cr["status"]["secretId"].as_str().unwrap_or_default();
        match versions(world, secret).iter().find(|version| version["id"] == id) {
            None if cr["spec"]["valueFrom"].is_null() => {}
            None => self.violation(format!("I10: {uid} is ready with a version that is not there")),
            Some(version) => {
                let wanted = cr["spec"]["state"].as_str().unwrap_or("Active").to_lowercase();
                let managed = !cr["spec"]["valueFrom"].is_null();
                if managed && version["status"] != wanted {
                    self.violation(format!("I10: {uid} is ready, and its version is not {wanted}"));
                }
            }
        }
    }

    /// I4: a target holds what the remote has or had.
    fn target(&mut self, world: &World, secret: &Value) {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        let value = secret["data"]["value"].as_str().unwrap_or_default();
        let request = digest(format!(r#"{{"value": "{value}"}}"#).as_bytes());
        let committed = |entry: &Entry| {
            entry.committed && entry.operation == Some(Operation::CreateVersion) && entry.body_sha256 == request
        };
        let had = world.simulator.journal().iter().any(committed);
        let has = || world.secrets.iter().any(|id| versions(world, id).iter().any(|version| version["value"] == value));
        if value.is_empty() || !(had || has()) {
            self.violation(format!("I4: target {name} holds what the remote never had"));
        }
    }

    /// What is left to say at the end.
    pub(crate) fn judge(&mut self, world: &World, log: &str) -> Vec<String> {
        self.leaks("the log", log);
        for bad in ["the pass panicked", "did not come to rest after"] {
            if log.contains(bad) {
                self.violation(format!("I9: the log says: {bad}"));
            }
        }
        let lines = log.lines().filter(|line| TOLD.iter().any(|reason| line.contains(reason)));
        let told = lines.fold(self.told.clone(), |told, line| told + line);
        let made: Vec<Entry> = world
            .simulator
            .journal()
            .into_iter()
            .filter(|entry| entry.operation == Some(Operation::CreateVersion) && entry.committed)
            .collect();
        self.sent_twice(&made);
        self.lost(world, &made, &told);
        std::mem::take(&mut self.violations)
    }

    /// I1: one version for each change. No remote of these worlds is later than it promises, so none is a late twin either.
    fn sent_twice(&mut self, made: &[Entry]) {
        let mut by_change: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for entry in made {
            let (Some(secret), Some(body), Some(id)) = (&entry.secret_id, &entry.body_sha256, &entry.version_id) else {
                continue;
            };
            by_change.entry((secret, body)).or_default().push(id);
        }
        let requests: BTreeMap<(String, String), usize> = self
            .changes
            .iter()
            .map(|((place, value), times)| ((place.clone(), request_of(value.as_bytes())), *times))
            .collect();
        let mut found = Vec::new();
        for ((secret, body), ids) in by_change {
            let allowed = requests.get(&(secret.to_owned(), body.to_owned())).copied().unwrap_or_default();
            if ids.len() > allowed {
                found.push(format!("I1: versions {} of {secret} for {allowed} changes", ids.join(", ")));
            }
        }
        for what in found {
            self.violation(what);
        }
    }

    /// I2: what was made is recorded, or told of, or gone.
    fn lost(&mut self, world: &World, made: &[Entry], told: &str) {
        let all = world.apiserver.objects(RESOURCES);
        let recorded: BTreeSet<&str> = all
            .iter()
            .flat_map(|cr| cr["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default())
            .filter_map(|record| record["versionId"].as_str())
            .collect();
        let alive = |uid: &String| all.iter().any(|cr| cr["metadata"]["uid"] == **uid);
        let gone: BTreeSet<&String> =
            self.created.iter().filter(|(uid, _)| !alive(uid)).flat_map(|(_, ids)| ids).collect();
        let mut found = Vec::new();
        for entry in made {
            let (Some(secret), Some(id)) = (&entry.secret_id, &entry.version_id) else { continue };
            let there = versions(world, secret).into_iter().find(|version| version["id"] == **id);
            // What a resource switched off as it went is where its policy wants it.
            let policy = |version: &Value| version["status"] == "inactive" && gone.contains(id);
            let there = there.is_some_and(|version| !policy(&version));
            let change = (secret.clone(), entry.body_sha256.clone().unwrap_or_default());
            let nobody = self.sent.get(&change).is_some_and(|uids| !uids.is_disjoint(&self.let_go));
            if there && !nobody && !recorded.contains(id.as_str()) && !told.contains(id.as_str()) {
                found.push(format!("I2: version {id} of {secret} is neither recorded nor told of"));
            }
        }
        for what in found {
            self.violation(what);
        }
    }
}

/// The versions of a remote secret, as they are.
pub(crate) fn versions(world: &World, secret: &str) -> Vec<Value> {
    let path = SecretPath { organization: ORGANIZATION, secret };
    let page = Page { offset: 0, limit: usize::MAX };
    let list = world.simulator.with_store(|store| store.list_versions(path, page, View { values: true, until: None }));
    list.into_iter().flat_map(|list| list.versions).filter_map(|version| serde_json::to_value(version).ok()).collect()
}

/// The digest of the request that would make a version of a value.
fn request_of(value: &[u8]) -> String {
    digest(format!(r#"{{"value": "{}"}}"#, STANDARD.encode(value)).as_bytes()).unwrap_or_default()
}
