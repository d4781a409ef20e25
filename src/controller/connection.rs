//! Reconciles connections: reads credential and certificates, keeps the shared client, the finalizer and the status.
//!
//! Each shard makes its own client. One of them speaks for the connection: it asks the remote what it says to the credential, writes
//! the status, and takes the finalizer off. Whoever needs the finalizer puts it on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch};
use kube::core::DeserializeGuard;
use tokio::time::Instant;

use crate::api::FINALIZER;
use crate::api::v1alpha1::{
    AbejaConnection, AbejaConnectionSpec, CaBundleKind, ClusterAbejaConnection, ConnectionKind, ConnectionStatus,
};
use crate::domain::backoff;
use crate::domain::budget;
use crate::domain::condition::{self, Problem};
use crate::domain::decide::advice;
use crate::domain::lane::Lane;
use crate::domain::protect::{Finalizer, Held, Need};
use crate::domain::reason::Reason;
use crate::domain::told::goes_on;
use crate::remote::{self, Credential};
use crate::secret::SecretText;

use super::cache::Kept;
use super::connections::{Entry, Told};
use super::context::Ctx;
use super::error::{Error, in_words};
use super::index::{ConnectionKey, Key};
use super::patch;
use super::queue::Requeue;
use super::sweep::Organization;

/// How often what is not watched is looked at again: certificates in a `ConfigMap`, and a budget.
const SHORT_INTERVAL: Duration = Duration::from_mins(1);

/// How often everything else is looked at again, though nothing said that it changed.
const INTERVAL: Duration = Duration::from_mins(10);

/// What both kinds of connection have.
pub(super) trait Connection: Kept {
    /// The kind.
    const KIND: ConnectionKind;
    /// The kind's name.
    const NAME: &'static str;
    /// The API for an object in a namespace, or of the cluster.
    fn api(client: kube::Client, namespace: &str) -> Api<Self>;
    /// What both kinds have in common.
    fn settings(&self) -> &AbejaConnectionSpec;
    /// The status as it stands.
    fn status(&self) -> Option<&ConnectionStatus>;
}

impl Kept for AbejaConnection {
    const MANY: bool = false;

    fn lane(&self) -> Lane {
        Lane::Changed
    }
}

impl Kept for ClusterAbejaConnection {
    const MANY: bool = false;

    fn lane(&self) -> Lane {
        Lane::Changed
    }
}

impl Connection for AbejaConnection {
    const KIND: ConnectionKind = ConnectionKind::AbejaConnection;
    const NAME: &'static str = "AbejaConnection";

    fn api(client: kube::Client, namespace: &str) -> Api<Self> {
        Api::namespaced(client, namespace)
    }

    fn settings(&self) -> &AbejaConnectionSpec {
        &self.spec
    }

    fn status(&self) -> Option<&ConnectionStatus> {
        self.status.as_ref()
    }
}

impl Connection for ClusterAbejaConnection {
    const KIND: ConnectionKind = ConnectionKind::ClusterAbejaConnection;
    const NAME: &'static str = "ClusterAbejaConnection";

    fn api(client: kube::Client, _: &str) -> Api<Self> {
        Api::all(client)
    }

    fn settings(&self) -> &AbejaConnectionSpec {
        &self.spec.connection
    }

    fn status(&self) -> Option<&ConnectionStatus> {
        self.status.as_ref()
    }
}

/// Reconciles a connection. After a pass that was refused because the cache lags, which it may for long, comes one over the
/// connection as it is.
pub(super) async fn reconcile<K: Connection>(
    object: Arc<DeserializeGuard<K>>,
    ctx: Arc<Ctx>,
) -> Result<Requeue, Error> {
    let Ok(cached) = &object.0 else { return Err(Error::Unreadable) };
    if !ctx.guard.may_act() {
        return Err(Error::LeaseLost);
    }
    let key = ConnectionKey { kind: K::KIND, key: Key::of(cached) };
    let connection = if ctx.connections.take_outdated(&key) {
        let live = api_of(&ctx, cached).get_opt(&key.key.name).await;
        live.map_err(|error| Error::kube("reading the connection", error))?.ok_or(Error::Gone)?
    } else {
        cached.clone()
    };
    let outcome = pass(&ctx, connection, key.clone()).await;
    if matches!(outcome, Err(Error::Conflict)) {
        ctx.connections.note_outdated(key);
    }
    outcome
}

