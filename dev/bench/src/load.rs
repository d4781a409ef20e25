//! Makes resources, and takes them away.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::arena::{Arena, CONNECTION, KEYS, secret_id};

/// Requests at a time: more than the apiserver of a small machine can carry out.
pub(crate) const AT_ONCE: usize = 32;

/// The Secret that every managed resource takes its value from.
const SOURCE: &str = "source";

/// How resources come by their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They follow the newest version of a remote secret.
    Observed,
    /// They create a version from a source.
    Managed,
}

/// The n-th resource, which uses the n-th remote secret.
pub(crate) fn resource(kind: Kind, n: usize, interval: &str) -> Value {
    let mut spec = json!({
        "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
        "remoteRef": { "secretId": secret_id(n) },
        "refreshInterval": interval,
    });
    match kind {
        Kind::Observed => spec["versionRef"] = json!({ "latest": "Active" }),
        Kind::Managed => spec["valueFrom"] = json!({ "secretKeyRef": { "name": SOURCE, "key": "value" } }),
    }
    json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": name(n) }, "spec": spec,
    })
}

/// The name of the n-th resource.
pub(crate) fn name(n: usize) -> String {
    format!("sv-{n}")
}

/// Creates the resources with these numbers.
pub(crate) async fn apply(
    arena: &Arena,
    kind: Kind,
    numbers: impl IntoIterator<Item = usize>,
    interval: &str,
) -> Result<()> {
    if kind == Kind::Managed {
        source(arena).await?;
    }
    let create = |n| async move { apply_one(&arena.client, &arena.namespace, kind, n, interval).await };
    stream::iter(numbers).map(create).buffer_unordered(AT_ONCE).try_collect().await
}

/// Creates one resource.
pub(crate) async fn apply_one(
    client: &kube::Client,
    namespace: &str,
    kind: Kind,
    n: usize,
    interval: &str,
) -> Result<()> {
    let resource = serde_json::from_value(resource(kind, n, interval))?;
    Api::<SecretVersion>::namespaced(client.clone(), namespace).create(&PostParams::default(), &resource).await?;
    Ok(())
}

async fn source(arena: &Arena) -> Result<()> {
    let api = arena.api::<Secret>();
    if api.get_opt(SOURCE).await?.is_none() {
        let mut secret = Secret::default();
        secret.metadata.name = Some(SOURCE.to_owned());
        secret.data = Some([("value".to_owned(), ByteString(vec![b'v'; arena.remote.value_bytes]))].into());
        api.create(&PostParams::default(), &secret).await?;
    }
    Ok(())
}

/// Takes every target and every resource away, and waits until they are gone, while no operator runs.
///
/// Targets go first: the garbage collector reads each whose owner went before it, which takes it minutes, and would slow
/// whatever is measured next.
pub(crate) async fn clear(arena: &Arena) -> Result<()> {
    let secrets = arena.api::<Secret>();
    let targets =
        ListParams::default().fields(&format!("metadata.name!={CONNECTION},metadata.name!={KEYS},type=Opaque"));
    delete_all(&secrets, &targets).await?;
    gone(&secrets, &targets).await?;
    release(arena).await?;
    delete(arena).await?;
    gone(&arena.api::<SecretVersion>(), &ListParams::default()).await
}

/// Takes off every finalizer.
async fn release(arena: &Arena) -> Result<()> {
    let resources = arena.api::<SecretVersion>();
    let all = resources.list_metadata(&ListParams::default()).await?.items;
    let bound = all.into_iter().filter(|meta| meta.metadata.finalizers.is_some());
    let one = |meta: PartialObjectMeta<SecretVersion>| {
        let resources = &resources;
        async move { unbind(resources, &meta.name_any()).await }
    };
    stream::iter(bound).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// Takes the finalizers off a resource.
pub(crate) async fn unbind(resources: &Api<SecretVersion>, name: &str) -> Result<()> {
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    resources.patch_metadata(name, &PatchParams::default(), &none).await?;
    Ok(())
}

/// Asks for every resource to be deleted.
pub(crate) async fn delete(arena: &Arena) -> Result<()> {
    delete_all(&arena.api::<SecretVersion>(), &ListParams::default()).await
}

/// One by one, as a request for the whole collection is given up after a minute.
async fn delete_all<K>(api: &Api<K>, which: &ListParams) -> Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    let one = |meta: PartialObjectMeta<K>| async move {
        match api.delete(&meta.metadata.name.unwrap_or_default(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    };
    let mut page = which.clone().limit(500);
    loop {
        let listed = api.list_metadata(&page).await?;
        stream::iter(listed.items).map(one).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        page.continue_token = listed.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// Waits until nothing of a kind is left.
pub(crate) async fn gone<K>(api: &Api<K>, which: &ListParams) -> Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    let until = Instant::now() + Duration::from_mins(10);
    while !api.list_metadata(&which.clone().limit(1)).await?.items.is_empty() {
        ensure!(Instant::now() < until, "what was deleted does not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Puts Secrets into the namespace that are nobody's here.
pub(crate) async fn foreign(arena: &Arena, count: usize, bytes: usize) -> Result<()> {
    let api = arena.api::<Secret>();
    let create = |n: usize| {
        let api = &api;
        async move {
            let mut secret = Secret::default();
            secret.metadata.name = Some(format!("foreign-{n}"));
            secret.data = Some([("value".to_owned(), ByteString(vec![b'f'; bytes]))].into());
            api.create(&PostParams::default(), &secret).await.map(drop)
        }
    };
    stream::iter(0..count).map(create).buffer_unordered(8).try_collect::<()>().await?;
    Ok(())
}
