//! Notes when resources become ready, by one watch that reads no more of each than that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, NotUsed, Object};
use kube::runtime::{WatchStreamExt as _, watcher};
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::arena::Arena;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    version: Option<i64>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Resources that are ready, by name: with which version, and since when.
pub(crate) type Ready = HashMap<String, (i64, Instant)>;

/// A watch under way.
pub(crate) struct Watch {
    ready: watch::Receiver<Ready>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn begin(arena: &Arena) -> Self {
        let kind = ApiResource::erase::<SecretVersion>(&());
        let api: Api<Object<NotUsed, Status>> = Api::namespaced_with(arena.client.clone(), &arena.namespace, &kind);
        let (tell, ready) = watch::channel(Ready::new());
        let task = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let Ok(object) = event else { continue };
                let Some((name, version)) = as_ready(&object) else { continue };
                tell.send_if_modified(|all| {
                    let news = all.get(&name).is_none_or(|(known, _)| *known != version);
                    if news {
                        all.insert(name, (version, Instant::now()));
                    }
                    news
                });
            }
        });
        Self { ready, task }
    }

    /// Waits until so many resources are ready with this version, and says which.
    pub(crate) async fn until(&mut self, count: usize, version: i64, within: Duration) -> Result<Ready> {
        let with = |all: &Ready| all.len() >= count && all.values().filter(|(v, _)| *v == version).count() >= count;
        let all = tokio::time::timeout(within, self.ready.wait_for(with)).await;
        Ok(all.with_context(|| format!("{count} resources are not ready in {within:?}"))??.clone())
    }

    /// Waits until these resources are ready, and says which are.
    pub(crate) async fn until_named<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
        within: Duration,
    ) -> Result<Ready> {
        let names: Vec<&str> = names.into_iter().collect();
        let with = |all: &Ready| names.iter().all(|name| all.contains_key(*name));
        let all = tokio::time::timeout(within, self.ready.wait_for(with)).await;
        Ok(all.with_context(|| format!("{} resources are not ready in {within:?}", names.len()))??.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn as_ready(object: &Object<NotUsed, Status>) -> Option<(String, i64)> {
    let status = object.status.as_ref()?;
    let ready = status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
    ready.then(|| (object.name_any(), status.version.unwrap_or_default()))
}