/// One pass over a connection.
async fn pass<K: Connection>(ctx: &Ctx, mut connection: K, key: ConnectionKey) -> Result<Requeue, Error> {
    let speaks = ctx.shard.speaks_for(K::NAME, &key.key.to_string());
    let users = Users::of(ctx, &key);
    let deleting = connection.meta().deletion_timestamp.is_some();
    let held = connection.meta().finalizers.iter().flatten().any(|f| f == FINALIZER);

    let loaded = load(ctx, &connection, &key).await?;
    let old = ctx.connections.entry(&key);
    let same = old.as_ref().filter(|e| e.fingerprint == loaded.fingerprint && e.problem.is_none());
    let (client, problem) = match (&loaded.material, same) {
        (Ok(_), Some(same)) => (same.client.clone(), None),
        (Ok(config), None) => match remote::Client::new(config.clone()) {
            Ok(client) => (Some(client), None),
            Err(error) => (last_good(old.as_ref()), Some((unusable(&error), error.to_string()))),
        },
        (Err(problem), _) => (last_good(old.as_ref()), Some((problem.reason, problem.message.clone()))),
    };
    let known = same.filter(|e| e.refused.is_none() && e.untried.is_none());
    let probed = match (&client, &problem, known) {
        (Some(client), None, None) if speaks => refusal(client, &connection.settings().organization_id).await,
        _ => Ok(None),
    };
    // What was said last stays said until it can be found out.
    let (refused, untried) = match probed {
        Ok(refused) => (refused, None),
        Err(after) => (old.as_ref().and_then(|entry| entry.refused.clone()), Some(after)),
    };

    let mut needs = Held { held, deleting, need: users.need(), idle: Duration::ZERO };
    let idle_since = (held && !needs.is_needed())
        .then(|| old.as_ref().and_then(|entry| entry.idle_since).unwrap_or_else(Instant::now));
    needs.idle = idle_since.map(|since| since.elapsed()).unwrap_or_default();
    // Whoever needs it puts it on, for the one who speaks may not run; what it still holds only that one can tell.
    let change =
        Some(needs.finalizer()).filter(|change| speaks || *change == Finalizer::Add).unwrap_or(Finalizer::Keep);
    match change {
        Finalizer::Add => set_finalizer(ctx, &mut connection, true).await?,
        Finalizer::Remove => set_finalizer(ctx, &mut connection, false).await?,
        Finalizer::Keep | Finalizer::Wait(_) => {}
    }
    let protected = (held || change == Finalizer::Add) && change != Finalizer::Remove && !deleting;
    let gone = deleting && !needs.is_needed();

    let standing = client.as_ref().map(remote::Client::standing).unwrap_or_default();
    let told = match (&old, connection.status()) {
        (Some(old), _) => old.told.clone(),
        (None, Some(status)) => Told { refresh: status.refresh, budget: status.budget.clone() },
        (None, None) => Told::default(),
    };
    let organization = Organization { connection: key.clone(), id: connection.settings().organization_id.clone() };
    let known = Told {
        // Right after a start nothing is known yet: what was said last stays said.
        refresh: ctx.sweeps.mode(&organization).or(told.refresh),
        budget: budget::shown(told.budget.as_ref(), standing, ctx.host.now()),
    };
    let watched_ca = loaded.ca_in_config_map;
    let shown = problem.clone().or_else(|| refused.clone());
    let healthy = shown.is_none();
    let entry = Entry {
        fingerprint: loaded.fingerprint,
        client,
        problem,
        refused,
        untried,
        protected,
        idle_since,
        told: if speaks { told.clone() } else { known.clone() },
        deleting,
        secrets: loaded.secrets,
    };
    if ctx.connections.put(key.clone(), entry) {
        ctx.wake_resources(ctx.index.of_connection(&key));
    }
    // It may have gone while this pass waited for an answer.
    if !ctx.connections.exists(&key) {
        ctx.connections.remove(&key);
    }
    if gone {
        return Ok(Requeue::OnChange);
    }
    if speaks {
        write_status(ctx, &connection, shown, deleting, &users, [&told, &known]).await?;
        ctx.connections.note_told(&key, known);
    }
    let retry = backoff::delay(5, connection.meta().uid.as_deref().unwrap_or_default());
    let next = match (healthy, watched_ca || standing.met) {
        (false, _) => retry,
        (true, true) => SHORT_INTERVAL,
        (true, false) => INTERVAL,
    };
    let next = if standing.blocked.is_zero() { next } else { next.min(standing.blocked) };
    let next = untried.map_or(next, |after| next.min(after));
    Ok(Requeue::After(if let Finalizer::Wait(idle) = change { next.min(idle) } else { next }))
}

