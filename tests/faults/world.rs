//! One operator and its surroundings: a namespace, the chart, a simulator, and a proxy before the apiserver.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kit::audit::{Audit, Mark};
use kit::cluster::Namespace;
use kit::{ControlPlane, Operator, Proxy, Simulator, eventually, install, simulator};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use reqwest::Method;
use secret_version_operator::api::RECONCILE_REQUESTED_AT;
use secret_version_operator::api::v1alpha1::{AbejaConnection, SecretVersion};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::journal::Journal;
use crate::oracle::{self, AtEnd, Oracle};
use crate::subject::{CANARY, CANARY_BASE64};

/// The organization of every world.
pub(crate) const ORGANIZATION: &str = "1410000000000";

/// The remote's time to settle.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// What the operator waits, at its shortest, before it believes that a create came to nothing: its window for sending,
/// twice the connection's timeout, and the remote's time to settle.
pub(crate) const GRACE: Duration = Duration::from_secs(5 + 1 + 1 + SETTLE.as_secs());

/// The connection's timeout. Together with the arguments of the operator below it makes [`GRACE`].
const TIMEOUT_SECONDS: i32 = 1;

/// The connection that every world has.
pub(crate) const CONNECTION: &str = "remote";

/// Its credential.
pub(crate) const TOKEN: &str = "a-token";

/// Long enough for the busiest machine; only a test that fails waits for it.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// Arguments of an operator that keeps its Lease through all that befalls a busy machine: where its end is no part of a row.
pub(crate) const STEADY: [&str; 3] =
    ["--leader-elect-lease-duration=300s", "--leader-elect-renew-deadline=240s", "--leader-elect-retry-period=2s"];

/// How often what was done to which object.
pub(crate) type Writes = BTreeMap<String, BTreeMap<String, usize>>;

/// A kind of object that lives in a namespace.
pub(crate) trait Object:
    kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
    + serde::de::DeserializeOwned
    + serde::Serialize
    + Clone
    + std::fmt::Debug
{
}

impl<K> Object for K where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug
{
}

/// A running operator with everything around it.
pub(crate) struct World<'a> {
    // Killed in this order when dropped: none loses what it talks to before.
    pub(crate) operator: Operator,
    /// Further replicas of it.
    pub(crate) others: Vec<Operator>,
    pub(crate) journal: Journal,
    oracle: Oracle,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) proxy: Proxy,
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    account: String,
    options: kit::operator::Options,
    pub(crate) plane: &'a ControlPlane,
    named: AtomicUsize,
}

impl<'a> World<'a> {
    /// Starts one on a control plane, and waits until its operator is ready.
    pub(crate) async fn start(plane: &'a ControlPlane, prefix: &str) -> Result<Self> {
        Self::start_with(plane, prefix, &[]).await
    }

    /// The same, where nobody is killed: one leader, who has time to renew its Lease however busy the machine is.
    pub(crate) async fn start_steady(plane: &'a ControlPlane, prefix: &str) -> Result<Self> {
        Self::start_with(plane, prefix, &STEADY).await
    }

    /// The same, with more arguments of the operator, which win over those of the chart.
    pub(crate) async fn start_with(plane: &'a ControlPlane, prefix: &str, args: &[&str]) -> Result<Self> {
        Self::start_beside(plane, prefix, args, &[]).await
    }

    /// The same, with secrets that are at the remote before.
    pub(crate) async fn start_beside(
        plane: &'a ControlPlane,
        prefix: &str,
        args: &[&str],
        secrets: &[Value],
    ) -> Result<Self> {
        let namespace = plane.namespace(prefix).await?;
        let watched = format!("watchNamespaces={{{namespace}}}");
        Self::start_in(plane, namespace, Some(watched), args, secrets).await
    }

    /// Starts one that works in all namespaces: on a control plane that nobody else uses at the time.
    pub(crate) async fn start_everywhere(plane: &'a ControlPlane, prefix: &str) -> Result<Self> {
        Self::start_in(plane, plane.namespace(prefix).await?, None, &STEADY, &[]).await
    }

