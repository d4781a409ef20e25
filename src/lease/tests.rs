//! Elections on the paused clock, against an apiserver that is a function.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::host::Machine;

mod shards;

const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

/// What the apiserver does with the next calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// Answers nothing.
    Hang,
    /// Answers 500.
    Fail,
    /// Answers 403.
    Deny,
    /// Does what is written, and never answers; reads are answered.
    LoseAnswers,
    /// Does what was asked seconds later, when nobody waits for the answer any more.
    Late,
}

#[derive(Debug, Default)]
struct World {
    leases: BTreeMap<String, Value>,
    version: u64,
    calls: Vec<Method>,
}

impl World {
    fn write(&mut self, mut object: Value) -> (u16, Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!("lease-uid");
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.leases.insert(name, object.clone());
        (200, object)
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let sent = || serde_json::from_slice::<Value>(body).unwrap();
        let name = match *method {
            Method::POST => sent()["metadata"]["name"].as_str().unwrap().to_owned(),
            _ => path.rsplit('/').next().unwrap().to_owned(),
        };
        match (method, self.leases.get(&name)) {
            (&Method::GET, Some(lease)) => (200, lease.clone()),
            (&Method::POST, Some(_)) => (409, failure(409, "AlreadyExists")),
            (&Method::POST, None) => self.write(sent()),
            (&Method::PUT, Some(lease)) => {
                let sent = sent();
                if sent["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] {
                    self.write(sent)
                } else {
                    (409, failure(409, "Conflict"))
                }
            }
            (_, None) => (404, failure(404, "NotFound")),
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

fn config() -> LeaseConfig {
    LeaseConfig { namespace: "ns".to_owned(), name: "operator".to_owned(), timing: TIMING }
}

/// An apiserver that several candidates may share.
#[derive(Clone, Default)]
struct Apiserver {
    world: Arc<Mutex<World>>,
    fault: Arc<Mutex<Fault>>,
}

impl Apiserver {
    /// The same apiserver, over a network of its own.
    fn over_another_network(&self) -> Self {
        Self { world: Arc::clone(&self.world), fault: Arc::default() }
    }

    fn client(&self) -> kube::Client {
        let apiserver = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let apiserver = apiserver.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let body = request.into_body().collect_bytes().await?;
                let (code, value) = apiserver.answer(method, path, body.to_vec()).await;
                let body = Body::from(serde_json::to_vec(&value)?);
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::builder().status(code).body(body)?)
            }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, method: Method, path: String, body: Vec<u8>) -> (u16, Value) {
        let fault = *self.fault.lock().unwrap();
        let read = method == Method::GET;
        let world = Arc::clone(&self.world);
        world.lock().unwrap().calls.push(method.clone());
        let act = move || world.lock().unwrap().answer(&method, &path, &body);
        match fault {
            Fault::None => act(),
            Fault::Fail => (500, failure(500, "InternalError")),
            Fault::Deny => (403, failure(403, "Forbidden")),
            Fault::Hang => std::future::pending().await,
            Fault::LoseAnswers => {
                let answer = act();
                if !read {
                    std::future::pending::<()>().await;
                }
                answer
            }
            Fault::Late => {
                tokio::spawn(async move {
                    sleep(Duration::from_secs(8)).await;
                    act();
                });
                std::future::pending().await
            }
        }
    }

    fn candidate(&self, identity: &str) -> Lease {
        Lease::new(self.client(), config(), identity.to_owned(), Machine::shared())
    }

    /// Stands for all of the work, or for a shard of it.
    fn stands_for(&self, part: Option<Part>, identity: &str) -> Election {
        Election::new(self.client(), config(), part, identity.to_owned(), Machine::shared())
    }

    async fn acquires(&self, part: Option<Part>, identity: &str) -> Held {
        self.stands_for(part, identity).acquire(&CancellationToken::new()).await.unwrap()
    }

    async fn leader(&self, identity: &str) -> Held {
        self.candidate(identity).acquire(&CancellationToken::new()).await.unwrap()
    }

    fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn spec(&self) -> Value {
        self.spec_of("operator")
    }

    fn spec_of(&self, name: &str) -> Value {
        self.world.lock().unwrap().leases.get(name).map_or(Value::Null, |lease| lease["spec"].clone())
    }

    /// Changes the stored object as another client would.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut world = self.world.lock().unwrap();
        let mut lease = world.leases["operator"].clone();
        edit(&mut lease);
        world.write(lease);
    }
}

