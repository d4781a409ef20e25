//! A process of the operator: started, killed, stopped, started again.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use clap::Parser as _;
use jiff::{SignedDuration, Timestamp};
use secret_version_operator::cli::{Cli, Command};
use secret_version_operator::config::{Config, Surroundings};
use secret_version_operator::domain::shard::Shard;
use secret_version_operator::host::{Carry, Host};
use secret_version_operator::lease::{Part, Timing};
use secret_version_operator::ops::health::Health;
use secret_version_operator::ops::metrics::Metrics;
use secret_version_operator::run::{self, Process};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::flaw::Flaw;
use crate::kube_wire::Wire;
use crate::remote_wire::Carrier;
use crate::world::{NAMESPACE, SETTLE, URL, World};

/// Times of a Lease that only one process wants.
const RARELY: Timing = Timing {
    lease_duration: Duration::from_secs(40),
    renew_deadline: Duration::from_secs(30),
    retry_period: Duration::from_secs(8),
};

/// One life of a process: what a restart ends.
pub(crate) struct Life {
    /// Such as `a3`: the third life of the process `a`.
    pub(crate) name: String,
    /// Its part of the work.
    pub(crate) shard: Shard,
    pub(crate) world: Arc<World>,
    dead: AtomicBool,
    abort: OnceLock<AbortHandle>,
    /// Asks it to end well.
    pub(crate) stop: CancellationToken,
    /// How far its wall clock is off, in seconds.
    pub(crate) clock_off: AtomicI64,
    /// Milliseconds of the world until which its requests for the Lease stand still.
    pub(crate) lease_stalled: AtomicU64,
    drawn: AtomicU64,
}

impl Life {
    fn begin(world: &Arc<World>, slot: usize, name: String) -> Arc<Self> {
        let of = world.shards();
        Arc::new(Self {
            name,
            shard: format!("{}/{of}", slot % usize::from(of)).parse().unwrap(),
            world: world.clone(),
            dead: AtomicBool::new(false),
            abort: OnceLock::new(),
            stop: CancellationToken::new(),
            clock_off: AtomicI64::new(0),
            lease_stalled: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
        })
    }

    /// Who holds the Lease of the installation while it acts, where its shard has another one.
    pub(crate) fn group(&self) -> Option<String> {
        (!self.shard.is_whole()).then(|| format!("{} shards", self.shard.of()))
    }

    /// Whether it has ended: nothing that it sends arrives any more, and no answer reaches it.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            self.world.network.note(&format!("{} is killed", self.name));
        }
        if let Some(task) = self.abort.get() {
            task.abort();
        }
    }
}

impl Host for LifeHost {
    fn now(&self) -> Timestamp {
        self.0.world.wall_clock() + SignedDuration::from_secs(self.0.clock_off.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        let drawn = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        crate::world::mix(&format!("{}/{}/{drawn}", self.0.world.seed, self.0.name))
    }

    fn carrier(&self) -> Option<Arc<dyn Carry>> {
        Some(Arc::new(Carrier(self.0.clone())))
    }
}

struct LifeHost(Arc<Life>);

/// Keeps a process running, as a kubelet does, until the world ends.
pub(crate) async fn supervise(world: Arc<World>, slot: usize) {
    let letter = char::from(b'a' + u8::try_from(slot).unwrap_or(0));
    for life in 1.. {
        let life = Life::begin(&world, slot, format!("{letter}{life}"));
        world.lives()[slot] = Some(life.clone());
        world.network.note(&format!("{} starts as {}", life.name, life.shard));
        let stop = life.stop.clone();
        let process = process(&life);
        let task = tokio::spawn(async move { run::lead(process, &stop).await });
        let _ = life.abort.set(task.abort_handle());
        match task.await {
            Ok(ended) => world.network.note(&format!("{} ends: {}", life.name, ended.is_ok())),
            Err(error) if error.is_panic() => world.oracle().violation("a process panicked".to_owned()),
            Err(_) => {}
        }
        life.kill();
        let pause = world.chances(&format!("restart {}", life.name)).u64(100..8000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn process(life: &Arc<Life>) -> Process {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| config(SETTLE));
    static HASTY: LazyLock<Config> = LazyLock::new(|| config(Duration::from_secs(1)));
    let wire = |lease| Wire::client(life.clone(), lease);
    let config = if life.world.flaw == Flaw::ShortGrace { &HASTY } else { &CONFIG };
    let mut config = Config { identity: life.name.clone(), ..LazyLock::force(config).clone() };
    if life.world.rivals {
        config.election.name.push_str(&life.name[..1]);
    }
    if !life.shard.is_whole() {
        config.shard = life.shard;
        config.election.part = Some(Part { index: life.shard.index(), of: life.shard.of() });
    }
    match life.world.flaw {
        Flaw::Everywhere => config.shard = Shard::WHOLE,
        Flaw::OwnLeaseOnly => {
            let own = config.election.part.take().map(|part| part.lease_name(&config.election.name));
            config.election.name = own.unwrap_or(config.election.name);
        }
        _ => {}
    }
    if !life.world.standby {
        // Nobody waits for it, and renewals are most of what a quiet world does.
        config.election.timing = RARELY;
    }
    Process {
        client: wire(false),
        lease_client: wire(true),
        config,
        host: Arc::new(LifeHost(life.clone())),
        metrics: Metrics::new(),
        health: Health::new(),
    }
}

fn config(settle: Duration) -> Config {
    let settle = format!("{}s", settle.as_secs());
    let args = ["operator", "run", "--namespace", NAMESPACE, "--allow-endpoint", URL, "--remote-settle-time", &settle];
    let Command::Run(args) = Cli::parse_from(args).command else { unreachable!("run was asked for") };
    Config::new(*args, Surroundings::default()).unwrap()
}
