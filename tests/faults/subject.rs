//! One `SecretVersion` under test: what it is told, and what must be true of it at rest.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kit::eventually;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use reqwest::Method;
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion};
use serde_json::{Value, json};

use crate::journal::Entry;
use crate::table::Figures;
use crate::world::World;

/// Part of every value, and of nothing else.
pub(crate) const CANARY: &str = "canary-value-";

/// Part of the base64 of every value: the three bytes before the canary are four letters of their own.
pub(crate) const CANARY_BASE64: &str = "Y2FuYXJ5LXZhbHVl";

/// How often the operator looks at the remote. The least that the operator takes.
pub(crate) const REFRESH: &str = "5s";

/// A managed `SecretVersion` with a source and a remote secret of its own.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) secret_id: String,
    /// The values of the source, one after the other.
    values: Vec<Vec<u8>>,
}

impl Subject {
    /// One that exists at the remote only.
    pub(crate) async fn new(world: &World<'_>) -> Result<Self> {
        let name = format!("subject-{}", world.number());
        let secret_id = world.remote_secret(&name).await?;
        Ok(Self { name, secret_id, values: Vec::new() })
    }

    fn source(&self) -> String {
        format!("{}-source", self.name)
    }

    /// Bytes that are no text, each time others.
    fn next_value(&mut self) -> Value {
        let mut value = vec![0x00, 0xff, 0x0a];
        value.extend(format!("{CANARY}{}-{}", self.name, self.values.len()).bytes());
        let encoded = STANDARD.encode(&value);
        self.values.push(value);
        json!(encoded)
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
                "connectionRef": { "kind": "AbejaConnection", "name": "remote" },
                "remoteRef": { "secretId": self.secret_id },
                "valueFrom": { "secretKeyRef": { "name": self.source(), "key": "password" } },
                "refreshInterval": REFRESH,
            },
        })
    }

    /// Applies source and resource: the first change.
    pub(crate) async fn apply(&mut self, world: &World<'_>) -> Result<()> {
        world.create::<Secret>(self.source_manifest()).await?;
        world.create::<SecretVersion>(self.manifest()).await
    }

    /// Changes the source: one change more.
    pub(crate) async fn change(&mut self, world: &World<'_>) -> Result<()> {
        let patch = json!({ "data": { "password": self.next_value() } });
        world.api::<Secret>().patch(&self.source(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Waits until the resource is ready with a record for each change that it was to carry through.
    pub(crate) async fn ready(&self, world: &World<'_>, changes: usize, within: Duration) -> Result<()> {
        let done = |cr: Option<&SecretVersion>| cr.is_some_and(|cr| is_ready(cr) && history(cr) >= changes);
        let said = self.reaches(world, &format!("ready with {changes} versions"), within, done).await?;
        ensure!(history(&said) == changes, "{} records of {changes} changes", history(&said));
        Ok(())
    }

    /// Waits until the resource is as asked for.
    pub(crate) async fn reaches(
        &self,
        world: &World<'_>,
        what: &str,
        within: Duration,
        condition: impl Fn(Option<&SecretVersion>) -> bool,
    ) -> Result<SecretVersion> {
        let api = world.api::<SecretVersion>();
        if let Ok(found) = tokio::time::timeout(within, await_condition(api.clone(), &self.name, condition)).await {
            return found?.with_context(|| format!("{} is gone", self.name));
        }
        let cr = api.get(&self.name).await?;
        let posts = self.posts(world).await?;
        bail!(
            "{} is not {what} after {within:?}: {}; creates: {posts:?}; {}",
            self.name,
            serde_json::to_string(&cr.status)?,
            world.operator.process().log_tail()
        );
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
            let target = world.api::<Secret>().get_metadata(&self.name).await?;
            Ok((cr.metadata.resource_version, target.metadata.resource_version))
        };
        // What was begun may end.
        world.refreshes(&self.secret_id, 1).await?;
        let before = versions().await?;
        world.refreshes(&self.secret_id, 3).await?;
        ensure!(versions().await? == before, "it is written though nothing changes");
        Ok(())
    }

    /// Deletes the resource, and waits until all that it created is gone with it.
    pub(crate) async fn delete(self, world: &World<'_>, within: Duration) -> Result<()> {
        world.api::<SecretVersion>().delete(&self.name, &DeleteParams::default()).await?;
        eventually(within, "the resource and its versions are gone", async || {
            let gone = world.api::<SecretVersion>().get_metadata_opt(&self.name).await?.is_none();
            ensure!(gone, "the resource is still there");
            let left = self.remote(world).await?.len();
            ensure!(left == 0, "{left} versions are left");
            Ok(())
        })
        .await
    }

    /// What must be true at rest: of the changes with these indices there is one version each, created here, in this
    /// order, recorded and in use; of create requests there were `posts`; nothing was ever switched or deleted.
    pub(crate) async fn holds(&self, world: &World<'_>, changes: &[usize], posts: usize) -> Result<Figures> {
        let wanted: Vec<&[u8]> = changes.iter().map(|index| self.values[*index].as_slice()).collect();
        let journal = world.journal.of(&self.secret_id).await?;
        let harm = journal.iter().filter(|e| e.is("delete_version") || e.is("update_version")).count();
        ensure!(harm == 0, "{harm} requests to switch or delete a version");
        let (sent, commits) = {
            let sent: Vec<_> = journal.iter().filter(|entry| entry.is("create_version")).collect();
            (sent.len(), sent.iter().filter(|entry| entry.committed).count())
        };
        let remote = self.remote(world).await?;
        ensure!(
            commits == wanted.len() && remote.len() == wanted.len(),
            "{} changes, {sent} POSTs, {commits} of them carried out, {} versions",
            wanted.len(),
            remote.len()
        );
        ensure!(sent == posts, "{sent} POSTs where {posts} were to be sent");
        ensure!(
            remote.iter().map(|(_, value)| value.as_slice()).eq(wanted.iter().copied()),
            "the remote's values differ"
        );

        let cr = world.api::<SecretVersion>().get(&self.name).await?;
        ensure!(is_ready(&cr), "it is not ready");
        let status = cr.status.context("no status")?;
        let recorded: Vec<&str> = status.history.iter().map(|record| record.version_id.as_str()).collect();
        let ids: Vec<&str> = remote.iter().map(|(id, _)| id.as_str()).collect();
        ensure!(recorded == ids, "recorded are {recorded:?}, at the remote {ids:?}");
        ensure!(status.version_id.as_deref() == ids.last().copied(), "it serves {:?}", status.version_id);
        let created = status.history.iter().all(|record| record.origin == Origin::Created);
        ensure!(created && status.origin == Some(Origin::Created), "a version counts as found, not created");
        let intent = status.create.context("no intent")?;
        ensure!(status.history.iter().any(|r| r.create_id.as_ref() == Some(&intent.id)), "the intent is still open");

        let target = world.api::<Secret>().get(&self.name).await?;
        let values: Vec<&[u8]> = target.data.iter().flatten().map(|(_, bytes)| bytes.0.as_slice()).collect();
        ensure!(Some(values.as_slice()) == wanted.last().map(std::slice::from_ref), "the Secret holds something else");
        Ok(Figures { changes: wanted.len(), versions: remote.len(), posts: sent })
    }

    /// Ids and values of the remote's versions, oldest first.
    async fn remote(&self, world: &World<'_>) -> Result<Vec<(String, Vec<u8>)>> {
        let state = world.simulator.control(Method::GET, "/state", None).await?;
        let secrets = state["organizations"][0]["secrets"].as_array().context("no secrets")?;
        let secret = secrets.iter().find(|secret| secret["id"] == *self.secret_id).context("no such secret")?;
        let version = |version: &Value| {
            let id = version["id"].as_str().context("no id")?.to_owned();
            Ok((id, STANDARD.decode(version["value"].as_str().context("no value")?)?))
        };
        secret["versions"].as_array().context("no versions")?.iter().map(version).collect()
    }
}

/// Whether a resource says that all is well, and says it of its present spec.
pub(crate) fn is_ready(cr: &SecretVersion) -> bool {
    let current = |status: &&secret_version_operator::api::v1alpha1::SecretVersionStatus| {
        status.observed_generation == cr.metadata.generation
    };
    let conditions = cr.status.as_ref().filter(current).map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True" && c.observed_generation == cr.metadata.generation)
}

fn history(cr: &SecretVersion) -> usize {
    cr.status.as_ref().map_or(0, |status| status.history.len())
}
