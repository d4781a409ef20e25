//! A namespace of a team, with all that a resource needs, under an operator that works everywhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kit::{ControlPlane, cluster, eventually};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use reqwest::Method;
use secret_version_operator::api::v1alpha1::{AbejaConnection, SecretVersion};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::journal::Entry;
use crate::subject::{CANARY, REFRESH, is_ready};
use crate::world::{CONNECTION, SOON, TOKEN, World};

/// The name of each tenant's resource, and of its target.
pub(crate) const NAME: &str = "db";

/// A control plane that tests have one after the other: for what befalls a whole cluster.
pub(crate) async fn plane_apart() -> MutexGuard<'static, ControlPlane> {
    static APART: OnceCell<Mutex<ControlPlane>> = OnceCell::const_new();
    let start = async || Mutex::new(ControlPlane::start(kit::controlplane::Options::default()).await.unwrap());
    APART.get_or_init(start).await.lock().await
}

/// What a tenant has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    Credential,
    Connection,
    Resource,
    Target,
    Source,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Credential, Self::Connection, Self::Resource, Self::Target, Self::Source];
}

pub(crate) struct Tenant<'a> {
    world: &'a World<'a>,
    pub(crate) namespace: cluster::Namespace,
    pub(crate) secret_id: String,
    policy: &'static str,
}

impl<'a> Tenant<'a> {
    /// One whose resource is ready with its first version. `policy` is what becomes of it.
    pub(crate) async fn new(world: &'a World<'a>, prefix: &str, policy: &'static str) -> Result<Self> {
        let namespace = world.plane.namespace(prefix).await?;
        let secret_id = world.remote_secret(&namespace).await?;
        let tenant = Self { world, namespace, secret_id, policy };
        world.connect_in(&tenant.namespace, CONNECTION, TOKEN).await?;
        let source = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "source" },
            "data": { "password": tenant.value(0) },
        });
        world.create_in::<Secret>(&tenant.namespace, source).await?;
        tenant.apply().await?;
        tenant.ready(1).await?;
        Ok(tenant)
    }

    fn value(&self, change: usize) -> String {
        STANDARD.encode(format!("{CANARY}{}-{change}", self.namespace))
    }

    /// Makes the resource.
    pub(crate) async fn apply(&self) -> Result<()> {
        let resource = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": NAME },
            "spec": {
                "connectionRef": { "kind": "AbejaConnection", "name": "remote" },
                "remoteRef": { "secretId": self.secret_id },
                "valueFrom": { "secretKeyRef": { "name": "source", "key": "password" } },
                "deletionPolicy": self.policy, "refreshInterval": REFRESH,
            },
        });
        self.world.create_in::<SecretVersion>(&self.namespace, resource).await
    }

    /// Gives the source its value of this change.
    pub(crate) async fn change(&self, change: usize) -> Result<()> {
        let patch = json!({ "data": { "password": self.value(change) } });
        self.api::<Secret>().patch("source", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }

    pub(crate) async fn resource(&self) -> Result<Option<SecretVersion>> {
        match self.api::<SecretVersion>().get(NAME).await {
            Ok(cr) => Ok(Some(cr)),
            // Without the definition it is a 404 all the same, though in other words than an object's.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Edits the resource.
    pub(crate) async fn edit(&self, patch: &Value) -> Result<()> {
        self.api::<SecretVersion>().patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Writes into the resource's status, as another operator would.
    pub(crate) async fn edit_status(&self, status: &Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<SecretVersion>().patch_status(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until the resource is ready with so many versions in its record.
    pub(crate) async fn ready(&self, versions: usize) -> Result<()> {
        let ready = eventually(SOON, "the resource is ready", async || {
            let cr = self.resource().await?.context("there is none")?;
            let recorded = cr.status.as_ref().map_or(0, |status| status.history.len());
            ensure!(is_ready(&cr) && recorded == versions, "{}", serde_json::to_string(&cr.status)?);
            Ok(())
        });
        ready.await
    }

    /// Waits until the resource has a condition with this reason whose message has this part.
    pub(crate) async fn says(&self, reason: &str, part: &str) -> Result<()> {
        let said = eventually(SOON, "the resource says why, and what to do", async || {
            let cr = self.resource().await?.context("there is none")?;
            let conditions = cr.status.map(|status| status.conditions).unwrap_or_default();
            let found =
                conditions.iter().any(|condition| condition.reason == reason && condition.message.contains(part));
            ensure!(found, "{conditions:?}");
            Ok(())
        });
        said.await.with_context(|| format!("{reason}: {part}"))
    }

    /// Deletes one of its parts, and waits for nothing.
    pub(crate) async fn delete(&self, part: Part) -> Result<()> {
        let params = DeleteParams::default();
        match part {
            Part::Credential => self.api::<Secret>().delete(CONNECTION, &params).await.map(drop),
            Part::Connection => self.api::<AbejaConnection>().delete(CONNECTION, &params).await.map(drop),
            Part::Resource => self.api::<SecretVersion>().delete(NAME, &params).await.map(drop),
            Part::Target => self.api::<Secret>().delete(NAME, &params).await.map(drop),
            Part::Source => self.api::<Secret>().delete("source", &params).await.map(drop),
        }
        .or_else(|error| match error {
            // The target goes with its owner.
            kube::Error::Api(status) if status.is_not_found() => Ok(()),
            error => Err(error.into()),
        })
    }

    /// Deletes the namespace, and waits for nothing.
    pub(crate) async fn delete_namespace(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.world.client.clone());
        api.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the namespace is gone.
    pub(crate) async fn is_gone(&self, within: Duration) -> Result<()> {
        let api = Api::<Namespace>::all(self.world.client.clone());
        let gone = eventually(within, "the namespace is gone", async || {
            let Some(namespace) = api.get_opt(&self.namespace).await? else { return Ok(()) };
            let left = self.resource().await?.map(|cr| cr.status);
            anyhow::bail!("{}; {}", serde_json::to_string(&namespace.status)?, serde_json::to_string(&left)?)
        });
        gone.await
    }

    /// The states of its versions at the remote, oldest first.
    pub(crate) async fn at_remote(&self) -> Result<Vec<String>> {
        let state = self.world.simulator.control(Method::GET, "/state", None).await?;
        let secrets = state["organizations"][0]["secrets"].as_array().context("no secrets")?;
        let secret = secrets.iter().find(|secret| secret["id"] == *self.secret_id).context("no such secret")?;
        let versions = secret["versions"].as_array().context("no versions")?;
        Ok(versions.iter().filter_map(|version| version["status"].as_str().map(str::to_owned)).collect())
    }

    /// The requests that asked the remote for this.
    pub(crate) async fn calls(&self, operation: &str) -> Result<Vec<Entry>> {
        let mut calls = self.world.journal.of(&self.secret_id).await?;
        calls.retain(|entry| entry.is(operation));
        Ok(calls)
    }
}
