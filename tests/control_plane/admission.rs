//! What a real kube-apiserver says to our resources: every rule and every bound, with an accepted and a refused example.
//!
//! The rules stand in `admission/*.yaml`, which reads as their specification. The bounds are taken from the schema itself.

mod bounds;
mod rules;
mod status;
mod surface;

use anyhow::Result;
use kit::{ControlPlane, install};
use kube::api::{Api, DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

/// The specification of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specification {
    kind: String,
    /// An object that is admitted.
    base: Value,
    rules: Vec<Rule>,
}

/// What one rule says, by examples: merge patches over the base.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A part of the answer to each refused example.
    message: String,
    /// What is stored first; the examples are then updates.
    before: Option<Value>,
    refused: Vec<Value>,
    accepted: Vec<Value>,
}

fn specifications() -> Vec<Specification> {
    [
        include_str!("admission/secretversion.yaml"),
        include_str!("admission/abejaconnection.yaml"),
        include_str!("admission/clusterabejaconnection.yaml"),
    ]
    .into_iter()
    .map(|text| serde_saphyr::from_str(text).unwrap())
    .collect()
}

impl Specification {
    /// The base with a merge patch applied.
    fn object(&self, patch: &Value) -> Value {
        let mut object = self.base.clone();
        merge(&mut object, patch);
        object
    }
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Asks the apiserver, without storing anything.
struct Admission {
    client: Client,
    namespace: String,
}

impl Admission {
    /// For a namespace of its own on the shared control plane, with our definitions installed.
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::shared().await?;
        install::crds(control_plane).await?;
        let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig_admin())?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let client = Client::try_from(config)?;
        let namespace = control_plane.namespace("admission").await?.to_string();
        Ok(Self { client, namespace })
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("secrets.abeja.io", "v1alpha1", kind);
        let resource = ApiResource::from_gvk(&gvk);
        if kind.starts_with("Cluster") {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        }
    }

    /// Creates an object as a dry run. The error is what a user would read.
    async fn ask(&self, object: &Value) -> Result<(), String> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let (api, _, object) = self.parts(object);
        said(api.create(&params, &object).await)
    }

    /// Replaces a stored object as a dry run.
    async fn ask_update(&self, object: &Value, stored: &DynamicObject) -> Result<(), String> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let (api, name, mut object) = self.parts(object);
        object.metadata.resource_version.clone_from(&stored.metadata.resource_version);
        said(api.replace(&name, &params, &object).await)
    }

    /// Stores an object.
    async fn store(&self, object: &Value) -> Result<DynamicObject> {
        let (api, _, object) = self.parts(object);
        Ok(api.create(&PostParams::default(), &object).await?)
    }

    fn parts(&self, object: &Value) -> (Api<DynamicObject>, String, DynamicObject) {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let kind = &object.types.as_ref().unwrap().kind;
        (self.api(kind), object.metadata.name.clone().unwrap(), object)
    }
}

fn said<T>(answer: kube::Result<T>) -> Result<(), String> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("{error}"),
    }
}
