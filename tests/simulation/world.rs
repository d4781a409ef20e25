//! A world: an apiserver, a remote, processes of the operator and a user, on one paused clock, all from one seed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abeja_simulator::Simulator;
use abeja_simulator::seed::Seed;
use fake_apiserver::{ApiServer, Definitions, Faults, Request, WatchFault};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use secret_version_operator::domain::protect::IDLE;
use serde_json::Value;

use crate::flaw::Flaw;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::process::{Life, supervise};
use crate::run::Log;
use crate::script::Plan;
use crate::user::User;
use crate::weather::Weather;

/// How long it may take until more is tried of a remote that refused, and a connection's status says so.
const LEARNT: Duration = Duration::from_mins(3);

/// Where the operator lives.
pub(crate) const NAMESPACE: &str = "operator";
/// Where the user's resources live.
pub(crate) const TEAM: &str = "team";
/// The remote.
pub(crate) const URL: &str = "https://remote.test";
/// The user's organization there.
pub(crate) const ORGANIZATION: &str = "1410000000000";
/// How long a request to the remote may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the remote takes to show what it accepted.
pub(crate) const SETTLE: Duration = Duration::from_secs(9);
/// How often a resource is refreshed.
pub(crate) const REFRESH: Duration = Duration::from_secs(10);
/// What every value and every credential begins with.
pub(crate) const CANARY: &str = "cnry";
/// The longest that a world may take to come to rest once its faults ended: the longest backoff, and the protocol's graces.
const PATIENCE: u64 = 900_000;

/// All that there is.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) network: Arc<Network>,
    pub(crate) apiserver: ApiServer,
    pub(crate) simulator: Simulator,
    pub(crate) weather: Weather,
    pub(crate) flaw: Flaw,
    /// Whether there is another process to take over.
    pub(crate) standby: bool,
    /// Whether each process has a Lease of its own.
    pub(crate) rivals: bool,
    /// From when on among how many shards the work is divided.
    divisions: Vec<(u64, u16)>,
    /// The remote secrets that there are.
    pub(crate) secrets: Vec<String>,
    lives: Mutex<Vec<Option<Arc<Life>>>>,
    oracle: Mutex<Oracle>,
    start: tokio::time::Instant,
}

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    let path = |name| format!("{}/crds/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    Definitions::read(
        &["secretversions", "abejaconnections", "clusterabejaconnections"]
            .map(|name| std::fs::read_to_string(path(name)).unwrap()),
    )
});

/// What became of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    /// What is left at the end, in words that no id and no time is in.
    pub(crate) end: Vec<String>,
}

/// Lives a world through.
pub(crate) async fn live(seed: u64, plan: &Plan, weather: Weather, flaw: Flaw, log: Log) -> Outcome {
    let world = World::new(seed, weather, flaw, plan);
    let user = User::new(&world, plan).await;
    let processes: Vec<_> =
        (0..plan.processes).map(|slot| tokio::spawn(supervise(world.clone(), slot)).abort_handle()).collect();
    for (at, act) in &plan.acts {
        let wait = at.saturating_sub(world.network.now());
        tokio::time::sleep(Duration::from_millis(wait)).await;
        user.act(act).await;
    }
    let until = world.weather.until.saturating_sub(world.network.now());
    tokio::time::sleep(Duration::from_millis(until)).await;
    world.network.note("the faults are over");
    rest(&world, &user, plan).await;
    // What was written for a resource by somebody who did not know yet that it is gone.
    world.apiserver.collect_garbage();
    let end = user.end_state();
    processes.iter().for_each(tokio::task::AbortHandle::abort);
    // Each knows its world, which would live for ever.
    let lives = std::mem::take(&mut *world.lives());
    lives.iter().flatten().for_each(|life| life.kill());
    let violations = world.oracle().judge(&world, &log.text());
    Outcome { violations, trace: world.network.trace(), end }
}