    async fn start_in(
        plane: &'a ControlPlane,
        namespace: Namespace,
        watched: Option<String>,
        args: &[&str],
        secrets: &[Value],
    ) -> Result<Self> {
        let seed = json!({
            // Somebody at the console is held to no limit.
            "settings": { "max_value_bytes": 4 << 20 },
            "organizations": [{ "id": ORGANIZATION, "secrets": secrets }],
            "credentials": [{ "name": "operator", "kind": "bearer", "token": TOKEN }],
        });
        let simulator = Simulator::start(plane.run_dir(), &seed.to_string(), simulator::Options::default()).await?;
        let simulator = Arc::new(simulator);
        let values = [
            format!("endpoints.allowed={{{}}}", simulator.url()),
            "endpoints.allowInsecure=true".to_owned(),
            format!("remoteSettleTime={}s", SETTLE.as_secs()),
            // Who was killed still holds the Lease: its successor waits this long.
            "leaderElection.leaseDuration=4s".to_owned(),
            "leaderElection.renewDeadline=3s".to_owned(),
            "leaderElection.retryPeriod=500ms".to_owned(),
        ];
        let values: Vec<&str> = values.iter().chain(&watched).map(String::as_str).collect();
        let installed = install::chart(plane, &namespace, &values).await?;
        let proxy = Proxy::start(plane).await?;
        let mut options = installed.operator();
        options.kubeconfig = proxy.kubeconfig(&installed.kubeconfig)?;
        let options = with_args(options, args);
        let operator = Operator::start(plane.run_dir(), &options).await?;
        let client = client(plane).await?;
        let world = Self {
            operator,
            others: Vec::new(),
            oracle: Oracle::watch(&client, watched.as_ref().map(|_| &*namespace)),
            journal: Journal::follow(Arc::clone(&simulator)),
            simulator,
            proxy,
            client,
            namespace,
            account: installed.service_account,
            options,
            plane,
            named: AtomicUsize::new(0),
        };
        world.connect(CONNECTION, TOKEN).await?;
        Ok(world)
    }

    /// Starts another replica, with arguments in place of the chart's and more environment variables, and waits until it
    /// is ready.
    pub(crate) async fn add_replica(&mut self, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
        let mut options = with_args(self.options.clone(), args);
        options.env.extend(env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self.others.push(Operator::start(self.plane.run_dir(), &options).await?);
        Ok(())
    }

    /// Starts another operator in place of one that was killed: of another binary, or of this workspace's.
    pub(crate) async fn replace_operator(&mut self, binary: Option<PathBuf>) -> Result<()> {
        self.clear_lease().await?;
        let options = kit::operator::Options { binary, ..self.options.clone() };
        let operator = Operator::start(self.plane.run_dir(), &options).await?;
        // What the former one has told is still looked through in the end.
        self.others.push(std::mem::replace(&mut self.operator, operator));
        Ok(())
    }

    /// The operator and its replicas.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Operator> {
        [&self.operator].into_iter().chain(&self.others)
    }

    /// Makes a connection, and its credential in a Secret of the same name.
    pub(crate) async fn connect(&self, name: &str, token: &str) -> Result<()> {
        self.connect_in(&self.namespace, name, token).await
    }

