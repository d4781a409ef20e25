//! Makes resources and takes them away, and the least that anybody could do for each: one Secret, one status.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::json;

use crate::arena::{Arena, observed};

/// Requests at a time: more than the apiserver of a small machine can carry out.
const AT_ONCE: usize = 32;

/// What the loader made is told apart from the connection's own Secret.
const TARGETS: &str = "type=Opaque,metadata.name!=remote";

/// Creates so many observed resources.
pub(crate) async fn apply(arena: &Arena, count: usize) -> Result<()> {
    let api = arena.api::<SecretVersion>();
    let create = |n| {
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &serde_json::from_value(observed(n))?).await?;
            Ok::<(), anyhow::Error>(())
        }
    };
    stream::iter(0..count).map(create).buffer_unordered(AT_ONCE).try_collect().await
}

/// Takes every resource and every target away, and waits until they are gone.
pub(crate) async fn clear(arena: &Arena) -> Result<()> {
    let resources = arena.api::<SecretVersion>();
    resources.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let secrets = arena.api::<Secret>();
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default().fields(TARGETS)).await?;
    let until = Instant::now() + Duration::from_mins(10);
    loop {
        let left = resources.list_metadata(&ListParams::default().limit(1)).await?.items.len()
            + secrets.list_metadata(&ListParams::default().fields(TARGETS).limit(1)).await?.items.len();
        if left == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "what was deleted does not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The floor: for each resource a Secret and a status as the operator would write them, by a client that does nothing else.
pub(crate) async fn floor(arena: &Arena, count: usize, value_bytes: usize) -> Result<Duration> {
    let secrets = arena.api::<Secret>();
    let resources = arena.api::<SecretVersion>();
    let all: Vec<PartialObjectMeta<SecretVersion>> = resources.list_metadata(&ListParams::default()).await?.items;
    ensure!(all.len() == count, "{} resources in place of {count}", all.len());
    let began = Instant::now();
    let write = |meta: PartialObjectMeta<SecretVersion>| {
        let (secrets, resources) = (secrets.clone(), resources.clone());
        async move { write(&secrets, &resources, &meta, value_bytes).await }
    };
    stream::iter(all).map(write).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(began.elapsed())
}

async fn write(
    secrets: &Api<Secret>,
    resources: &Api<SecretVersion>,
    meta: &PartialObjectMeta<SecretVersion>,
    value_bytes: usize,
) -> Result<()> {
    let name = meta.name_any();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "ownerReferences": [{
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "name": name,
            "uid": meta.metadata.uid, "controller": true, "blockOwnerDeletion": true,
        }] },
    });
    let mut secret: Secret = serde_json::from_value(secret)?;
    secret.data = Some([("value".to_owned(), ByteString(vec![b'v'; value_bytes]))].into());
    secrets.create(&PostParams::default(), &secret).await?;
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Synced", "observedGeneration": 1,
            "message": "version 1 is active at the remote and its value is in Secret sv",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let conditions = ["RemoteSynced", "TargetSynced", "Ready"].map(condition);
    let status = json!({ "status": {
        "observedGeneration": 1, "url": "http://127.0.0.1:10000", "organizationId": "1410000000000",
        "secretId": "2000000000000", "versionId": "2000000000000", "version": 1, "state": "Active",
        "updatedAt": "2026-01-01T00:00:00.000000Z", "origin": "Observed",
        "target": { "name": name, "uid": meta.metadata.uid, "resourceVersion": "1" },
        "conditions": conditions,
    } });
    resources.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
