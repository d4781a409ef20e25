//! One `SecretVersion` under test: what it is told, and what must be true of it at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kit::eventually;
use kube::api::DeleteParams;
use reqwest::Method;
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion, SecretVersionStatus, VersionState};
use secret_version_operator::domain::decide::is_forced;
use serde_json::{Value, json};

use crate::journal::Entry;
use crate::table::Figures;
use crate::world::{CONNECTION, ORGANIZATION, SOON, World};

/// Part of every value, and of nothing else.
pub(crate) const CANARY: &str = "canary-value-";

/// Part of the base64 of every value: the three bytes before the canary are four letters of their own.
pub(crate) const CANARY_BASE64: &str = "Y2FuYXJ5LXZhbHVl";

/// How often the operator looks at the remote. The least that the operator takes.
pub(crate) const REFRESH: &str = "5s";

/// What must be true of a subject at rest.
pub(crate) struct AtRest<'a> {
    /// The changes, counted from 0, of which there is one version each, in this order.
    pub(crate) changes: &'a [usize],
    /// How many create requests there were.
    pub(crate) posts: usize,
    /// Whether the operator made the versions.
    pub(crate) created: bool,
    /// Whether they are active.
    pub(crate) active: bool,
    /// Whether their state was ever switched.
    pub(crate) switched: bool,
}

impl<'a> AtRest<'a> {
    /// Versions that the operator made, and left alone since.
    pub(crate) fn created(changes: &'a [usize], posts: usize) -> Self {
        Self { changes, posts, created: true, active: true, switched: false }
    }

    /// The version of the first change was there before.
    pub(crate) fn found() -> Self {
        Self { changes: &[0], posts: 0, created: false, active: true, switched: false }
    }
}

/// A version at the remote.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) value: Vec<u8>,
    pub(crate) active: bool,
}

/// A managed `SecretVersion` with a source and a remote secret of its own.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) secret_id: String,
    /// The Secret that holds its value.
    target: String,
    /// How many values the source has had.
    changes: usize,
    /// Bytes that a value is larger by, by change.
    padding: BTreeMap<usize, usize>,
}

impl Subject {
    /// One that exists at the remote only.
    pub(crate) async fn new(world: &World<'_>) -> Result<Self> {
        let name = format!("subject-{}", world.number());
        let secret_id = world.remote_secret(&name).await?;
        Ok(Self { target: name.clone(), name, secret_id, changes: 0, padding: BTreeMap::new() })
    }

    /// Whether its source exists, and with it the resource.
    pub(crate) fn exists(&self) -> bool {
        self.changes > 0
    }

    fn source(&self) -> String {
        format!("{}-source", self.name)
    }

    /// Bytes that are no text, for each change others.
    pub(crate) fn value(&self, change: usize) -> Vec<u8> {
        let mut value = vec![0x00, 0xff, 0x0a];
        value.extend(format!("{CANARY}{}-{change}", self.name).bytes());
        value.resize(value.len() + self.padding.get(&change).copied().unwrap_or_default(), b'.');
        value
    }

    fn next_value(&mut self) -> Value {
        self.changes += 1;
        json!(STANDARD.encode(self.value(self.changes - 1)))
    }

    /// Somebody else makes a version with the source's first value.
    pub(crate) async fn is_there(&self, world: &World<'_>) -> Result<()> {
        self.add(world, &self.value(0)).await.map(drop)
    }

    /// Somebody else makes a version of no value of ours, and gives its id.
    pub(crate) async fn somebody_else(&self, world: &World<'_>) -> Result<String> {
        self.add(world, format!("of somebody else, {}", world.number()).as_bytes()).await
    }

    async fn add(&self, world: &World<'_>, value: &[u8]) -> Result<String> {
        let edit = json!({ "create": {
            "organization_id": ORGANIZATION, "secret_id": self.secret_id, "value_base64": STANDARD.encode(value),
        }});
        let made = world.simulator.control(Method::POST, "/versions", Some(&edit)).await?;
        Ok(made["id"].as_str().context("a version without an id")?.to_owned())
    }