    /// The same in another namespace.
    pub(crate) async fn connect_in(&self, namespace: &str, name: &str, token: &str) -> Result<()> {
        let credential = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { "token": token },
        });
        self.create_in::<Secret>(namespace, credential).await?;
        let connection = json!({
            "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "AbejaConnection", "metadata": { "name": name },
            "spec": {
                "url": self.simulator.url(), "organizationId": ORGANIZATION, "timeoutSeconds": TIMEOUT_SECONDS,
                "auth": { "token": { "secretRef": { "name": name } } },
            },
        });
        self.create_in::<AbejaConnection>(namespace, connection).await
    }

    /// The API of a kind in the world's namespace, as the administrator.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object.
    pub(crate) async fn create<K: Object>(&self, object: Value) -> Result<()> {
        self.create_in::<K>(&self.namespace, object).await
    }

    /// Creates an object in another namespace.
    pub(crate) async fn create_in<K: Object>(&self, namespace: &str, object: Value) -> Result<()> {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    /// A number that nothing else in this world has.
    pub(crate) fn number(&self) -> usize {
        self.named.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a secret at the remote, and gives its id.
    pub(crate) async fn remote_secret(&self, name: &str) -> Result<String> {
        let edit = json!({ "create": { "organization_id": ORGANIZATION, "name": name } });
        let made = self.simulator.control(Method::POST, "/secrets", Some(&edit)).await?;
        Ok(made["id"].as_str().context("a secret without an id")?.to_owned())
    }

    /// Scripts a fault for one call on one secret; `times` absent: until it is lifted.
    pub(crate) async fn fault(&self, operation: &str, secret: &str, times: Option<u64>, action: &Value) -> Result<u64> {
        let mut fault = json!({ "match": { "operation": operation, "secret_id": secret }, "action": action });
        if let Some(times) = times {
            fault["count"] = times.into();
        }
        self.simulator.add_fault(&fault).await
    }

    /// Takes a fault away.
    pub(crate) async fn lift(&self, fault: u64) -> Result<()> {
        self.simulator.control(Method::DELETE, &format!("/faults/{fault}"), None).await?;
        Ok(())
    }

    /// Waits until a resource is as asked for.
    pub(crate) async fn reaches(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        condition: impl Fn(Option<&SecretVersion>) -> bool,
    ) -> Result<SecretVersion> {
        let api = self.api::<SecretVersion>();
        if let Ok(found) = timeout(within, await_condition(api.clone(), name, condition)).await {
            return found?.with_context(|| format!("{name} is gone"));
        }
        let cr = api.get(name).await?;
        let log = self.operator.process().log_tail();
        bail!("{name} is not {what} after {within:?}: {}; {log}", serde_json::to_string(&cr.status)?)
    }

    /// Waits until a resource says why it is not ready, and gives the message. A person is told what to do, too.
    pub(crate) async fn fails(&self, name: &str, reason: Reason) -> Result<String> {
        self.fails_by(name, &[reason]).await
    }

    /// The same, for one of several reasons: which of them it is may be a matter of time.
    pub(crate) async fn fails_by(&self, name: &str, reasons: &[Reason]) -> Result<String> {
        let one = |why: &str| reasons.iter().any(|reason| reason.as_str() == why);
        let says = |cr: Option<&SecretVersion>| cr.and_then(failure).is_some_and(|(why, _)| one(why));
        let cr = self.reaches(name, &format!("{reasons:?}"), SOON, says).await?;
        let message = failure(&cr).map(|(_, message)| message.to_owned()).unwrap_or_default();
        ensure!(message.len() > 20, "{name}: {reasons:?} says no more than {message:?}");
        Ok(message)
    }

    /// Changes an object as a person would.
    pub(crate) async fn patch<K: Object>(&self, name: &str, patch: &Value) -> Result<K> {
        Ok(self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Waits until people were told of a resource and of all these ids, and gives the note.
    pub(crate) async fn told(&self, name: &str, reason: Reason, ids: &[String]) -> Result<String> {
        eventually(SOON, &format!("{} is told of {name} and {ids:?}", reason.as_str()), async || {
            let all = self.api::<Event>().list(&ListParams::default()).await?.items;
            let about = |event: &&Event| {
                event.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(name)
                    && event.reason.as_deref() == Some(reason.as_str())
            };
            let notes = all.iter().filter(about).filter_map(|event| event.note.clone());
            notes.into_iter().find(|note| ids.iter().all(|id| note.contains(id))).context("not yet")
        })
        .await
    }

    /// Asks for a sync of a resource, past every wait.
    pub(crate) async fn sync(&self, name: &str) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: self.number().to_string() } } });
        self.patch::<SecretVersion>(name, &patch).await.map(drop)
    }

    /// Kills the operator, with no time to say anything.
    pub(crate) fn kill(&self) -> Result<()> {
        self.operator.process().kill()
    }

    /// A figure of the operator's memory, in KiB.
    pub(crate) fn memory(&self, field: &str) -> Result<u64> {
        let pid = self.operator.process().pid().context("the operator does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such figure")?;
        Ok(line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?)
    }

    /// Takes the Lease away, as somebody would who knows that its holder is dead: a successor need not wait.
    pub(crate) async fn clear_lease(&self) -> Result<()> {
        let leases = self.api::<Lease>();
        for lease in leases.list(&ListParams::default()).await?.items {
            leases.delete(&lease.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Ends the operator's watches of a resource with a 410, once there is one: it has to list again.
    pub(crate) async fn expire(&self, resource: &str) -> Result<()> {
        let watches = self.proxy.watches(resource);
        let open = eventually(SOON, "a watch is open", || async {
            ensure!(watches.open() > 0, "{resource} are not watched");
            Ok(())
        });
        open.await?;
        watches.expire();
        Ok(())
    }

    /// Waits until the operator has looked at this secret `times` times from now on.
    pub(crate) async fn refreshes(&self, secret: &str, times: usize) -> Result<()> {
        self.journal.until_looked_at(SOON, secret, times).await
    }

    /// The same for all of these secrets.
    pub(crate) async fn all_refreshed(&self, secrets: &[String], times: usize) -> Result<()> {
        try_join_all(secrets.iter().map(|secret| self.refreshes(secret, times))).await?;
        Ok(())
    }

    /// Holds the world to rest: while each of these secrets is refreshed three times, nothing is written to the
    /// apiserver, events included. Leases are renewed for ever.
    pub(crate) async fn is_quiet(&self, secrets: &[String]) -> Result<()> {
        // What was begun may end.
        self.all_refreshed(secrets, 1).await?;
        let before = self.proxy.writes();
        self.all_refreshed(secrets, 3).await?;
        let written = self.proxy.writes() - before;
        ensure!(written == 0, "{written} writes to the apiserver in three refreshes of {} resources", secrets.len());
        Ok(())
    }

    /// What the operator itself has asked the apiserver to change since a mark, Leases apart.
    pub(crate) fn writes_since(&self, mark: Mark) -> Result<Audit> {
        let own = self.plane.audit_since(mark)?.service_account(&self.namespace, &self.account);
        Ok(own.writes().filter(|event| event.resource != "leases"))
    }

    /// How often the operator itself has changed what there is, by the name of the object and by what was done to it. A
    /// resource and its Secret have one name; Leases and events are apart.
    pub(crate) fn effective_writes(&self) -> Result<Writes> {
        let mut writes = Writes::new();
        let own = self.writes_since(Mark::default())?;
        for event in own.filter(|event| event.code < 300 && event.resource != "events").events() {
            let slash = if event.subresource.is_empty() { "" } else { "/" };
            let what = format!("{} {}{slash}{}", event.verb, event.resource, event.subresource);
            *writes.entry(event.name.clone()).or_default().entry(what).or_default() += 1;
        }
        Ok(writes)
    }

    /// Whether the remote did not answer a resource in time, on a busy machine: its status said so, which costs writes.
    pub(crate) fn was_slow_for(&self, name: &str) -> Result<bool> {
        let log = std::fs::read_to_string(self.operator.process().log())?;
        let name = format!("\"name\":\"{name}\"");
        Ok(log.lines().any(|line| line.contains(&name) && line.contains("\"RemoteUnavailable\"")))
    }

    /// How many writes of the operator were refused because somebody else had written first.
    pub(crate) fn refused_writes(&self) -> Result<usize> {
        Ok(self.writes_since(Mark::default())?.code(409).len())
    }

    /// What must hold of every world at its end, whatever befell it: the invariants held all the time, nothing was refused
    /// to the operator, and no value went astray.
    pub(crate) async fn is_clean(&self) -> Result<()> {
        self.is_clean_since(Mark::default()).await
    }

    /// The same, where refusals before the mark are no fault of anybody: an apiserver that has just started refuses all until
    /// it knows its roles.
    pub(crate) async fn is_clean_since(&self, mark: Mark) -> Result<()> {
        let denied = self.plane.audit_since(mark)?.service_account(&self.namespace, &self.account).denied();
        ensure!(denied.is_empty(), "denied: {:?}", denied.events());
        let mut log = Vec::new();
        for replica in self.replicas() {
            log.extend(std::fs::read(replica.process().log())?);
        }
        let events = self.plane.kubectl(&["get", "events", "-n", &self.namespace, "-o", "json"]).await?.ok()?;
        let resources = self.plane.kubectl(&["get", "abeja", "-n", &self.namespace, "-o", "json"]).await?.ok()?;
        let metrics = self.operator.metrics().await?;
        let told = oracle::told(&format!("{events}{}", String::from_utf8_lossy(&log)));
        let requests = self.journal.all().await?;
        let state = self.simulator.control(Method::GET, "/state", None).await?;
        let violations = self.oracle.judge(&AtEnd { requests: &requests, state: &state, told: &told });
        ensure!(violations.is_empty(), "{} violations: {violations:#?}", violations.len());
        for (place, text) in [
            ("log", &log[..]),
            ("events", events.as_bytes()),
            ("resources", resources.as_bytes()),
            ("metrics", metrics.as_bytes()),
        ] {
            let text = String::from_utf8_lossy(text);
            ensure!(!text.contains(CANARY) && !text.contains(CANARY_BASE64), "a value is in the {place}");
            ensure!(!text.contains(" panicked at "), "a panic is in the {place}");
        }
        Ok(())
    }
}

/// Why a resource is not ready, and the message for people.
fn failure(cr: &SecretVersion) -> Option<(&str, &str)> {
    let conditions = &cr.status.as_ref()?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "False")?;
    Some((&ready.reason, &ready.message))
}

/// Arguments that win over those that are there.
fn with_args(mut options: kit::operator::Options, args: &[&str]) -> kit::operator::Options {
    for arg in args {
        let flag = arg.split_once('=').map_or(*arg, |(flag, _)| flag);
        options.args.retain(|given| given.split_once('=').is_none_or(|(given, _)| given != flag));
        options.args.push((*arg).to_owned());
    }
    options
}

/// A client of the administrator.
async fn client(plane: &ControlPlane) -> Result<Client> {
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig_admin())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