/// Runs the background tasks for a while.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_one_leads_at_once_and_renews() {
    let apiserver = Apiserver::default();
    let begun = Instant::now();
    let held = apiserver.leader("a").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(apiserver.spec()["holderIdentity"], "a");
    assert_eq!(apiserver.spec()["leaseDurationSeconds"], 15);
    assert_eq!(apiserver.spec()["leaseTransitions"], 0);
    pass(3600).await;
    assert!(held.guard().may_act());
    assert!(held.guard().deadline() > Instant::now() + Duration::from_secs(7));
    let calls = apiserver.world.lock().unwrap().calls.len();
    assert!((1800..=1803).contains(&calls), "one call a renewal, not {calls}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_waits_for_expiry_on_its_own_clock() {
    let apiserver = Apiserver::default();
    let held = apiserver.leader("a").await;
    // The holder's clock is years ahead; nothing follows from it.
    apiserver.edit(|lease| lease["spec"]["renewTime"] = json!("2999-01-01T00:00:00.000000Z"));
    drop(held);
    let begun = Instant::now();
    let candidate = apiserver.candidate("b");
    let status = candidate.status();
    assert_eq!(*status.borrow(), Status::Unknown);
    let shutdown = CancellationToken::new();
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(14).await;
    assert_eq!(*status.borrow(), Status::Standby { holder: "a".to_owned() });
    let held = waiting.await.unwrap().unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(15));
    assert_eq!(*status.borrow(), Status::Leading);
    assert_eq!(apiserver.spec()["holderIdentity"], "b");
    assert_eq!(apiserver.spec()["leaseTransitions"], 1);
    assert!(held.guard().may_act());
}

