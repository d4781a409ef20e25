//! The floor: for each resource what the operator has to write, by a client that does nothing else, and has no other rights.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use secret_version_operator::api::FINALIZER;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::{Value, json};

use crate::arena::{Arena, ORGANIZATION, TOKEN, secret_id};
use crate::load::{self, AT_ONCE, Kind};

/// Makes all resources ready.
pub(crate) async fn write(arena: &Arena, kind: Kind, count: usize) -> Result<()> {
    let client = arena.as_operator().await?;
    let resources: Api<SecretVersion> = Api::namespaced(client.clone(), &arena.namespace);
    let all: Vec<PartialObjectMeta<SecretVersion>> = resources.list_metadata(&ListParams::default()).await?.items;
    ensure!(all.len() == count, "{} resources in place of {count}", all.len());
    let secrets = Api::namespaced(client, &arena.namespace);
    let floor = Floor { arena, secrets, resources, http: reqwest::Client::builder().no_proxy().build()? };
    let one = |meta: PartialObjectMeta<SecretVersion>| {
        let floor = &floor;
        async move {
            match kind {
                Kind::Observed => floor.observed(&meta).await,
                Kind::Managed => floor.managed(&meta).await,
            }
        }
    };
    stream::iter(all).map(one).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

/// Deletes the versions of resources that are to go, and takes off their finalizers.
pub(crate) async fn delete(arena: &Arena, doomed: Vec<SecretVersion>) -> Result<()> {
    let resources: Api<SecretVersion> = Api::namespaced(arena.as_operator().await?, &arena.namespace);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let one = |doomed: SecretVersion| {
        let (resources, http) = (&resources, &http);
        async move {
            let status = doomed.status.as_ref().context("a resource without status")?;
            let (secret, version) = (status.secret_id.as_deref(), status.version_id.as_deref());
            let (secret, version) = secret.zip(version).context("a resource without version")?;
            let url = format!("{}/{version}", versions(arena, secret));
            http.delete(url).bearer_auth(TOKEN).send().await?.error_for_status()?.bytes().await?;
            load::unbind(resources, &doomed.name_any()).await
        }
    };
    stream::iter(doomed).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

fn versions(arena: &Arena, secret: &str) -> String {
    format!("{}/secret-manager/organizations/{ORGANIZATION}/secrets/{secret}/versions", arena.simulator.url())
}

struct Floor<'a> {
    arena: &'a Arena,
    secrets: Api<Secret>,
    resources: Api<SecretVersion>,
    http: reqwest::Client,
}

impl Floor<'_> {
    /// Two writes.
    async fn observed(&self, meta: &PartialObjectMeta<SecretVersion>) -> Result<()> {
        self.target(meta).await?;
        self.status(&meta.name_any(), &ready(meta, "Observed")).await
    }

    /// Four writes, and two calls of the remote.
    async fn managed(&self, meta: &PartialObjectMeta<SecretVersion>) -> Result<()> {
        let name = meta.name_any();
        let finalizer = json!({ "metadata": { "finalizers": [FINALIZER] } });
        self.resources.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(finalizer)).await?;
        let number: usize = name.trim_start_matches("sv-").parse()?;
        let versions = format!("{}?return_secret_value=True", versions(self.arena, &secret_id(number)));
        let list = self.http.get(format!("{versions}&offset=0&limit=100")).bearer_auth(TOKEN).send().await?;
        list.error_for_status()?.bytes().await?;
        self.status(&name, &intent(meta)).await?;
        let body = json!({ "value": STANDARD.encode(vec![b'v'; self.arena.remote.value_bytes]) });
        let made = self.http.post(&versions).bearer_auth(TOKEN).json(&body).send().await?;
        made.error_for_status()?.bytes().await?;
        self.target(meta).await?;
        self.status(&name, &recorded(meta)).await
    }

    async fn target(&self, meta: &PartialObjectMeta<SecretVersion>) -> Result<()> {
        let mut secret = Secret::default();
        secret.metadata.name = Some(meta.name_any());
        secret.metadata.owner_references = meta.metadata.uid.clone().map(|uid| {
            let (api_version, kind) = (SecretVersion::api_version(&()).into(), SecretVersion::kind(&()).into());
            let (controller, block_owner_deletion) = (Some(true), Some(true));
            let name = meta.name_any();
            vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                api_version,
                kind,
                name,
                uid,
                controller,
                block_owner_deletion,
            }]
        });
        secret.data = Some([("value".to_owned(), ByteString(vec![b'v'; self.arena.remote.value_bytes]))].into());
        self.secrets.create(&PostParams::default(), &secret).await?;
        Ok(())
    }

    async fn status(&self, name: &str, status: &Value) -> Result<()> {
        let status = Patch::Merge(json!({ "status": status }));
        self.resources.patch_status(name, &PatchParams::default(), &status).await?;
        Ok(())
    }
}

const ID: &str = "0123456789abcdef0123456789abcdef";

fn intent(meta: &PartialObjectMeta<SecretVersion>) -> Value {
    json!({ "create": {
        "schema": 1, "id": ID, "uid": meta.metadata.uid, "place": "p".repeat(60),
        "digest": "d".repeat(70), "attempts": 1, "timeoutSeconds": 30, "startedAt": "2026-01-01T00:00:00Z",
        "baseline": { "version": 0 },
    } })
}

/// What the operator writes of a version that it created. The intent stays.
fn recorded(meta: &PartialObjectMeta<SecretVersion>) -> Value {
    let mut status = ready(meta, "Created");
    status["digest"] = "d".repeat(70).into();
    status["source"] = json!({ "name": "source", "uid": meta.metadata.uid, "resourceVersion": "1" });
    status["history"] = json!([{
        "versionId": "2000000000000", "version": 1, "origin": "Created", "digest": "d".repeat(70),
        "uid": meta.metadata.uid, "place": "p".repeat(60), "createdAt": "2026-01-01T00:00:00.000000Z", "createId": ID,
    }]);
    status
}

fn ready(meta: &PartialObjectMeta<SecretVersion>, origin: &str) -> Value {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Synced", "observedGeneration": 1,
            "message": "version 1 is active at the remote and its value is in Secret sv",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let conditions = ["RemoteSynced", "TargetSynced", "Ready"].map(condition);
    json!({
        "observedGeneration": 1, "url": "http://127.0.0.1:10000", "organizationId": ORGANIZATION,
        "secretId": "2000000000000", "versionId": "2000000000000", "version": 1, "state": "Active",
        "updatedAt": "2026-01-01T00:00:00.000000Z", "origin": origin,
        "target": { "name": meta.name_any(), "uid": meta.metadata.uid, "resourceVersion": "1" },
        "conditions": conditions,
    })
}
