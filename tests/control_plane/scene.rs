//! A scene: one namespace of the shared world, for one test. Gives the words in which the tests are written, and looks
//! at its end for what no test may cause: a request that was denied, and a secret that was told.

mod leaks;
mod remote;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kit::audit::{Audit, Mark};
use kit::{ControlPlane, Operator, eventually};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use secret_version_operator::api::v1alpha1::{AbejaConnection, ConnectionStatus, SecretVersion};
use secret_version_operator::domain::condition::{self, kind};
use secret_version_operator::domain::reason::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use leaks::assert_silent;
pub(crate) use remote::Remote;

use crate::admission::merge;
use crate::world::{self, World};

/// How long anything may take on a busy machine. What is tested to happen at once has no other reason to happen within
/// this time: refreshes are an hour apart.
pub(crate) const SOON: Duration = Duration::from_secs(45);

/// The connection of every scene, and the Secret with its credential.
pub(crate) const CONNECTION: &str = "remote";

/// One test's part of the world.
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    mark: Mark,
    log_from: usize,
    ended: bool,
}

/// Something of ours in a namespace.
pub(crate) trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}
impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl Scene {
    /// A namespace with a connection to the simulator.
    pub(crate) async fn begin(prefix: &str) -> Self {
        let world = World::shared().await;
        let namespace = world.plane.namespace(prefix).await.unwrap().to_string();
        let mark = world.plane.audit_mark().unwrap();
        Self::within(world, namespace, mark).await
    }

    /// The namespace of a world apart, with a connection to its simulator.
    pub(crate) async fn apart(prefix: &str, values: &[&str]) -> Self {
        let world = World::apart(prefix, values).await;
        let (namespace, mark) = (world.installed.namespace.clone(), world.mark);
        Self::within(world, namespace, mark).await
    }

    /// The same, where the work is divided. Gives the processes beside the world's operator, too.
    pub(crate) async fn divided(prefix: &str, of: usize, values: &[&str]) -> (Self, Vec<Operator>) {
        let (world, others) = World::divided(prefix, of, values).await;
        let (namespace, mark) = (world.installed.namespace.clone(), world.mark);
        (Self::within(world, namespace, mark).await, others)
    }

    async fn within(world: Arc<World>, namespace: String, mark: Mark) -> Self {
        let client = client(world.plane).await.unwrap();
        let log_from = fs::read(world.operator.process().log()).unwrap().len();
        let scene = Self { world, client, namespace, mark, log_from, ended: false };
        scene.secret("token", &[("token", world::TOKEN.as_bytes())]).await;
        let spec = world::connection(&scene.world.simulator);
        scene.create::<AbejaConnection>(CONNECTION, json!({"spec": spec})).await;
        scene
    }

    /// Looks for what no test may cause. Every scene ends with it.
    pub(crate) async fn end(mut self) {
        self.ended = true;
        let denied = self.audit().await.denied();
        assert!(denied.is_empty(), "the operator was denied: {:#?}", denied.events());
        self.find_leaks().await;
    }

    pub(crate) fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object of this name.
    pub(crate) async fn create<K: Object>(&self, name: &str, body: Value) -> K {
        let mut object = body;
        object["metadata"]["name"] = name.into();
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        self.api().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// Changes an object by a merge patch, as a user would.
    pub(crate) async fn patch<K: Object>(&self, name: &str, patch: Value) -> K {
        let params = PatchParams { field_manager: Some("user".to_owned()), ..PatchParams::default() };
        self.api().patch(name, &params, &Patch::Merge(patch)).await.unwrap()
    }

    pub(crate) async fn get<K: Object>(&self, name: &str) -> Option<K> {
        self.api().get_opt(name).await.unwrap()
    }

    /// Asks for an object's deletion. What holds it may take its time.
    pub(crate) async fn delete<K: Object>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K: Object>(&self, name: &str) {
        let api = self.api::<K>();
        eventually(SOON, &format!("{name} is gone"), async || {
            let left = api.get_opt(name).await?;
            ensure!(left.is_none(), "{}", serde_json::to_string_pretty(&left)?);
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Deletes an object and waits until it is gone.
    pub(crate) async fn remove<K: Object>(&self, name: &str) {
        self.delete::<K>(name).await;
        self.gone::<K>(name).await;
    }

    /// Waits until an object is as it should be, and gives it.
    pub(crate) async fn until<K: Object>(&self, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K {
        let api = self.api::<K>();
        eventually(SOON, &format!("{name} {what}"), async || {
            let object = api.get_opt(name).await?.with_context(|| format!("there is no {name}"))?;
            if !is_so(&object) {
                bail!("{}", serde_json::to_string_pretty(&object)?);
            }
            Ok(object)
        })
        .await
        .unwrap()
    }

    // --- Secrets ---

    /// Creates a Secret, or changes these keys of it.
    pub(crate) async fn secret(&self, name: &str, data: &[(&str, &[u8])]) -> Secret {
        let data: BTreeMap<_, _> =
            data.iter().map(|(key, bytes)| (*key, k8s_openapi::ByteString(bytes.to_vec()))).collect();
        match self.get::<Secret>(name).await {
            Some(_) => self.patch(name, json!({"data": data})).await,
            None => self.create(name, json!({"data": data})).await,
        }
    }

    /// Waits until a Secret holds these bytes under these keys, and no other keys.
    pub(crate) async fn holds(&self, name: &str, expected: &[(&str, &[u8])]) -> Secret {
        let expected: BTreeMap<_, _> = expected.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
        self.until(name, "holds what it should", |secret| data(secret) == expected).await
    }

    // --- SecretVersions ---

    /// A managed resource with the source `source`, key `key`. `spec` is merged in.
    pub(crate) async fn managed(&self, name: &str, remote: &Remote<'_>, spec: Value) -> SecretVersion {
        let source = json!({"valueFrom": {"secretKeyRef": {"name": "source", "key": "key"}}});
        self.secret_version(name, remote, &[source, spec]).await
    }

    /// An observed resource. `spec` is merged in.
    pub(crate) async fn observed(&self, name: &str, remote: &Remote<'_>, version: Value, spec: Value) -> SecretVersion {
        self.secret_version(name, remote, &[json!({"versionRef": version}), spec]).await
    }

    async fn secret_version(&self, name: &str, remote: &Remote<'_>, parts: &[Value]) -> SecretVersion {
        let mut spec = json!({
            "connectionRef": {"kind": "AbejaConnection", "name": CONNECTION},
            "remoteRef": {"secretId": remote.id},
        });
        for part in parts {
            merge(&mut spec, part);
        }
        self.create(name, json!({"spec": spec})).await
    }

    /// Changes the spec of a resource by a merge patch.
    pub(crate) async fn edit(&self, name: &str, spec: Value) -> SecretVersion {
        self.patch(name, json!({"spec": spec})).await
    }

    /// Waits until a resource is Ready, for the spec as it is now.
    pub(crate) async fn ready(&self, name: &str) -> SecretVersion {
        self.until(name, "is Ready", |cr| condition_is(cr, "True", None)).await
    }

    /// Waits until a resource is Ready with the version of this number.
    pub(crate) async fn serves(&self, name: &str, number: i64) -> SecretVersion {
        let is_so = |cr: &SecretVersion| {
            condition_is(cr, "True", None) && cr.status.as_ref().and_then(|s| s.version) == Some(number)
        };
        self.until(name, &format!("is Ready with version {number}"), is_so).await
    }

    /// Waits until a resource is not Ready, for this reason and for the spec as it is now. Gives the condition, which
    /// comes with exactly one of `Reconciling` and `Stalled`.
    pub(crate) async fn fails(&self, name: &str, reason: Reason) -> Failure {
        let is_so = |cr: &SecretVersion| condition_is(cr, "False", Some(reason));
        let cr = self.until(name, &format!("fails with {}", reason.as_str()), is_so).await;
        let conditions = &cr.status.as_ref().unwrap().conditions;
        let stalled = condition::get(conditions, kind::STALLED).is_some();
        assert_ne!(stalled, condition::get(conditions, kind::RECONCILING).is_some(), "{conditions:#?}");
        let ready: &Condition = condition::get(conditions, kind::READY).unwrap();
        Failure { message: ready.message.clone(), stalled, cr }
    }

    /// Asks for a sync past every cache, and waits until it is done.
    pub(crate) async fn sync(&self, name: &str) -> SecretVersion {
        let token = format!("{:?}", std::time::Instant::now());
        let asked = json!({"metadata": {"annotations": {"secrets.abeja.io/reconcile-requested-at": token}}});
        self.patch::<SecretVersion>(name, asked).await;
        let is_so =
            |cr: &SecretVersion| cr.status.as_ref().and_then(|s| s.last_handled_reconcile_at.as_ref()) == Some(&token);
        self.until(name, "has done the sync that was asked for", is_so).await
    }

    // --- what happened ---

    /// The operator's requests to the apiserver since the scene began, in this namespace and in all.
    pub(crate) async fn audit(&self) -> Audit {
        // Whatever ended before this request ended is in the log once this is.
        let path = format!("/version?scene={:?}", std::time::Instant::now()).replace([' ', '{', '}'], "");
        let ask = http::Request::get(&path).body(Vec::new()).unwrap();
        self.client.request_text(ask).await.unwrap();
        let plane = self.world.plane;
        let account = &self.world.installed;
        eventually(SOON, "the audit log has caught up", async || {
            let all = plane.audit_since(self.mark)?;
            ensure!(all.events().iter().any(|event| event.uri == path), "not yet");
            Ok(all.service_account(&account.namespace, &account.service_account))
        })
        .await
        .unwrap()
    }

    /// How often the operator wrote resources and Secrets of this namespace.
    pub(crate) async fn writes(&self) -> usize {
        let ours = |resource: &str| matches!(resource, "secretversions" | "secrets");
        let audit = self.audit().await.namespace(&self.namespace).writes();
        audit.filter(|event| ours(&event.resource)).len()
    }

    /// Waits for an event of this reason about an object of this name, and gives its note.
    pub(crate) async fn told(&self, name: &str, reason: Reason) -> String {
        eventually(SOON, &format!("{} is told of {name}", reason.as_str()), async || {
            let events: Api<Event> = self.api();
            let all = events.list(&ListParams::default()).await?.items;
            let about = |event: &&Event| {
                event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)
                    && event.reason.as_deref() == Some(reason.as_str())
            };
            all.iter().find(about).and_then(|event| event.note.clone()).context("not yet")
        })
        .await
        .unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.world.plane.run_dir().keep_if_panicking();
        assert!(self.ended || std::thread::panicking(), "a scene was not ended");
    }
}

/// A resource that is not Ready.
pub(crate) struct Failure {
    /// What people read.
    pub(crate) message: String,
    /// Whether it says that a person must edit something.
    pub(crate) stalled: bool,
    pub(crate) cr: SecretVersion,
}

/// What has conditions, and says for which generation.
pub(crate) trait Conditions {
    fn conditions(&self) -> &[Condition];
}

impl Conditions for SecretVersion {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Conditions for AbejaConnection {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |ConnectionStatus { conditions, .. }| conditions)
    }
}

/// Whether `Ready` has this status, for the present generation, and this reason where one is asked for.
pub(crate) fn condition_is<K: Resource + Conditions>(object: &K, status: &str, reason: Option<Reason>) -> bool {
    condition::get(object.conditions(), kind::READY).is_some_and(|ready| {
        ready.status == status
            && ready.observed_generation == object.meta().generation
            && reason.is_none_or(|reason| ready.reason == reason.as_str())
    })
}

/// The bytes of a Secret's keys.
pub(crate) fn data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}

/// The administrator's client, for the runtime of this test.
pub(crate) async fn client(plane: &ControlPlane) -> Result<Client> {
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig_admin())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