    /// The source with its first value.
    pub(crate) fn source_manifest(&mut self) -> Value {
        let value = self.next_value();
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": self.source() }, "data": { "password": value },
        })
    }

    /// The resource.
    pub(crate) fn manifest(&self) -> Value {
        json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": self.name },
            "spec": {
                "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
                "remoteRef": { "secretId": self.secret_id },
                "valueFrom": { "secretKeyRef": { "name": self.source(), "key": "password" } },
                "refreshInterval": REFRESH,
            },
        })
    }

    /// Applies source and resource: the first change.
    pub(crate) async fn apply(&mut self, world: &World<'_>) -> Result<()> {
        self.apply_with(world, &json!({})).await
    }

    /// The same, with more fields in the spec, or others.
    pub(crate) async fn apply_with(&mut self, world: &World<'_>, spec: &Value) -> Result<()> {
        world.create::<Secret>(self.source_manifest()).await?;
        let mut resource = self.manifest();
        for (field, value) in spec.as_object().into_iter().flatten() {
            resource["spec"][field] = value.clone();
        }
        world.create::<SecretVersion>(resource).await
    }

    /// Changes the source: one change more.
    pub(crate) async fn change(&mut self, world: &World<'_>) -> Result<()> {
        let patch = json!({ "data": { "password": self.next_value() } });
        world.patch::<Secret>(&self.source(), &patch).await.map(drop)
    }

    /// Changes the source to a value that is larger by so many bytes.
    pub(crate) async fn change_to(&mut self, world: &World<'_>, larger_by: usize) -> Result<()> {
        self.padding.insert(self.changes, larger_by);
        self.change(world).await
    }

    /// The source takes a value again that it has had.
    pub(crate) async fn change_back(&self, world: &World<'_>, change: usize) -> Result<()> {
        let patch = json!({ "data": { "password": STANDARD.encode(self.value(change)) } });
        world.patch::<Secret>(&self.source(), &patch).await.map(drop)
    }

    /// Asks for the version to be inactive.
    pub(crate) async fn switch_off(&self, world: &World<'_>) -> Result<()> {
        self.edit(world, &json!({ "spec": { "state": "Inactive" } })).await
    }

    /// Edits the resource, as a person would.
    pub(crate) async fn edit(&self, world: &World<'_>, patch: &Value) -> Result<()> {
        world.patch::<SecretVersion>(&self.name, patch).await.map(drop)
    }

    /// Asks for a sync, past every wait.
    pub(crate) async fn sync(&self, world: &World<'_>) -> Result<()> {
        world.sync(&self.name).await
    }

    /// Holds the Secret to the value of a change: nothing but its bytes.
    pub(crate) async fn target_is(&self, world: &World<'_>, change: usize) -> Result<()> {
        let target = world.api::<Secret>().get(&self.name).await?;
        let values: Vec<&Vec<u8>> = target.data.iter().flatten().map(|(_, bytes)| &bytes.0).collect();
        ensure!(values == [&self.value(change)], "the Secret holds something else than change {change}");
        Ok(())
    }

    /// Names another Secret as the target.
    pub(crate) async fn retarget(&mut self, world: &World<'_>) -> Result<()> {
        self.target = format!("{}-elsewhere", self.name);
        self.edit(world, &json!({ "spec": { "target": { "name": self.target } } })).await
    }

    /// Somebody deletes the Secret that holds the value.
    pub(crate) async fn lose_target(&self, world: &World<'_>) -> Result<()> {
        world.api::<Secret>().delete(&self.target, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Somebody writes something else into it.
    pub(crate) async fn spoil_target(&self, world: &World<'_>) -> Result<()> {
        let patch = json!({ "data": { "value": STANDARD.encode("spoiled") } });
        world.patch::<Secret>(&self.target, &patch).await.map(drop)
    }

    /// Deletes the resource, and waits for nothing.
    pub(crate) async fn delete(&self, world: &World<'_>) -> Result<()> {
        world.api::<SecretVersion>().delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A first create and a rotation, and what must be true after both.
    pub(crate) async fn live(&mut self, world: &World<'_>, within: Duration) -> Result<Figures> {
        self.apply(world).await?;
        self.ready(world, 1, within).await?;
        self.change(world).await?;
        self.ready(world, 2, within).await?;
        self.holds(world, &AtRest::created(&[0, 1], 2)).await
    }

    /// Waits until the resource is ready with a record for each change that it was to carry through.
    pub(crate) async fn ready(&self, world: &World<'_>, changes: usize, within: Duration) -> Result<()> {
        let done = |cr: Option<&SecretVersion>| cr.is_some_and(|cr| is_ready(cr) && history(cr) >= changes);
        let said = self.reaches(world, &format!("ready with {changes} versions"), within, done).await?;
        ensure!(history(&said) == changes, "{} records of {changes} changes", history(&said));
        Ok(())
    }

    /// Waits until the resource is ready in the state that is expected, with its value in the Secret.
    pub(crate) async fn comes_to(&self, world: &World<'_>, expected: &AtRest<'_>, within: Duration) -> Result<()> {
        self.ready(world, expected.changes.len(), within).await?;
        let state = if expected.active { VersionState::Active } else { VersionState::Inactive };
        let there = eventually(within, "the Secret holds the value", async || {
            let cr = world.api::<SecretVersion>().get(&self.name).await?;
            let status = cr.status.as_ref().context("no status")?;
            ensure!(is_ready(&cr) && status.state == Some(state), "the resource is not there yet");
            ensure!(
                status.target.as_ref().is_some_and(|target| target.name == self.target),
                "the target is another one"
            );
            let target = world.api::<Secret>().get(&self.target).await?;
            let values = target.data.unwrap_or_default();
            let wanted = expected.changes.last().map(|change| self.value(*change));
            ensure!(values.get("value").map(|bytes| &bytes.0) == wanted.as_ref(), "it holds something else");
            Ok(())
        });
        there.await
    }

    /// Waits until the resource is as asked for.
    pub(crate) async fn reaches(
        &self,
        world: &World<'_>,
        what: &str,
        within: Duration,
        condition: impl Fn(Option<&SecretVersion>) -> bool,
    ) -> Result<SecretVersion> {
        let reached = world.reaches(&self.name, what, within, condition).await;
        if reached.is_err() {
            let posts = self.posts(world).await?;
            return reached.with_context(|| format!("creates: {posts:?}"));
        }
        reached
    }

    /// The create requests so far.
    pub(crate) async fn posts(&self, world: &World<'_>) -> Result<Vec<Entry>> {
        let mut posts = world.journal.of(&self.secret_id).await?;
        posts.retain(|entry| entry.is("create_version"));
        Ok(posts)
    }

    /// Holds the resource to rest: while it is refreshed three times, neither it nor its Secret is written.
    pub(crate) async fn rests(&self, world: &World<'_>) -> Result<()> {
        let versions = async || -> Result<_> {
            let cr = world.api::<SecretVersion>().get_metadata(&self.name).await?;
            let target = world.api::<Secret>().get_metadata(&self.target).await?;
            Ok((cr.metadata.resource_version, target.metadata.resource_version))
        };
        // What was begun may end.
        world.refreshes(&self.secret_id, 1).await?;
        let before = versions().await?;
        world.refreshes(&self.secret_id, 3).await?;
        ensure!(versions().await? == before, "it is written though nothing changes");
        Ok(())
    }

    /// Waits until a deleted resource is gone, whatever it left behind.
    pub(crate) async fn ends_without(&self, world: &World<'_>, within: Duration) -> Result<()> {
        eventually(within, "the resource is gone", async || {
            let gone = world.api::<SecretVersion>().get_metadata_opt(&self.name).await?.is_none();
            ensure!(gone, "{} is still there", self.name);
            Ok(())
        })
        .await
    }

    /// Ids of what is at the remote, oldest first.
    pub(crate) async fn remote_ids(&self, world: &World<'_>) -> Result<Vec<String>> {
        Ok(self.remote(world).await?.into_iter().map(|version| version.id).collect())
    }

    /// Waits until a deleted resource is gone, and all that it created with it, and nothing was made in its place.
    pub(crate) async fn ends(&self, world: &World<'_>, within: Duration) -> Result<()> {
        let ended = eventually(within, "the resource and its versions are gone", async || {
            let gone = world.api::<SecretVersion>().get_metadata_opt(&self.name).await?.is_none();
            ensure!(gone, "the resource is still there");
            let left = self.remote(world).await?.len();
            ensure!(left == 0, "{left} versions are left");
            Ok(())
        });
        ended.await?;
        let commits = self.posts(world).await?.iter().filter(|post| post.committed).count();
        ensure!(commits == self.changes, "{commits} versions were made of {} changes", self.changes);
        Ok(())
    }

    /// Waits until a deleted resource is gone, and has switched off all that it created, and deleted nothing.
    pub(crate) async fn retires(&self, world: &World<'_>, within: Duration) -> Result<()> {
        let retired = eventually(within, "the resource is gone", async || {
            let gone = world.api::<SecretVersion>().get_metadata_opt(&self.name).await?.is_none();
            ensure!(gone, "it is still there");
            Ok(())
        });
        retired.await?;
        let left = self.remote(world).await?;
        let active = left.iter().filter(|version| version.active).count();
        ensure!((left.len(), active) == (self.changes, 0), "{} versions are left, {active} of them active", left.len());
        Ok(())
    }

    /// Holds it to what must be true at rest, and then it goes with all that it made, lest refreshes of hundreds be what the
    /// others wait for.
    pub(crate) async fn holds_and_goes(&self, world: &World<'_>, expected: &AtRest<'_>) -> Result<Figures> {
        let figures = self.holds(world, expected).await?;
        self.delete(world).await?;
        self.ends(world, SOON).await?;
        Ok(figures)
    }

    /// Holds remote, resource and Secret to what must be true at rest.
    pub(crate) async fn holds(&self, world: &World<'_>, expected: &AtRest<'_>) -> Result<Figures> {
        let wanted: Vec<Vec<u8>> = expected.changes.iter().map(|change| self.value(*change)).collect();
        let remote = self.remote(world).await?;
        let posts = self.holds_requests(world, expected, &remote).await?;
        ensure!(remote.iter().map(|version| &version.value).eq(&wanted), "the remote's values differ");
        ensure!(remote.iter().all(|version| version.active == expected.active), "a version is in the wrong state");

        let cr = world.api::<SecretVersion>().get(&self.name).await?;
        ensure!(is_ready(&cr), "it is not ready");
        let status = cr.status.context("no status")?;
        let recorded: Vec<&str> = status.history.iter().map(|record| record.version_id.as_str()).collect();
        let ids: Vec<&str> = remote.iter().map(|version| version.id.as_str()).collect();
        ensure!(recorded == ids, "recorded are {recorded:?}, at the remote {ids:?}");
        ensure!(status.version_id.as_deref() == ids.last().copied(), "it serves {:?}", status.version_id);
        let origin = if expected.created { Origin::Created } else { Origin::Referenced };
        let origins = status.history.iter().map(|record| record.origin).chain(status.origin);
        ensure!(origins.clone().all(|it| it == origin), "recorded as {:?}", origins.collect::<Vec<_>>());
        let open = |id: &String| status.history.iter().all(|record| record.create_id.as_ref() != Some(id));
        ensure!(!status.create.is_some_and(|intent| open(&intent.id)), "the intent is still open");

        let target = world.api::<Secret>().get(&self.target).await?;
        let values: Vec<&Vec<u8>> = target.data.iter().flatten().map(|(_, bytes)| &bytes.0).collect();
        ensure!(values.len() == 1 && wanted.last() == values.first().copied(), "the Secret holds something else");
        Ok(Figures { changes: wanted.len(), versions: remote.len(), posts })
    }

    /// Holds resource and Secret to one recorded version for each change so far, whatever else is at the remote, and gives
    /// the figures.
    pub(crate) async fn records(&self, world: &World<'_>, expected_posts: usize) -> Result<Figures> {
        let posts = self.posts(world).await?;
        let made: Vec<&str> =
            posts.iter().filter(|post| post.committed).filter_map(|post| post.version_id.as_deref()).collect();
        ensure!(made.len() == self.changes, "{} versions were made of {} changes", made.len(), self.changes);
        ensure!(posts.len() == expected_posts, "{} POSTs where {expected_posts} were to be sent", posts.len());
        let cr = world.api::<SecretVersion>().get(&self.name).await?;
        let status = cr.status.context("no status")?;
        let recorded: Vec<&str> = status.history.iter().map(|record| record.version_id.as_str()).collect();
        ensure!(recorded == made, "recorded are {recorded:?}, made were {made:?}");
        ensure!(status.history.iter().all(|record| record.origin == Origin::Created), "one is recorded as found");
        self.target_is(world, self.changes - 1).await?;
        Ok(Figures { changes: self.changes, versions: made.len(), posts: posts.len() })
    }

    /// Holds what was asked of the remote to what must be true at rest, and gives the number of create requests.
    async fn holds_requests(&self, world: &World<'_>, expected: &AtRest<'_>, remote: &[Version]) -> Result<usize> {
        let journal = world.journal.of(&self.secret_id).await?;
        let count = |operation: &str| journal.iter().filter(|entry| entry.is(operation)).count();
        let (sent, changes) = (count("create_version"), expected.changes.len());
        let commits = journal.iter().filter(|entry| entry.is("create_version") && entry.committed).count();
        ensure!(
            commits == if expected.created { changes } else { 0 } && remote.len() == changes,
            "{changes} changes, {sent} POSTs, {commits} of them carried out, {} versions",
            remote.len()
        );
        ensure!(sent == expected.posts, "{sent} POSTs where {} were to be sent", expected.posts);
        ensure!(count("delete_version") == 0, "a version was deleted");
        ensure!(expected.switched == (count("update_version") > 0), "{} switches of state", count("update_version"));
        Ok(sent)
    }

    /// The remote's versions, oldest first.
    pub(crate) async fn remote(&self, world: &World<'_>) -> Result<Vec<Version>> {
        let state = world.simulator.control(Method::GET, "/state", None).await?;
        let secrets = state["organizations"][0]["secrets"].as_array().context("no secrets")?;
        let secret = secrets.iter().find(|secret| secret["id"] == *self.secret_id).context("no such secret")?;
        let version = |version: &Value| {
            Ok(Version {
                id: version["id"].as_str().context("no id")?.to_owned(),
                value: STANDARD.decode(version["value"].as_str().context("no value")?)?,
                active: version["status"] == "active",
            })
        };
        secret["versions"].as_array().context("no versions")?.iter().map(version).collect()
    }
}

/// Whether a resource says that all is well, and says it of its present spec and of the last sync that was asked for.
pub(crate) fn is_ready(cr: &SecretVersion) -> bool {
    let current =
        |status: &&SecretVersionStatus| !is_forced(cr) && status.observed_generation == cr.metadata.generation;
    let conditions = cr.status.as_ref().filter(current).map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True" && c.observed_generation == cr.metadata.generation)
}

fn history(cr: &SecretVersion) -> usize {
    cr.status.as_ref().map_or(0, |status| status.history.len())
}
