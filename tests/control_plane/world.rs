//! Worlds: an installed chart, a simulator, and the operator as a process under the chart's ServiceAccount.
//!
//! Most tests share one, with a control plane of its own, where the chart is installed for the whole cluster. Each test has a
//! [`Scene`](crate::scene::Scene) in it. One bad object has been there from before the operator's first breath: that every
//! test passes shows that it harms only itself.
//!
//! What would disturb others, such as a killed operator, is done in a world apart: a namespaced installation on the control
//! plane that all tests share.

use std::sync::Arc;

use anyhow::{Result, ensure};
use kit::audit::Mark;
use kit::install::{self, Installed};
use kit::{ControlPlane, Operator, Simulator, controlplane, eventually, simulator};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::scene::SOON;

/// The organization of all remote secrets, unless a test says otherwise.
pub(crate) const ORGANIZATION: &str = "1410000000000";
/// Another one.
pub(crate) const OTHER_ORGANIZATION: &str = "1410000000001";
/// A secret that another organization has, too.
pub(crate) const OTHER_SECRET: &str = "3053595000001";

/// The bearer token that may do everything.
pub(crate) const TOKEN: &str = "canary-token-all";
/// One that may not list the organization's secrets.
pub(crate) const TOKEN_WITHOUT_LIST: &str = "canary-token-without-list";
/// Id and token of a user.
pub(crate) const USER: (&str, &str) = ("2000000000001", "canary-personal-access-token");
/// Id and secret of a datasource.
pub(crate) const DATASOURCE: (&str, &str) = ("2000000000002", "canary-datasource-secret");

/// The namespace, and the name, of the object that no operator of this version can read.
pub(crate) const UNREADABLE: (&str, &str) = ("unreadable", "from-another-time");

/// Where the Secrets of cluster connections live, in the shared world.
pub(crate) const OPERATOR_NAMESPACE: &str = "operator";

/// What is shared by all scenes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) installed: Installed,
    pub(crate) simulator: Simulator,
    pub(crate) operator: Operator,
    /// Where the audit log was before the operator started.
    pub(crate) mark: Mark,
}

impl World {
    /// The one that most tests share. It ends with the process.
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: OnceCell<Result<Arc<World>, String>> = OnceCell::const_new();
        let start = || async { Self::of_the_cluster().await.map(Arc::new).map_err(|error| format!("{error:#}")) };
        SHARED.get_or_init(start).await.clone().unwrap()
    }

    async fn of_the_cluster() -> Result<Self> {
        static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
        let plane = PLANE.get_or_try_init(|| ControlPlane::start(controlplane::Options::default())).await?;
        install::crds(plane).await?;
        store_an_unreadable_object(plane).await?;
        plane.kubectl(&["create", "namespace", OPERATOR_NAMESPACE]).await?.ok()?;
        let token = format!("--from-literal=token={TOKEN}");
        let create = ["create", "secret", "generic", "cluster-token", "-n", OPERATOR_NAMESPACE, &token];
        plane.kubectl(&create).await?.ok()?;
        Self::start(plane, OPERATOR_NAMESPACE, &[]).await
    }

    /// One of a test's own, that works in one namespace only: the release's. With values of the chart.
    pub(crate) async fn apart(prefix: &str, values: &[&str]) -> Arc<Self> {
        let plane = ControlPlane::shared().await.unwrap();
        let namespace = plane.namespace(prefix).await.unwrap();
        let watch = format!("watchNamespaces={{{namespace}}}");
        let values = [&[watch.as_str()], values].concat();
        Arc::new(Self::start(plane, &namespace, &values).await.unwrap())
    }

    /// One apart whose work is divided. Its operator is the first shard; the others come beside it.
    pub(crate) async fn divided(prefix: &str, of: usize, values: &[&str]) -> (Arc<Self>, Vec<Operator>) {
        let plane = ControlPlane::shared().await.unwrap();
        let namespace = plane.namespace(prefix).await.unwrap();
        let simulator = Simulator::start(plane.run_dir(), &seed(), simulator::Options::default()).await.unwrap();
        let mark = plane.audit_mark().unwrap();
        let mut shards = Self::divide(plane, &namespace, &simulator, of, values).await;
        let (installed, operator) = shards.remove(0);
        let others = shards.into_iter().map(|(_, operator)| operator).collect();
        (Arc::new(Self { plane, installed, simulator, operator, mark }), others)
    }

    /// Divides the work anew, and starts a process for each shard, as an upgrade of the release does.
    pub(crate) async fn divide_anew(&self, of: usize, values: &[&str]) -> Vec<Operator> {
        let shards = Self::divide(self.plane, &self.installed.namespace, &self.simulator, of, values).await;
        shards.into_iter().map(|(_, operator)| operator).collect()
    }

    async fn divide(
        plane: &ControlPlane,
        namespace: &str,
        simulator: &Simulator,
        of: usize,
        values: &[&str],
    ) -> Vec<(Installed, Operator)> {
        let (watch, own) = (format!("watchNamespaces={{{namespace}}}"), own_values(simulator));
        let all: Vec<&str> =
            own.iter().map(String::as_str).chain([watch.as_str()]).chain(values.iter().copied()).collect();
        let mut shards = Vec::new();
        for installed in install::shards(plane, namespace, of, &all).await.unwrap() {
            let operator = Operator::start(plane.run_dir(), &installed.operator()).await.unwrap();
            shards.push((installed, operator));
        }
        shards
    }

    async fn start(plane: &'static ControlPlane, namespace: &str, values: &[&str]) -> Result<Self> {
        let run = plane.run_dir();
        let simulator = Simulator::start(run, &seed(), simulator::Options::default()).await?;
        let own = own_values(&simulator);
        let all: Vec<&str> = own.iter().map(String::as_str).chain(values.iter().copied()).collect();
        let installed = install::chart(plane, namespace, &all).await?;
        let mark = plane.audit_mark()?;
        let operator = Operator::start(run, &installed.operator()).await?;
        Ok(Self { plane, installed, simulator, operator, mark })
    }
}

