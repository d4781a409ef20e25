//! Random walks through what a spec may say, after Acto: wherever a walk ends, all is as if its last spec had been the first.
//!
//! The choices follow from a seed, which is printed; `SVO_FAULT_SEED` replays the walk of that seed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kit::{ControlPlane, eventually};
use kube::api::{ListParams, Patch, PatchParams};
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::subject::{CANARY, Subject, is_ready};
use crate::table::{Figures, Table, run_of};
use crate::world::{CONNECTION, SOON, World};
use crate::{is_full, runs_of, seed};

/// Walks at the same time.
const AT_ONCE: usize = 16;

/// Changes of the value in a walk. The operator lets five creates through at once, and then one a minute.
const VALUES: usize = 3;

/// What admission refuses, as a field and its value.
const REFUSED: [(&str, &str, &str); 8] = [
    ("", "deletionPolicy", r#""Explode""#),
    ("", "state", r#""Off""#),
    ("", "refreshInterval", r#""4s""#),
    ("/target", "key", r#""..""#),
    ("/target", "name", r#""No_Name""#),
    ("/target", "labels", r#"{"helm.sh/chart":"x"}"#),
    ("/connectionRef", "kind", r#""Nothing""#),
    ("/remoteRef", "secretId", r#""another""#),
];

/// Names and policies of targets that go together. `NAME-theirs` is somebody else's. `None` is not among them: what was written
/// before stays then, as the only trace of where a walk has been.
const TARGETS: [(&str, &str); 9] = [
    ("", ""),
    ("", "Owner"),
    ("", "Orphan"),
    ("NAME-a", ""),
    ("NAME-a", "Orphan"),
    ("NAME-b", "Owner"),
    ("NAME-theirs", "Merge"),
    ("NAME-theirs", "Owner"),
    ("NAME-absent", "Merge"),
];

/// A spec as a person has it in a file. `NAME`, `SECRET` and `WALK` stand for what is each resource's or walk's own.
#[derive(Clone, Debug)]
struct Spec(Value);

impl Spec {
    fn new() -> Self {
        Self(json!({
            "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
            "remoteRef": { "secretId": "SECRET" },
            "valueFrom": { "secretKeyRef": { "name": "WALK-one", "key": "x" } },
            "target": {},
        }))
    }

    /// Sets a field, or leaves it out where its value is null or empty.
    fn set(&mut self, parent: &str, field: &str, value: impl Into<Value>) {
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match value.into() {
            Value::Null => drop(parent.remove(field)),
            Value::String(text) if text.is_empty() => drop(parent.remove(field)),
            value => drop(parent.insert(field.to_owned(), value)),
        }
    }

    fn get(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Changes one thing to something that admission takes. `values` is how often the value may still change.
    fn step(&mut self, rng: &mut Rng, values: &mut usize) {
        let mut one = |of: &[&'static str]| *rng.choice(of).unwrap();
        match one(&[
            "state",
            "deletion",
            "key",
            "labels",
            "interval",
            "policy",
            "suspend",
            "connection",
            "target",
            "target",
            "source",
        ]) {
            "state" => self.set("", "state", one(&["", "Active", "Inactive"])),
            "deletion" => self.set("", "deletionPolicy", one(&["", "Delete", "Deactivate", "Retain"])),
            "key" => self.set("/target", "key", one(&["", "password", "other.key"])),
            // Merge adds keys and nothing else.
            "labels" if self.get("/target/creationPolicy") != "Merge" => match one(&["", "a", "b"]) {
                "" => self.set("/target", "labels", Value::Null),
                team => self.set("/target", "labels", json!({ "team": team, format!("only-{team}"): "yes" })),
            },
            "labels" | "interval" => {
                self.set("", "refreshPolicy", "");
                self.set("", "refreshInterval", one(&["", "5s", "1m", "1h30m"]));
            }
            "policy" => {
                self.set("", "refreshPolicy", "OnChange");
                self.set("", "refreshInterval", "");
            }
            "suspend" => self.set("", "suspend", one(&["yes", ""]) == "yes"),
            "connection" => self.set("/connectionRef", "name", one(&["missing", CONNECTION])),
            "target" => {
                let (name, policy) = *rng.choice(&TARGETS).unwrap();
                self.set("/target", "name", name);
                self.set("/target", "creationPolicy", policy);
                if policy == "Merge" {
                    self.set("/target", "labels", Value::Null);
                }
            }
            _ if *values > 0 => {
                *values -= 1;
                self.set("/valueFrom/secretKeyRef", "name", one(&["WALK-one", "WALK-two", "WALK-two", "WALK-none"]));
                self.set("/valueFrom/secretKeyRef", "key", one(&["x", "y", "y", "none"]));
            }
            _ => {}
        }
    }

    /// Makes good what no operator could make work.
    fn correct(&mut self) {
        self.set("", "suspend", Value::Null);
        self.set("/connectionRef", "name", CONNECTION);
        if self.get("/valueFrom/secretKeyRef/name") == "WALK-none" {
            self.set("/valueFrom/secretKeyRef", "name", "WALK-one");
        }
        if self.get("/valueFrom/secretKeyRef/key") == "none" {
            self.set("/valueFrom/secretKeyRef", "key", "x");
        }
        if (self.get("/target/name"), self.get("/target/creationPolicy")) == ("NAME-theirs", "Owner") {
            self.set("/target", "creationPolicy", "Merge");
            self.set("/target", "labels", Value::Null);
        }
        if self.get("/target/name") == "NAME-absent" {
            self.set("/target", "name", "NAME-theirs");
        }
    }

    /// Applies it as a tool would that has it in a file: what it no longer says is taken out.
    async fn apply(&self, world: &World<'_>, subject: &Subject, walk: &str) -> kube::Result<()> {
        let text = self.0.to_string().replace("NAME", &subject.name).replace("SECRET", &subject.secret_id);
        let mut spec: Value = serde_json::from_str(&text.replace("WALK", walk)).unwrap();
        if spec["target"] == json!({}) {
            // Out of what an apply empties the apiserver makes null, which is no object.
            spec.as_object_mut().unwrap().remove("target");
        }
        let resource = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": subject.name },
            "spec": spec,
        });
        let params = PatchParams::apply("a-tool").force();
        world.api::<SecretVersion>().patch(&subject.name, &params, &Patch::Apply(resource)).await.map(drop)
    }
}

/// What there is of a resource, in words that are the same for its like.
#[derive(Debug, PartialEq)]
struct State {
    conditions: Vec<(String, String, String)>,
    /// The value that is served, and whether it is active.
    served: Option<(Vec<u8>, bool)>,
    /// Its target, and Secrets that it owns beside.
    targets: BTreeMap<String, Value>,
}

async fn state(world: &World<'_>, subject: &Subject, with_former: bool) -> Result<State> {
    let cr = world.api::<SecretVersion>().get(&subject.name).await?;
    let status = cr.status.clone().unwrap_or_default();
    ensure!(status.observed_generation == cr.metadata.generation, "its last spec was not seen: {status:?}");
    let target = cr.spec.target.as_ref().and_then(|target| target.name.as_ref()).unwrap_or(&subject.name);
    let mut targets = BTreeMap::new();
    for secret in world.api::<Secret>().list(&ListParams::default()).await?.items {
        let meta = &secret.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let owners: Vec<_> = meta.owner_references.iter().flatten().map(|owner| &owner.name).collect();
        if &name == target || (with_former && owners.contains(&&subject.name)) {
            let seen = json!([secret.type_, meta.labels, meta.annotations, owners, secret.data]);
            targets.insert(own(&name, subject), serde_json::from_str(&own(&seen.to_string(), subject))?);
        }
    }
    let mut remote = subject.remote(world).await?.into_iter();
    let served = remote.find(|version| Some(&version.id) == status.version_id.as_ref());
    let mut conditions: Vec<_> = status.conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect();
    conditions.sort();
    Ok(State { conditions, served: served.map(|version| (version.value, version.active)), targets })
}

fn own(text: &str, subject: &Subject) -> String {
    text.replace(&subject.name, "NAME")
}

impl State {
    fn ready(&self) -> Option<&(String, String, String)> {
        self.conditions.iter().find(|condition| condition.0 == "Ready")
    }
}

struct Walk<'a> {
    world: &'a World<'a>,
    /// What the sources' names begin with.
    name: String,
    walker: Subject,
    trail: Vec<String>,
    /// Whether each step is seen before the next one is made. Where it is not, a Secret may have been written whose name was
    /// not recorded when the spec came to name another: that one stays until the resource goes.
    patient: bool,
}

impl<'a> Walk<'a> {
    async fn begin(world: &'a World<'a>, patient: bool) -> Result<Self> {
        let walker = beside_theirs(world).await?;
        let name = format!("walk-{}", world.number());
        for source in ["one", "two"] {
            let value = |key: &str| STANDARD.encode(format!("{CANARY}{name}-{source}-{key}"));
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("{name}-{source}") },
                "data": { "x": value("x"), "y": value("y") },
            });
            world.create::<Secret>(secret).await?;
        }
        Ok(Self { world, name, walker, trail: Vec::new(), patient })
    }

    async fn go(&mut self, rng: &mut Rng, steps: usize) -> Result<Figures> {
        let (mut spec, mut values) = (Spec::new(), VALUES);
        spec.apply(self.world, &self.walker, &self.name).await?;
        if self.patient {
            self.is_seen().await?;
        }
        for _ in 0..steps {
            if rng.u8(..6) == 0 {
                self.is_refused(&spec, rng).await?;
                continue;
            }
            spec.step(rng, &mut values);
            self.trail.push(spec.0.to_string());
            spec.apply(self.world, &self.walker, &self.name).await?;
            if self.patient {
                self.is_seen().await?;
            }
        }
        let fresh = beside_theirs(self.world).await?;
        spec.apply(self.world, &fresh, &self.name).await?;
        // What is said of one that is suspended is what was so before.
        if spec.0["suspend"] != true {
            self.comes_to(&fresh, |state| state.ready().cloned()).await?;
        }
        spec.correct();
        self.trail.push(format!("corrected: {}", spec.0));
        spec.apply(self.world, &self.walker, &self.name).await?;
        spec.apply(self.world, &fresh, &self.name).await?;
        for subject in [&self.walker, &fresh] {
            self.world.reaches(&subject.name, "ready", SOON, |cr| cr.is_some_and(is_ready)).await?;
        }
        self.comes_to(&fresh, Some).await?;
        let posts = self.walker.posts(self.world).await?.len();
        let versions = self.walker.remote_ids(self.world).await?.len();
        Ok(Figures { changes: steps, versions, posts })
    }

    /// A spec that cannot be is refused, and the one before stays.
    async fn is_refused(&mut self, spec: &Spec, rng: &mut Rng) -> Result<()> {
        let (parent, field, value) = *rng.choice(&REFUSED).unwrap();
        let mut wrong = spec.clone();
        wrong.set(parent, field, serde_json::from_str::<Value>(value)?);
        match wrong.apply(self.world, &self.walker, &self.name).await {
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
            other => bail!("{parent}/{field}: {value} was to be refused: {other:?}"),
        }
    }

    async fn is_seen(&self) -> Result<()> {
        let seen = |cr: Option<&SecretVersion>| {
            let Some((cr, status)) = cr.and_then(|cr| Some((cr, cr.status.as_ref()?))) else { return false };
            let under_way = |c: &Condition| c.type_ == "Ready" && c.reason == Reason::Progressing.as_str();
            status.observed_generation == cr.metadata.generation && !status.conditions.iter().any(under_way)
        };
        self.world.reaches(&self.walker.name, "seen", SOON, seen).await.map(drop)
    }

    /// Waits until part of the walker's state is that of one for which its last spec is the first.
    async fn comes_to<T: PartialEq + std::fmt::Debug>(
        &self,
        fresh: &Subject,
        part: impl Fn(State) -> Option<T>,
    ) -> Result<()> {
        let same = eventually(SOON, "the walker is as one made anew", async || {
            let (walked, made) =
                (state(self.world, &self.walker, self.patient).await?, state(self.world, fresh, true).await?);
            let (walked, made) = (part(walked).context("not yet")?, part(made).context("not yet")?);
            ensure!(walked == made, "after the walk {walked:?}, made anew {made:?}");
            Ok(())
        });
        same.await
    }
}

/// A resource to be, beside a Secret of somebody else's that has its name.
async fn beside_theirs(world: &World<'_>) -> Result<Subject> {
    let subject = Subject::new(world).await?;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("{}-theirs", subject.name) },
        "stringData": { "theirs": "as it was" },
    });
    world.create::<Secret>(theirs).await?;
    Ok(subject)
}

async fn walk(world: &World<'_>, seed: u64, steps: usize) -> Result<Figures> {
    let rng = &mut Rng::with_seed(seed);
    let mut walk = Walk::begin(world, rng.bool()).await?;
    let ended = walk.go(rng, steps).await;
    ended.with_context(|| format!("seed {seed}, {}: {}", walk.walker.name, walk.trail.join("\n  ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_walks_end_where_their_last_spec_begins() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "walk").await.unwrap();
    let (walks, steps) = (runs_of(500).max(2), if is_full() { 20 } else { 10 });
    let seed = seed();
    println!("row 35: seeds from {seed}");
    let name = format!("{steps} random steps");
    let all = (0..walks).map(|n| run_of(name.clone(), walk(world, seed.wrapping_add(n as u64), steps)));
    Table::of(AT_ONCE, all.collect()).await.conclude("Row 35: random specs, each walk against its last spec made anew");
    let mut witness = Subject::new(world).await.unwrap();
    witness.apply(world).await.unwrap();
    witness.ready(world, 1, SOON).await.unwrap();
    world.is_quiet(&[witness.secret_id]).await.unwrap();
    world.is_clean().await.unwrap();
}