/// The last client that could be made: good enough to clean up with.
fn last_good(old: Option<&Entry>) -> Option<remote::Client> {
    old.and_then(|entry| entry.client.clone())
}

fn unusable(error: &remote::Error) -> Reason {
    match error {
        remote::Error::CaBundle { .. } => Reason::CaBundleInvalid,
        remote::Error::Url { .. } => Reason::EndpointNotAllowed,
        _ => Reason::CredentialNotFound,
    }
}

/// What the remote says against the credential, or after how long it can be asked. Resources use the connection all the same, and
/// say themselves what they meet: this is for whoever sets the connection up.
async fn refusal(client: &remote::Client, organization: &str) -> Result<Option<(Reason, String)>, Duration> {
    match client.probe(organization).await {
        Ok(()) => Ok(None),
        Err(remote::Error::OverBudget { after, .. }) => Err(after),
        Err(error) => Ok(Some((error.reason(), format!("{}{}", in_words(&error), advice(error.reason()))))),
    }
}

/// The resources that use a connection.
struct Users {
    managed: bool,
    with_duties: Vec<Key>,
}

impl Users {
    fn of(ctx: &Ctx, key: &ConnectionKey) -> Self {
        let all = ctx.index.users(key);
        let managed = all.iter().any(|(_, _, user)| user.cleans_up);
        let with_duties = all.into_iter().filter(|(_, _, user)| user.has_duty).map(|(key, _, _)| key).collect();
        Self { managed, with_duties }
    }

    fn need(&self) -> Need {
        match (self.with_duties.is_empty(), self.managed) {
            (false, _) => Need::Now,
            (true, true) => Need::Soon,
            (true, false) => Need::Nobody,
        }
    }
}

/// What a connection's client is made from.
struct Loaded {
    fingerprint: String,
    material: Result<remote::ClientConfig, Problem>,
    secrets: Vec<Key>,
    ca_in_config_map: bool,
}