#[tokio::test(start_paused = true)]
async fn a_standby_never_takes_what_is_renewed_and_takes_what_is_released_within_a_retry() {
    let apiserver = Apiserver::default();
    let first = apiserver.leader("a").await;
    let guard = first.guard();
    let (candidate, shutdown) = (apiserver.candidate("b"), CancellationToken::new());
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(600).await;
    assert!(!waiting.is_finished());
    assert!(guard.may_act());
    first.release().await;
    assert!(!guard.may_act());
    assert_eq!(apiserver.spec()["holderIdentity"], Value::Null);
    let released = Instant::now();
    let second = waiting.await.unwrap().unwrap();
    assert!(released.elapsed() <= TIMING.retry_period, "{:?}", released.elapsed());
    assert!(second.guard().may_act());
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_until_the_deadline_lose_it_for_good() {
    for fault in [Fault::Hang, Fault::Fail, Fault::Deny] {
        let apiserver = Apiserver::default();
        let candidate = apiserver.candidate("a");
        let status = candidate.status();
        let held = candidate.acquire(&CancellationToken::new()).await.unwrap();
        let guard = held.guard();
        apiserver.fault(fault);
        let begun = Instant::now();
        guard.lost().await;
        assert_eq!(begun.elapsed(), TIMING.renew_deadline, "{fault:?}");
        assert!(!guard.may_act());
        apiserver.fault(Fault::None);
        pass(60).await;
        assert!(!guard.may_act(), "{fault:?}: it came back");
        assert_eq!(*status.borrow(), Status::Over);
        let record = apiserver.spec();
        held.release().await;
        assert_eq!(apiserver.spec(), record, "{fault:?}: a Lease that was lost is not ours to release");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_leader_stops_before_the_next_one_starts() {
    let apiserver = Apiserver::default();
    let old = apiserver.leader("a").await;
    let guard = old.guard();
    let (candidate, shutdown) = (apiserver.candidate("b"), CancellationToken::new());
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(1).await;
    apiserver.fault(Fault::Hang);
    guard.lost().await;
    let stopped = Instant::now();
    apiserver.fault(Fault::None);
    let next = waiting.await.unwrap().unwrap();
    assert!(stopped.elapsed() + TIMING.renew_deadline + TIMING.retry_period >= TIMING.lease_duration);
    assert!(next.guard().may_act() && !guard.may_act());
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_is_survived() {
    for fault in [Fault::Hang, Fault::Fail, Fault::LoseAnswers] {
        let apiserver = Apiserver::default();
        let held = apiserver.leader("a").await;
        apiserver.fault(fault);
        pass(6).await;
        apiserver.fault(Fault::None);
        pass(600).await;
        assert!(held.guard().may_act(), "{fault:?}");
        assert_eq!(apiserver.spec()["leaseTransitions"], 0, "{fault:?}");
        held.release().await;
        assert_eq!(apiserver.spec()["holderIdentity"], Value::Null, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_looked_into_at_once() {
    let apiserver = Apiserver::default();
    let held = apiserver.leader("a").await;
    // A harmless edit changes the version only.
    apiserver.edit(|lease| lease["metadata"]["labels"] = json!({"team": "x"}));
    pass(60).await;
    assert!(held.guard().may_act());
    assert_eq!(apiserver.world.lock().unwrap().leases["operator"]["metadata"]["labels"]["team"], "x");
    // A takeover by force ends the term at the next try, long before the deadline.
    apiserver.edit(|lease| lease["spec"]["holderIdentity"] = json!("b"));
    let begun = Instant::now();
    held.guard().lost().await;
    assert!(begun.elapsed() <= TIMING.retry_period, "{:?}", begun.elapsed());
    held.release().await;
    assert_eq!(apiserver.spec()["holderIdentity"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_lost_and_not_taken_before_its_time() {
    let apiserver = Apiserver::default();
    let old = apiserver.leader("a").await;
    let (candidate, shutdown) = (apiserver.candidate("b"), CancellationToken::new());
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(21).await;
    apiserver.world.lock().unwrap().leases.clear();
    let deleted = Instant::now();
    old.guard().lost().await;
    assert!(deleted.elapsed() <= TIMING.retry_period);
    let next = waiting.await.unwrap().unwrap();
    assert!(deleted.elapsed() + TIMING.retry_period >= TIMING.lease_duration, "{:?}", deleted.elapsed());
    assert!(next.guard().may_act());
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_one_leads() {
    let apiserver = Apiserver::default();
    let shutdown = CancellationToken::new();
    let contend = |identity: &str| {
        let (candidate, shutdown) = (apiserver.candidate(identity), shutdown.clone());
        tokio::spawn(async move { candidate.acquire(&shutdown).await })
    };
    let contenders = ["a", "b", "c"].map(contend);
    pass(600).await;
    assert_eq!(contenders.iter().filter(|contender| contender.is_finished()).count(), 1);
    shutdown.cancel();
    let mut leaders = 0;
    for contender in contenders {
        leaders += usize::from(contender.await.unwrap().is_some());
    }
    assert_eq!(leaders, 1);
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_was_lost_is_found() {
    let apiserver = Apiserver::default();
    apiserver.fault(Fault::LoseAnswers);
    let (candidate, shutdown) = (apiserver.candidate("a"), CancellationToken::new());
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(1).await;
    assert_eq!(apiserver.spec()["holderIdentity"], "a");
    apiserver.fault(Fault::None);
    let held = waiting.await.unwrap().unwrap();
    // One timeout and one retry, not the time that the record takes to expire.
    assert!(begun.elapsed() <= Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(held.guard().may_act());
    assert_eq!(apiserver.spec()["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_while_standing_by_holds_nothing() {
    let apiserver = Apiserver::default();
    let _held = apiserver.leader("a").await;
    let (candidate, shutdown) = (apiserver.candidate("b"), CancellationToken::new());
    let token = shutdown.clone();
    let waiting = tokio::spawn(async move { candidate.acquire(&token).await });
    pass(5).await;
    shutdown.cancel();
    let cancelled = Instant::now();
    assert!(waiting.await.unwrap().is_none());
    assert_eq!(cancelled.elapsed(), Duration::ZERO);
    assert_eq!(apiserver.spec()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_refusing_apiserver_is_asked_again() {
    let apiserver = Apiserver::default();
    apiserver.fault(Fault::Deny);
    let (candidate, shutdown) = (apiserver.candidate("a"), CancellationToken::new());
    let status = candidate.status();
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(600).await;
    assert_eq!(*status.borrow(), Status::Unknown);
    apiserver.fault(Fault::None);
    assert!(waiting.await.unwrap().unwrap().guard().may_act());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_runs_out() {
    let apiserver = Apiserver::default();
    let held = apiserver.leader("a").await;
    let guard = held.guard();
    drop(held);
    timeout(TIMING.renew_deadline, guard.lost()).await.unwrap();
    let record = apiserver.spec();
    pass(60).await;
    assert_eq!(apiserver.spec(), record);
    assert_eq!(record["holderIdentity"], "a");
}

#[derive(Clone, Debug)]
enum Turn {
    /// A network changes.
    Network(usize, Fault),
    /// A process dies without a word; another starts in its place.
    Crash(usize),
    /// A process ends in order; another starts in its place.
    Release(usize),
}

fn turns() -> impl Strategy<Value = Vec<(u64, Turn)>> {
    let fault = prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Hang),
        1 => Just(Fault::Fail),
        1 => Just(Fault::LoseAnswers),
        1 => Just(Fault::Late),
    ];
    let turn = prop_oneof![
        6 => (0..PROCESSES, fault).prop_map(|(process, fault)| Turn::Network(process, fault)),
        1 => (0..PROCESSES).prop_map(Turn::Crash),
        1 => (0..PROCESSES).prop_map(Turn::Release),
    ];
    proptest::collection::vec((0_u64..20_000, turn), 1..40)
}

const PROCESSES: usize = 3;

/// One process of an installation: contends, leads while it may, and then is over.
struct Process {
    network: Apiserver,
    guard: watch::Receiver<Option<Guard>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(network: Apiserver, part: Option<Part>, identity: &str) -> Self {
        let (sender, guard) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let (candidate, token) = (network.stands_for(part, identity), shutdown.clone());
        let task = tokio::spawn(async move {
            let Some(held) = candidate.acquire(&token).await else { return };
            sender.send_replace(Some(held.guard()));
            let guard = held.guard();
            tokio::select! {
                () = guard.lost() => {}
                () = token.cancelled() => held.release().await,
            }
        });
        Self { network, guard, shutdown, task }
    }

    fn acts(&self) -> bool {
        self.guard.borrow().as_ref().is_some_and(Guard::may_act)
    }
}

/// Plays the turns. Two that may act at the same moment are a panic; afterwards somebody must come to lead.
async fn play(turns: Vec<(u64, Turn)>) {
    let apiserver = Apiserver::default();
    let mut started = 0;
    let mut start = |network: Apiserver| {
        started += 1;
        Process::start(network, None, &format!("process-{started}"))
    };
    let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start(apiserver.over_another_network())).collect();
    let mut leaving: Vec<Process> = Vec::new();
    let observe = async |processes: &[Process], leaving: &[Process], millis: u64| {
        for _ in 0..millis.div_ceil(250) {
            sleep(Duration::from_millis(250)).await;
            let acting = processes.iter().chain(leaving).filter(|process| process.acts()).count();
            assert!(acting <= 1, "{acting} lead at once");
        }
    };
    for (millis, turn) in turns {
        observe(&processes, &leaving, millis).await;
        match turn {
            Turn::Network(process, fault) => processes[process].network.fault(fault),
            Turn::Crash(process) => {
                processes[process].task.abort();
                let next = start(processes[process].network.clone());
                processes[process] = next;
            }
            Turn::Release(process) => {
                processes[process].shutdown.cancel();
                let next = start(processes[process].network.clone());
                leaving.push(std::mem::replace(&mut processes[process], next));
            }
        }
        for process in &mut processes {
            if process.task.is_finished() {
                *process = start(process.network.clone());
            }
        }
    }
    for process in &processes {
        process.network.fault(Fault::None);
    }
    observe(&processes, &leaving, 60_000).await;
    assert!(processes.iter().any(Process::acts), "nobody leads");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn never_two_at_once_and_always_one_in_the_end(turns in turns()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(turns));
    }
}
