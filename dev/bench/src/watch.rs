//! Waits until resources are ready, by one watch that reads no more of each than that.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, NotUsed, Object};
use kube::runtime::{WatchStreamExt as _, watcher};
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde::{Deserialize, Serialize};

use crate::arena::Arena;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Waits until so many resources are ready.
pub(crate) async fn ready(arena: &Arena, count: usize, within: Duration) -> Result<()> {
    let kind = ApiResource::erase::<SecretVersion>(&());
    let api: Api<Object<NotUsed, Status>> = Api::namespaced_with(arena.client.clone(), &arena.namespace, &kind);
    let events = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
    let mut events = std::pin::pin!(events);
    let all = async {
        let mut ready = HashSet::new();
        while ready.len() < count {
            let Some(object) = events.try_next().await? else { break };
            let conditions = object.status.iter().flat_map(|status| &status.conditions);
            if conditions.into_iter().any(|c| c.kind == "Ready" && c.status == "True") {
                ready.insert(object.name_any());
            }
        }
        Ok(())
    };
    tokio::time::timeout(within, all).await.with_context(|| format!("{count} resources are not ready in {within:?}"))?
}