async fn load<K: Connection>(ctx: &Ctx, connection: &K, key: &ConnectionKey) -> Result<Loaded, Error> {
    let spec = connection.settings();
    let namespace = match K::KIND {
        ConnectionKind::AbejaConnection => &*key.key.namespace,
        ConnectionKind::ClusterAbejaConnection => &ctx.cluster_namespace,
    };
    let mut loaded = Loaded {
        fingerprint: format!("{:?}/{:?}", connection.meta().uid, connection.meta().generation),
        material: Err(Problem::passing(Reason::ConnectionNotReady, "the connection is being looked into")),
        secrets: secret_names(spec).iter().map(|name| Key::new(namespace, name)).collect(),
        ca_in_config_map: spec.ca_bundle_ref.as_ref().is_some_and(|ca| ca.kind == CaBundleKind::ConfigMap),
    };
    let url = match ctx.connections.endpoints.resolve(spec.url.as_deref()) {
        Ok(endpoint) => endpoint.as_str().to_owned(),
        Err(error) => {
            loaded.material = Err(Problem::stalled(Reason::EndpointNotAllowed, error.to_string()));
            return Ok(loaded);
        }
    };
    let credential = match credential(ctx, spec, namespace, &mut loaded.fingerprint).await? {
        Ok(credential) => credential,
        Err(problem) => {
            loaded.material = Err(problem);
            return Ok(loaded);
        }
    };
    let ca_bundle = match ca_bundle(ctx, spec, namespace, &mut loaded.fingerprint).await? {
        Ok(ca) => ca,
        Err(problem) => {
            loaded.material = Err(problem);
            return Ok(loaded);
        }
    };
    let seconds = spec.timeout_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(30);
    loaded.material = Ok(remote::ClientConfig {
        allowance: ctx.connections.allowance(key, &url, spec, ctx.shard),
        url,
        credential,
        ca_bundle,
        timeout: Duration::from_secs(seconds),
        max_retries: spec.max_retries.and_then(|n| u32::try_from(n).ok()).unwrap_or(5),
        allow_insecure: ctx.allow_insecure,
        user_agent: concat!("secret-version-operator/", env!("CARGO_PKG_VERSION")).to_owned(),
        carrier: ctx.host.carrier(),
        observer: Some(Arc::new(ctx.metrics.clone())),
    });
    Ok(loaded)
}

fn secret_names(spec: &AbejaConnectionSpec) -> Vec<&str> {
    let auth = &spec.auth;
    let token = auth.token.iter().map(|t| t.secret_ref.name.as_str());
    let others = auth.user.iter().chain(&auth.datasource).map(|a| a.secret_ref.name.as_str());
    let ca = spec.ca_bundle_ref.iter().filter(|ca| ca.kind == CaBundleKind::Secret).map(|ca| ca.key_ref.name.as_str());
    token.chain(others).chain(ca).collect()
}

async fn credential(
    ctx: &Ctx,
    spec: &AbejaConnectionSpec,
    namespace: &str,
    fingerprint: &mut String,
) -> Result<Result<Credential, Problem>, Error> {
    let auth = &spec.auth;
    let name = auth
        .token
        .as_ref()
        .map(|t| &t.secret_ref.name)
        .or_else(|| auth.user.as_ref().or(auth.datasource.as_ref()).map(|a| &a.secret_ref.name));
    let Some(name) = name else {
        return Ok(Err(Problem::stalled(
            Reason::InvalidResource,
            "spec.auth names no credential; set exactly one of its fields",
        )));
    };
    let missing = |what: String| Problem::passing(Reason::CredentialNotFound, what);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(secret) = api.get_opt(name).await.map_err(|e| Error::kube("reading the credential", e))? else {
        return Ok(Err(missing(format!(
            "Secret {name} with the credential does not exist in namespace {namespace}; create it"
        ))));
    };
    note(fingerprint, &secret.metadata);
    let text = |key: &str| -> Result<String, Problem> {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let text = bytes.and_then(|b| std::str::from_utf8(&b.0).ok()).map(str::trim).filter(|t| !t.is_empty());
        text.map(str::to_owned).ok_or_else(|| missing(format!("Secret {name} has no text under the key {key}; add it")))
    };
    let made = if let Some(token) = &auth.token {
        text(token.secret_ref.key.as_deref().unwrap_or("token")).map(|token| Credential::Token(SecretText::from(token)))
    } else if auth.user.is_some() {
        text("userId").and_then(|user_id| {
            let token = SecretText::from(text("personalAccessToken")?);
            Ok(Credential::User { user_id, personal_access_token: token })
        })
    } else {
        text("datasourceId").and_then(|datasource_id| {
            let secret = SecretText::from(text("datasourceSecret")?);
            Ok(Credential::Datasource { datasource_id, datasource_secret: secret })
        })
    };
    Ok(made)
}

