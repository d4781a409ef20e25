//! One remote secret of a scene, seen and changed behind the operator's back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Simulator, eventually};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SOON, Scene};
use crate::world::ORGANIZATION;

/// A remote secret.
pub(crate) struct Remote<'a> {
    simulator: &'a Simulator,
    /// Its id.
    pub(crate) id: String,
}

/// One of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) active: bool,
    pub(crate) value: Vec<u8>,
}

impl Scene {
    /// A new remote secret without versions.
    pub(crate) async fn remote(&self) -> Remote<'_> {
        self.remote_named(&self.namespace).await
    }

    /// A new remote secret of this name. Names need not be unique at the remote.
    pub(crate) async fn remote_named(&self, name: &str) -> Remote<'_> {
        let simulator = &self.world.simulator;
        let secret = json!({"create": {"organization_id": ORGANIZATION, "name": name}});
        let made = simulator.control(Method::POST, "/secrets", Some(&secret)).await.unwrap();
        Remote { simulator, id: made["id"].as_str().unwrap().to_owned() }
    }
}

impl<'a> Remote<'a> {
    /// A secret that the simulator has.
    pub(crate) fn of(simulator: &'a Simulator, id: &str) -> Self {
        Self { simulator, id: id.to_owned() }
    }

    /// Its versions, oldest first.
    pub(crate) async fn versions(&self) -> Vec<Version> {
        let state = self.simulator.state().await.unwrap();
        let secrets = state["organizations"].as_array().unwrap().iter().flat_map(|o| o["secrets"].as_array().unwrap());
        let secret = secrets.into_iter().find(|secret| secret["id"] == self.id.as_str()).unwrap();
        Vec::<Wire>::deserialize(&secret["versions"]).unwrap().into_iter().map(Version::from).collect()
    }

    /// The numbers of its versions, oldest first, each with whether it is active.
    pub(crate) async fn numbers(&self) -> Vec<(i64, bool)> {
        self.versions().await.iter().map(|version| (version.number, version.active)).collect()
    }

    /// Waits until its versions are these, by number and whether they are active.
    pub(crate) async fn has(&self, expected: &[(i64, bool)]) {
        eventually(SOON, &format!("the remote has {expected:?}"), async || {
            let numbers = self.numbers().await;
            anyhow::ensure!(numbers == expected, "it has {numbers:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Makes a version as somebody at the console would.
    pub(crate) async fn make(&self, value: &[u8]) -> Version {
        let value = STANDARD.encode(value);
        let edit = json!({"create": {"organization_id": ORGANIZATION, "secret_id": self.id, "value_base64": value}});
        let id = self.edit(&edit).await["id"].as_str().unwrap().to_owned();
        self.versions().await.into_iter().find(|version| version.id == id).unwrap()
    }

    /// Switches a version as somebody at the console would.
    pub(crate) async fn switch(&self, version: &Version, active: bool) {
        let status = if active { "active" } else { "inactive" };
        let edit = json!({"update": {
            "organization_id": ORGANIZATION, "secret_id": self.id, "version_id": version.id, "status": status,
        }});
        self.edit(&edit).await;
    }

    /// Deletes a version as somebody at the console would.
    pub(crate) async fn destroy(&self, version: &Version) {
        let edit = json!({"delete": {
            "organization_id": ORGANIZATION, "secret_id": self.id, "version_id": version.id,
        }});
        self.edit(&edit).await;
    }

    async fn edit(&self, edit: &Value) -> Value {
        self.simulator.control(Method::POST, "/versions", Some(edit)).await.unwrap()
    }

    /// Scripts a fault for requests about this secret, and gives its id.
    pub(crate) async fn fault(&self, action: Value) -> u64 {
        let fault = json!({"match": {"secret_id": self.id}, "action": action});
        self.simulator.add_fault(&fault).await.unwrap()
    }

    /// Scripts a fault for creates, and gives its id.
    pub(crate) async fn fault_of_creates(&self, action: Value) -> u64 {
        let fault = json!({"match": {"secret_id": self.id, "operation": "create_version"}, "action": action});
        self.simulator.add_fault(&fault).await.unwrap()
    }

    /// Takes a fault away.
    pub(crate) async fn heal(&self, fault: u64) {
        self.simulator.control(Method::DELETE, &format!("/faults/{fault}"), None).await.unwrap();
    }

    /// The requests about this secret, oldest first.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        let journal = self.simulator.journal().await.unwrap();
        journal.into_iter().filter(|entry| entry["secret_id"] == self.id.as_str()).collect()
    }

    /// The looks at this secret, by itself or with all of its organization, oldest first.
    pub(crate) async fn looks(&self) -> Vec<Value> {
        let journal = self.simulator.journal().await.unwrap();
        let page = |entry: &Value| entry["operation"] == "list_secrets" && entry["organization_id"] == ORGANIZATION;
        journal.into_iter().filter(|entry| entry["secret_id"] == self.id.as_str() || page(entry)).collect()
    }

    /// The operations asked for, in order: `list_versions`, `create_version` and so on.
    pub(crate) async fn operations(&self) -> Vec<String> {
        let requests = self.requests().await;
        requests.iter().map(|entry| entry["operation"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How many creates were asked for.
    pub(crate) async fn posts(&self) -> usize {
        self.operations().await.iter().filter(|operation| *operation == "create_version").count()
    }
}

/// A version in the simulator's dump.
#[derive(Deserialize)]
struct Wire {
    id: String,
    version: i64,
    status: String,
    value: String,
}

impl From<Wire> for Version {
    fn from(wire: Wire) -> Self {
        let value = STANDARD.decode(wire.value).unwrap();
        Self { id: wire.id, number: wire.version, active: wire.status == "active", value }
    }
}
