//! One observed `SecretVersion` under test, which follows the newest active version of a remote secret of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use reqwest::Method;
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde_json::{Value, json};

use crate::subject::{CANARY, REFRESH, is_ready};
use crate::world::{CONNECTION, ORGANIZATION, SOON, World};

/// An observed resource, and somebody who makes versions for it.
pub(crate) struct Follower {
    pub(crate) name: String,
    pub(crate) secret_id: String,
    /// How many versions were made.
    made: i64,
    /// The sizes of those that are larger than others.
    large: BTreeMap<i64, usize>,
}

impl Follower {
    /// One that serves its first version.
    pub(crate) async fn new(world: &World<'_>) -> Result<Self> {
        let follower = Self::apply(world).await?;
        follower.serves(world, SOON).await?;
        Ok(follower)
    }

    /// One that is to serve its first version, whoever looks after it.
    pub(crate) async fn apply(world: &World<'_>) -> Result<Self> {
        Self::apply_by(world, |secret_id, _| json!({ "secretId": secret_id })).await
    }

    /// The same, which knows its remote secret by name.
    pub(crate) async fn apply_by_name(world: &World<'_>) -> Result<Self> {
        Self::apply_by(world, |_, name| json!({ "secretName": name })).await
    }

    async fn apply_by(world: &World<'_>, remote_ref: impl Fn(&str, &str) -> Value) -> Result<Self> {
        let name = format!("follower-{}", world.number());
        let secret_id = world.remote_secret(&name).await?;
        let mut follower = Self { name, secret_id, made: 0, large: BTreeMap::new() };
        follower.make(world).await?;
        let resource = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": follower.name },
            "spec": {
                "connectionRef": { "kind": "AbejaConnection", "name": CONNECTION },
                "remoteRef": remote_ref(&follower.secret_id, &follower.name),
                "versionRef": { "latest": "Active" },
                "refreshInterval": REFRESH,
            },
        });
        world.create::<SecretVersion>(resource).await?;
        Ok(follower)
    }

    /// The bytes of a version, which are no text.
    fn value(&self, number: i64) -> Vec<u8> {
        let mut value = vec![0x00, 0xff, 0x0a];
        value.extend(format!("{CANARY}{}-{number}", self.name).bytes());
        value.resize(value.len().max(self.large.get(&number).copied().unwrap_or_default()), b'.');
        value
    }

    /// Somebody makes one version more, of so many bytes.
    pub(crate) async fn make_large(&mut self, world: &World<'_>, size: usize) -> Result<()> {
        self.large.insert(self.made + 1, size);
        self.make(world).await
    }

    /// Somebody makes one version more.
    pub(crate) async fn make(&mut self, world: &World<'_>) -> Result<()> {
        self.made += 1;
        let value = STANDARD.encode(self.value(self.made));
        let version = json!({ "organization_id": ORGANIZATION, "secret_id": self.secret_id, "value_base64": value });
        world.simulator.control(Method::POST, "/versions", Some(&json!({ "create": version }))).await?;
        Ok(())
    }

    /// Somebody switches off the version that is served.
    pub(crate) async fn switch_off(&self, world: &World<'_>) -> Result<()> {
        let served = world.api::<SecretVersion>().get(&self.name).await?.status.and_then(|status| status.version_id);
        let edit = json!({ "update": {
            "organization_id": ORGANIZATION, "secret_id": self.secret_id, "version_id": served, "status": "inactive",
        } });
        world.simulator.control(Method::POST, "/versions", Some(&edit)).await?;
        Ok(())
    }

    /// Waits until the newest version is served, and then holds the Secret to it.
    pub(crate) async fn serves(&self, world: &World<'_>, within: Duration) -> Result<()> {
        let newest = |cr: Option<&SecretVersion>| {
            cr.is_some_and(|cr| is_ready(cr) && cr.status.as_ref().and_then(|s| s.version) == Some(self.made))
        };
        world.reaches(&self.name, &format!("ready with version {}", self.made), within, newest).await?;
        self.holds(world, self.made).await
    }

    /// Holds the Secret to a version: nothing but its bytes.
    pub(crate) async fn holds(&self, world: &World<'_>, number: i64) -> Result<()> {
        let target = world.api::<Secret>().get(&self.name).await?;
        let values: Vec<&Vec<u8>> = target.data.iter().flatten().map(|(_, bytes)| &bytes.0).collect();
        ensure!(values == [&self.value(number)], "the Secret holds something else than version {number}");
        Ok(())
    }
}