/// What every world sets. Everything is logged, so that what must not be logged can be found.
fn own_values(simulator: &Simulator) -> [String; 4] {
    let allowed = format!("endpoints.allowed={{{}}}", simulator.url());
    [&allowed, "endpoints.allowInsecure=true", "remoteSettleTime=1s", "log.level=trace"].map(str::to_owned)
}

/// Two organizations, and a credential of each kind.
fn seed() -> String {
    let bearer = |name: &str, token: &str| json!({"name": name, "kind": "bearer", "token": token});
    let mut without_list = bearer("without-list", TOKEN_WITHOUT_LIST);
    without_list["rights"] = json!({"refuse_list_secrets": 403});
    json!({
        "organizations": [
            {"id": ORGANIZATION, "secrets": []},
            {"id": OTHER_ORGANIZATION, "secrets": [{"id": OTHER_SECRET, "name": "elsewhere"}]},
        ],
        "credentials": [
            bearer("all", TOKEN),
            without_list,
            {"name": "user", "kind": "user", "id": USER.0, "token": USER.1},
            {"name": "datasource", "kind": "datasource", "id": DATASOURCE.0, "token": DATASOURCE.1},
        ],
    })
    .to_string()
}

/// Stores an object as an older or newer schema may have let it in, then puts ours back.
async fn store_an_unreadable_object(plane: &ControlPlane) -> Result<()> {
    let crd = "crd/secretversions.secrets.abeja.io";
    let policy = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/refreshPolicy/enum";
    let relax = json!([{"op": "remove", "path": policy}]).to_string();
    let restore = json!([{"op": "add", "path": policy, "value": ["Periodic", "OnChange"]}]).to_string();
    plane.kubectl(&["patch", crd, "--type=json", "-p", &relax]).await?.ok()?;
    let (namespace, name) = UNREADABLE;
    plane.kubectl(&["create", "namespace", namespace]).await?.ok()?;
    let object = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "connectionRef": {"kind": "AbejaConnection", "name": "none"}, "remoteRef": {"secretId": "1"},
            "versionRef": {"latest": "Active"}, "refreshPolicy": "Sometimes",
        },
    })
    .to_string();
    // The relaxed schema is in force a moment later.
    eventually(SOON, "the object is admitted", || plane.kubectl_apply(&object)).await?;
    plane.kubectl(&["patch", crd, "--type=json", "-p", &restore]).await?.ok()?;
    eventually(SOON, "our schema is in force again", async || {
        let apply = ["create", "--dry-run=server", "-f", "-"];
        let another = object.replace(name, "another");
        let answer = plane.kubectl_with_input(&apply, &another).await?;
        ensure!(!answer.success(), "still relaxed");
        Ok(())
    })
    .await
}

/// What a connection to the simulator says, but for its credential.
pub(crate) fn connection(simulator: &Simulator) -> Value {
    json!({
        "url": simulator.url(), "organizationId": ORGANIZATION, "timeoutSeconds": 2, "maxRetries": 1,
        "auth": {"token": {"secretRef": {"name": "token"}}},
    })
}
