//! Elections of shards: of one division each shard has one process, and no two divisions act at once.

use super::*;

/// One shard of so many. One of one is all of the work.
fn part(index: u16, of: u16) -> Option<Part> {
    (of > 1).then_some(Part { index, of })
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_one_division_act_at_once_each_with_a_lease_of_its_own() {
    let apiserver = Apiserver::default();
    let begun = Instant::now();
    let first = apiserver.acquires(part(0, 2), "a").await;
    let second = apiserver.acquires(part(1, 2), "b").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pass(3600).await;
    assert!(first.guard().may_act() && second.guard().may_act());
    assert_eq!(apiserver.spec()["holderIdentity"], "2 shards");
    assert_eq!(apiserver.spec()["leaseTransitions"], 0);
    assert_eq!(apiserver.spec_of("operator-0")["holderIdentity"], "a");
    assert_eq!(apiserver.spec_of("operator-1")["holderIdentity"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_standby_of_a_shard_follows_at_once_and_the_others_notice_nothing() {
    let apiserver = Apiserver::default();
    let first = apiserver.acquires(part(0, 2), "a").await;
    let other = apiserver.acquires(part(1, 2), "b").await;
    let standby = apiserver.stands_for(part(0, 2), "c");
    let (status, shutdown) = (standby.status(), CancellationToken::new());
    let waiting = tokio::spawn(async move { standby.acquire(&shutdown).await });
    pass(60).await;
    assert_eq!(*status.borrow(), Status::Standby { holder: "a".to_owned() });
    first.release().await;
    let released = Instant::now();
    let next = waiting.await.unwrap().unwrap();
    assert!(released.elapsed() <= TIMING.retry_period, "{:?}", released.elapsed());
    assert_eq!(*status.borrow(), Status::Leading);
    assert!(next.guard().may_act() && other.guard().may_act());
}

#[tokio::test(start_paused = true)]
async fn another_division_waits_until_the_last_of_this_one_is_over() {
    for (old, new) in [(2, 3), (3, 2), (2, 1)] {
        let apiserver = Apiserver::default();
        let first = apiserver.acquires(part(0, old), "a").await;
        let second = apiserver.acquires(part(1, old), "b").await;
        let candidate = apiserver.stands_for(part(0, new), "c");
        let (status, shutdown) = (candidate.status(), CancellationToken::new());
        let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
        pass(60).await;
        // It is a standby, so a rolling update goes on and ends the old ones.
        assert_eq!(*status.borrow(), Status::Standby { holder: format!("{old} shards") });
        first.release().await;
        pass(60).await;
        assert!(!waiting.is_finished() && second.guard().may_act(), "one of {old} is left");
        let guard = second.guard();
        second.release().await;
        let released = Instant::now();
        let next = waiting.await.unwrap().unwrap();
        assert!(next.guard().may_act() && !guard.may_act());
        assert!(released.elapsed() <= TIMING.lease_duration + TIMING.retry_period, "{:?}", released.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn who_leads_alone_is_waited_for_and_followed_at_once_when_it_lets_go() {
    let apiserver = Apiserver::default();
    let alone = apiserver.leader("a").await;
    let candidate = apiserver.stands_for(part(1, 2), "b");
    let shutdown = CancellationToken::new();
    let waiting = tokio::spawn(async move { candidate.acquire(&shutdown).await });
    pass(600).await;
    assert!(!waiting.is_finished() && alone.guard().may_act());
    assert_eq!(apiserver.spec_of("operator-1"), Value::Null, "nothing is taken of what may be another division's");
    alone.release().await;
    let released = Instant::now();
    assert!(waiting.await.unwrap().unwrap().guard().may_act());
    assert!(released.elapsed() <= TIMING.retry_period, "{:?}", released.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_renew_either_lease_stops_in_time() {
    for name in ["operator", "operator-0"] {
        let apiserver = Apiserver::default();
        let held = apiserver.acquires(part(0, 2), "a").await;
        pass(60).await;
        let thief = |lease: &mut Value| lease["spec"]["holderIdentity"] = json!("thief");
        let mut lease = apiserver.world.lock().unwrap().leases[name].clone();
        thief(&mut lease);
        apiserver.world.lock().unwrap().write(lease);
        let stopped = timeout(TIMING.retry_period, held.guard().lost()).await;
        assert!(stopped.is_ok() && !held.guard().may_act(), "{name}");
        held.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_outlives_an_outage_that_ends_the_division() {
    let apiserver = Apiserver::default();
    let held = apiserver.acquires(part(0, 2), "a").await;
    let network = apiserver.over_another_network();
    let (standby, shutdown) = (network.stands_for(part(0, 2), "b"), CancellationToken::new());
    let waiting = tokio::spawn(async move { standby.acquire(&shutdown).await });
    pass(10).await;
    network.fault(Fault::Hang);
    pass(60).await;
    network.fault(Fault::None);
    pass(10).await;
    assert!(!waiting.is_finished() && held.guard().may_act());
    held.release().await;
    assert!(waiting.await.unwrap().unwrap().guard().may_act());
}

#[derive(Clone, Debug)]
enum Change {
    Network(usize, Fault),
    Crash(usize, u16),
    Release(usize, u16),
}

const MOST: u16 = 3;
/// Processes: at times some stand by.
const ALL: usize = 4;

fn changes() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let fault = prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Hang),
        1 => Just(Fault::Fail),
        1 => Just(Fault::LoseAnswers),
        1 => Just(Fault::Late),
    ];
    let change = prop_oneof![
        4 => (0..ALL, fault).prop_map(|(process, fault)| Change::Network(process, fault)),
        2 => (0..ALL, 1..=MOST).prop_map(|(process, of)| Change::Crash(process, of)),
        2 => (0..ALL, 1..=MOST).prop_map(|(process, of)| Change::Release(process, of)),
    ];
    proptest::collection::vec((0_u64..20_000, change), 1..30)
}

/// A process in one of the places, as one of so many shards.
struct Member {
    index: u16,
    of: u16,
    process: Process,
}

struct Fleet {
    apiserver: Apiserver,
    started: u32,
    members: Vec<Member>,
    leaving: Vec<Member>,
}

impl Fleet {
    fn start(&mut self, place: usize, of: u16) -> Member {
        self.started += 1;
        let index = u16::try_from(place).unwrap() % of;
        let network = match self.members.get(place) {
            Some(member) => member.process.network.clone(),
            None => self.apiserver.over_another_network(),
        };
        Member { index, of, process: Process::start(network, part(index, of), &format!("process-{}", self.started)) }
    }

    fn replace(&mut self, place: usize, of: u16) {
        let next = self.start(place, of);
        let old = std::mem::replace(&mut self.members[place], next);
        self.leaving.push(old);
    }

    /// Who has ended is started again, as Kubernetes does it.
    fn restart_the_ended(&mut self) {
        for place in 0..ALL {
            if self.members[place].process.task.is_finished() {
                self.replace(place, self.members[place].of);
            }
        }
    }

    /// Those who act are of one division, and no two of one shard.
    async fn observe(&self, millis: u64) {
        for _ in 0..millis.div_ceil(250) {
            sleep(Duration::from_millis(250)).await;
            let acting = || self.members.iter().chain(&self.leaving).filter(|member| member.process.acts());
            let shards: Vec<(u16, u16)> = acting().map(|member| (member.of, member.index)).collect();
            let mut distinct = shards.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), shards.len(), "two act for one shard: {shards:?}");
            assert!(shards.iter().all(|(of, _)| *of == shards[0].0), "two divisions act: {shards:?}");
        }
    }
}

async fn play_shards(changes: Vec<(u64, Change)>, first: u16, last: u16) {
    let mut fleet = Fleet { apiserver: Apiserver::default(), started: 0, members: Vec::new(), leaving: Vec::new() };
    for place in 0..ALL {
        let member = fleet.start(place, first);
        fleet.members.push(member);
    }
    for (millis, change) in changes {
        fleet.observe(millis).await;
        match change {
            Change::Network(place, fault) => fleet.members[place].process.network.fault(fault),
            Change::Crash(place, of) => {
                fleet.members[place].process.task.abort();
                fleet.replace(place, of);
            }
            Change::Release(place, of) => {
                fleet.members[place].process.shutdown.cancel();
                fleet.replace(place, of);
            }
        }
        fleet.restart_the_ended();
    }
    // At last a division that everybody is of.
    for place in 0..ALL {
        fleet.members[place].process.network.fault(Fault::None);
        if fleet.members[place].of != last {
            fleet.members[place].process.shutdown.cancel();
            fleet.replace(place, last);
        }
    }
    // A call that began before may still cost somebody its lease.
    fleet.observe(30_000).await;
    fleet.restart_the_ended();
    fleet.observe(60_000).await;
    let mut shards: Vec<u16> =
        fleet.members.iter().filter(|member| member.process.acts()).map(|member| member.index).collect();
    shards.sort_unstable();
    assert_eq!(shards, (0..last).collect::<Vec<_>>(), "every shard of {last} acts");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn never_two_divisions_at_once_and_every_shard_in_the_end(
        changes in changes(), first in 1..=MOST, last in 1..=MOST,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play_shards(changes, first, last));
    }
}