/// Waits until all is as it should be, and then looks whether it stays so without a hand being moved.
async fn rest(world: &Arc<World>, user: &User, plan: &Plan) {
    let begun = world.network.now();
    loop {
        user.insist(world.network.now() - begun).await;
        let missing = user.missing();
        if missing.is_empty() {
            break;
        }
        if world.network.now() > begun + PATIENCE {
            world.oracle().violation(format!("I5: not at rest: {}", missing.join("; ")));
            return;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.network.note("at rest");
    // What came late is told of at a refresh, a connection that nobody needs is let go after a while, and what was learnt of the
    // remote's limit while somebody had to wait moves once more.
    tokio::time::sleep(IDLE.max(LEARNT) + REFRESH + Duration::from_secs(5)).await;
    let before = world.oracle().counts();
    tokio::time::sleep(3 * REFRESH + Duration::from_secs(2)).await;
    let after = world.oracle().counts();
    if before.writes != after.writes {
        world.oracle().violation("I5: something is written though nothing changed".to_owned());
    }
    let refreshes = 4 * user.resources();
    // A list of more than a page is read twice, and rivals read each for itself, as do shards.
    let readers = if plan.rivals { 2 } else { world.shards().into() };
    let each = if plan.old_versions > 0 { 5 } else { 2 } * readers;
    if after.remote - before.remote > each * refreshes {
        let reads = after.remote - before.remote;
        world.oracle().violation(format!("I5: {reads} requests to the remote in {refreshes} refreshes"));
    }
    let missing = user.missing();
    if !missing.is_empty() {
        world.oracle().violation(format!("I5: it did not stay so: {}", missing.join("; ")));
    }
}

impl World {
    fn new(seed: u64, weather: Weather, flaw: Flaw, plan: &Plan) -> Arc<Self> {
        let start = tokio::time::Instant::now();
        let wall = move || epoch() + SignedDuration::try_from(start.elapsed()).unwrap_or_default();
        let network = Network::start(Rng::with_seed(mix(&format!("{seed}/network"))));
        let simulator = Simulator::with_clock(&remote(plan), false, Arc::new(wall)).unwrap();
        let chance = Chance { network: network.clone(), weather: weather.clone(), seed, due: BTreeMap::new() };
        let apiserver =
            ApiServer::builder().defined(&DEFINITIONS).clock(wall).namespace(NAMESPACE).namespace(TEAM).start();
        apiserver.set_faults(chance);
        Arc::new(Self {
            seed,
            network,
            apiserver,
            simulator,
            weather,
            flaw,
            standby: plan.processes > 1,
            rivals: plan.rivals,
            divisions: plan.divisions.clone(),
            secrets: plan.secrets(),
            lives: Mutex::new(vec![None; plan.processes]),
            oracle: Mutex::new(Oracle::default()),
            start,
        })
    }

    /// Among how many the work is divided now.
    pub(crate) fn shards(&self) -> u16 {
        self.divisions.iter().rfind(|(from, _)| *from <= self.network.now()).map_or(1, |(_, of)| *of)
    }

    /// The right time.
    pub(crate) fn wall_clock(&self) -> Timestamp {
        epoch() + SignedDuration::try_from(self.start.elapsed()).unwrap_or_default()
    }

    /// Chances for something that happens once.
    pub(crate) fn chances(&self, what: &str) -> Rng {
        Rng::with_seed(mix(&format!("{}/{what}", self.seed)))
    }

    /// How far the remote's lists lag now.
    pub(crate) fn lag(&self) -> Duration {
        if self.network.now() < self.weather.until { self.weather.lag } else { Duration::ZERO }
    }

    pub(crate) fn lives(&self) -> MutexGuard<'_, Vec<Option<Arc<Life>>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chances of events, each by what it is: watches are looked after in no order that a seed knows.
struct Chance {
    network: Arc<Network>,
    weather: Weather,
    seed: u64,
    /// How often each was due.
    due: BTreeMap<String, u64>,
}

impl Faults for Chance {
    fn event(&mut self, watch: &Request, kind: &str, object: &Value) -> WatchFault {
        let of = &object["metadata"];
        let what = format!("{} {} {kind} {} {}", watch.client, watch.resource, of["name"], of["resourceVersion"]);
        let due = self.due.entry(what.clone()).or_default();
        *due += 1;
        let mut rng = Rng::with_seed(mix(&format!("{}/{what}/{due}", self.seed)));
        if watch.client == crate::user::NAME || kind == "ERROR" {
            return WatchFault::Deliver;
        }
        let fault = self.weather.watch(self.network.now(), &mut rng);
        if fault != WatchFault::Deliver {
            self.network.note(&format!("{what} {fault:?}"));
        }
        fault
    }
}

fn remote(plan: &Plan) -> Seed {
    let old: Vec<String> = (0..plan.old_versions).map(|n| format!("{{value: old-{n}, status: inactive}}")).collect();
    let old = old.join(", ");
    let secret = |id: &String| format!("{{id: \"{id}\", name: \"secret-{id}\", versions: [{old}]}}");
    let secrets: Vec<String> = plan.secrets().iter().map(secret).collect();
    let yaml = format!(
        "{{organizations: [{{id: \"{ORGANIZATION}\", secrets: [{}]}}], credentials: [{{name: team, kind: bearer, token: {CANARY}-token}}]}}",
        secrets.join(", ")
    );
    Seed::from_yaml(&yaml).unwrap()
}

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 57)
}

/// A number that follows from a text: FNV-1a, and a round of splitmix.
pub(crate) fn mix(text: &str) -> u64 {
    let hash = secret_version_operator::domain::refresh::spread(text);
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