async fn ca_bundle(
    ctx: &Ctx,
    spec: &AbejaConnectionSpec,
    namespace: &str,
    fingerprint: &mut String,
) -> Result<Result<Option<Vec<u8>>, Problem>, Error> {
    let Some(ca) = &spec.ca_bundle_ref else { return Ok(Ok(None)) };
    let (name, key) = (&ca.key_ref.name, &ca.key_ref.key);
    let op = "reading the CA bundle";
    let found = match ca.kind {
        CaBundleKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
            api.get_opt(name).await.map_err(|e| Error::kube(op, e))?.and_then(|map| {
                note(fingerprint, &map.metadata);
                map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes)
            })
        }
        CaBundleKind::Secret => {
            let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
            api.get_opt(name).await.map_err(|e| Error::kube(op, e))?.and_then(|secret| {
                note(fingerprint, &secret.metadata);
                secret.data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0)
            })
        }
    };
    Ok(match found {
        Some(pem) => Ok(Some(pem)),
        None => Err(Problem::passing(
            Reason::CaBundleInvalid,
            format!("{:?} {name} with key {key} does not exist in namespace {namespace}; create it", ca.kind),
        )),
    })
}

fn note(fingerprint: &mut String, meta: &kube::core::ObjectMeta) {
    use std::fmt::Write as _;
    let _ = write!(
        fingerprint,
        "/{}@{}",
        meta.uid.as_deref().unwrap_or_default(),
        meta.resource_version.as_deref().unwrap_or_default()
    );
}

/// Writes the finalizer, and notes what the connection is after it.
async fn set_finalizer<K: Connection>(ctx: &Ctx, connection: &mut K, wanted: bool) -> Result<(), Error> {
    let meta = connection.meta();
    let body = patch::finalizer(meta, wanted);
    let api = api_of(ctx, connection);
    let name = meta.name.as_deref().unwrap_or_default();
    match api.patch_metadata(name, &patch::params(), &Patch::Merge(&body)).await {
        Ok(written) => {
            connection.meta_mut().resource_version = written.metadata.resource_version;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 && !wanted => Ok(()),
        Err(error) => Err(Error::kube("writing the connection's finalizer", error)),
    }
}

fn api_of<K: Connection>(ctx: &Ctx, connection: &K) -> Api<K> {
    K::api(ctx.client.clone(), connection.meta().namespace.as_deref().unwrap_or_default())
}

async fn write_status<K: Connection>(
    ctx: &Ctx,
    connection: &K,
    problem: Option<(Reason, String)>,
    deleting: bool,
    users: &Users,
    [told, known]: [&Told; 2],
) -> Result<(), Error> {
    let meta = connection.meta();
    let old = connection.status().cloned().unwrap_or_default();
    let mut new = old.clone();
    let problem = match problem {
        _ if deleting => {
            let all = &users.with_duties;
            let (first, more) =
                (all.iter().take(3).map(Key::to_string).collect::<Vec<_>>().join(", "), all.len().saturating_sub(3));
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!(
                "still needed to clean up after SecretVersion {first}{others}; delete it, or set its deletionPolicy to Retain"
            );
            Some(Problem::passing(Reason::ConnectionDeleting, message))
        }
        Some((reason, message)) => Some(Problem { stalled: reason == Reason::EndpointNotAllowed, reason, message }),
        None => None,
    };
    new.observed_generation = meta.generation;
    let annotations: Option<&BTreeMap<String, String>> = meta.annotations.as_ref();
    new.refresh = goes_on(&told.refresh, &known.refresh, &old.refresh).or(known.refresh);
    new.budget = goes_on(&told.budget, &known.budget, &old.budget);
    new.last_handled_reconcile_at = annotations.and_then(|a| a.get(crate::api::RECONCILE_REQUESTED_AT).cloned());
    condition::summarize(
        &mut new.conditions,
        problem.as_ref(),
        "the remote accepts the credential",
        meta.generation,
        ctx.host.now(),
    );
    let Some(body) = patch::status(&old, &new, meta) else { return Ok(()) };
    let api = api_of(ctx, connection);
    let name = meta.name.as_deref().unwrap_or_default();
    api.patch_status(name, &patch::params(), &Patch::Merge(&body))
        .await
        .map_err(|e| Error::kube("writing the connection's status", e))?;
    ctx.tell_transition(connection, &old.conditions, &new.conditions);
    Ok(())
}
