//! Wires everything: client, Lease, controllers, HTTP; one shutdown token, and a deadline for what it ends.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::client::ClientBuilder;
use kube::core::ObjectMeta;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::controller::{self, Setup};
use crate::host::{Machine, SharedHost};
use crate::lease::{self, Election, LeaseConfig, Status};
use crate::ops::health::{Health, Role, Servers};
use crate::ops::metrics::Metrics;
use crate::ops::telemetry;
use crate::secret::Keyring;

/// Name of the Secret that holds the keys of digests.
const DIGEST_KEYS: &str = "secret-version-operator-digest-keys";

const LEASE_LOST: &str = "the Lease is lost: another process may lead now, so this one ends";

/// The longest that passes under way are waited for at the end. Shorter than a pod's usual grace of 30 s.
const DRAIN: Duration = Duration::from_secs(20);

/// How much later than it said the apiserver may end a watch. Less than the watcher itself allows, which would begin
/// another one without a word.
const LATE: Duration = Duration::from_secs(3);

/// Runs the operator until it is told to stop, or may not act any more.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let log_level = telemetry::init(&config.log)?;
    let shard = (!config.shard.is_whole()).then(|| config.shard.to_string());
    info!(version = env!("CARGO_PKG_VERSION"), identity = config.identity, shard, "starting");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);

    let metrics = Metrics::new();
    if let Some(part) = config.election.part {
        metrics.set_shard(part.index, part.of);
    }
    let health = Health::new();
    let servers =
        Servers::bind(config.metrics_address, config.health_address, metrics.clone(), health.clone(), log_level)
            .await?;
    let serving = CancellationToken::new();
    let server = tokio::spawn(servers.run(serving.clone()));

    let outcome = connect_and_lead(config, metrics, health, &shutdown).await;
    serving.cancel();
    let _ = server.await;
    info!("stopped");
    outcome
}

async fn connect_and_lead(
    config: Config,
    metrics: Metrics,
    health: Health,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let kube_config = config.cluster.load().await?;
    let builder = ClientBuilder::try_from(patient(kube_config.clone(), config.watch_timeout));
    let client = builder.context("the kubeconfig cannot be used")?.with_layer(&metrics.kube_layer()).build();
    let lease_client = lease::client(kube_config).context("the kubeconfig cannot be used")?;
    lead(Process { client, lease_client, config, host: Machine::shared(), metrics, health }, shutdown).await
}

/// A process that was set up: all that it acts through.
pub struct Process {
    /// The apiserver.
    pub client: kube::Client,
    /// The apiserver, for the Lease: tries each call once.
    pub lease_client: kube::Client,
    /// What the operator was told.
    pub config: Config,
    /// The machine under this process.
    pub host: SharedHost,
    /// Counters.
    pub metrics: Metrics,
    /// Probes.
    pub health: Health,
}

/// Stands for the Lease, and works while this process holds it. Ends where it is told to stop or may not act any more.
/// Dropping the future ends everything that was begun, but for a create under way.
pub async fn lead(process: Process, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let Process { client, lease_client, config, host, metrics, health } = process;
    let lease_config = LeaseConfig {
        namespace: config.lease_namespace(&client).to_owned(),
        name: config.election.name.clone(),
        timing: config.election.timing,
    };
    let (part, identity) = (config.election.part, config.identity.clone());
    let election = Election::new(lease_client, lease_config, part, identity, host.clone());
    tokio::spawn(follow(election.status(), health.clone(), metrics.clone()));
    let Some(held) = election.acquire(shutdown).await else { return Ok(()) };

    let guard = held.guard();
    let keyring = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            held.release().await;
            return Ok(());
        }
        () = guard.lost() => anyhow::bail!(LEASE_LOST),
        keyring = keyring(&client, &config) => keyring,
    };
    let keyring = match keyring {
        Ok(keyring) => keyring,
        Err(unusable) => {
            // Nothing was begun under it, and who is started once the keys are mended need not wait.
            held.release().await;
            return Err(unusable);
        }
    };
    let stop = shutdown.child_token();
    let setup = Setup { client, config, guard: guard.clone(), host, metrics, health, keyring };
    let mut controllers = AbortOnDropHandle::new(tokio::spawn(controller::run(setup, stop.clone())));
    let ended = tokio::select! {
        // Told to stop, the controllers end too: then the telling is the cause.
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = guard.lost() => Err(anyhow::anyhow!(LEASE_LOST)),
        ended = &mut controllers => {
            let cause = ended.err().map_or_else(|| "they ended".to_owned(), |e| e.to_string());
            return Err(anyhow::anyhow!("the controllers stopped by themselves: {cause}"));
        }
    };
    stop.cancel();
    if let Err(lost) = ended {
        // Who lost the Lease must not go on for a moment longer.
        controllers.abort();
        return Err(lost);
    }
    if tokio::time::timeout(DRAIN, &mut controllers).await.is_ok() {
        held.release().await;
    } else {
        // Something may still be under way, so the Lease is left to run out.
        warn!(
            "not everything ended within {DRAIN:?}; what is under way is given up, and found out about by the next leader"
        );
        controllers.abort();
    }
    Ok(())
}

/// The settings of the client of everything but the Lease: no call is waited for without end, and none is tried again by
/// itself, for a pass that waits for its next try would keep others from their turn.
fn patient(mut config: kube::Config, watch_timeout: Duration) -> kube::Config {
    config.default_retry = false;
    // The apiserver ends a watch in time. One that it did not end is dead: an error, which is counted and told.
    config.read_timeout = Some(watch_timeout + LATE);
    config.reset_reader_on_write = true;
    config
}

fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("told to stop (SIGTERM)"),
            _ = interrupt.recv() => info!("told to stop (SIGINT)"),
        }
        shutdown.cancel();
    })
}

async fn follow(mut status: tokio::sync::watch::Receiver<Status>, health: Health, metrics: Metrics) {
    loop {
        let role = match &*status.borrow_and_update() {
            Status::Unknown => Role::Unknown,
            Status::Leading => Role::Leader,
            Status::Standby { .. } | Status::Over => Role::Standby,
        };
        health.set_role(role);
        metrics.set_leader(role == Role::Leader);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Reads the keys of digests, or makes the first one. Never overwrites a key; waits for as long as it cannot be read,
/// because without the right key every source would look changed.
async fn keyring(client: &kube::Client, config: &Config) -> anyhow::Result<Keyring> {
    let namespace = config.cluster_resource_namespace(client);
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    loop {
        match api.get_opt(DIGEST_KEYS).await {
            Ok(Some(secret)) => {
                let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
                return Keyring::from_secret_data(&data).with_context(|| {
                    format!("Secret {namespace}/{DIGEST_KEYS} does not hold usable keys; restore it from a backup")
                });
            }
            Ok(None) => match api.create(&PostParams::default(), &new_keys()?).await {
                Ok(_) => info!(namespace, name = DIGEST_KEYS, "made the key of digests"),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(refused) => {
                    error!(code = code(&refused), "the key of digests cannot be written, so nothing is done yet");
                }
            },
            Err(refused) => error!(code = code(&refused), "the key of digests cannot be read, so nothing is done yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The apiserver's status. The error's own text may quote the Secret.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn new_keys() -> anyhow::Result<Secret> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let data = Keyring::generate(random).into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect();
    let metadata = ObjectMeta { name: Some(DIGEST_KEYS.to_owned()), ..ObjectMeta::default() };
    Ok(Secret { metadata, data: Some(data), immutable: None, type_: Some("Opaque".to_owned()), ..Secret::default() })
}
