//! Outages of the apiserver and of its store, idle and under load: killed, frozen, full, and without history.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use kit::controlplane::Options;
use kit::proxy::{Action, Moment, Request, Rule};
use kit::{ControlPlane, Operator, eventually, metrics};
use kube::api::ListParams;
use secret_version_operator::api::v1alpha1::SecretVersion;
use tokio::time::{sleep, timeout};

use crate::subject::{AtRest, Subject};
use crate::table::{Table, run_of};
use crate::world::{SOON, STEADY, World};
use crate::{is_full, runs_of};

/// Between the end of a process and its next start.
const RESTART: Duration = Duration::from_secs(1);

/// Starts an operator again whenever it ends, as a kubelet does.
async fn kubelet(operator: &Operator) -> Result<Infallible> {
    loop {
        operator.process().wait().await?;
        sleep(RESTART).await;
        operator.process().start()?;
    }
}

#[derive(Clone, Copy, Debug)]
enum Outage {
    ApiserverKilled { down: u64 },
    EtcdKilled,
    EtcdFrozen { frozen: u64 },
}

impl Outage {
    fn all() -> Vec<Self> {
        let (long, frozen) = if is_full() { (60, 20) } else { (5, 5) };
        let killed = [1, 10].into_iter().filter(|down| is_full() || *down == 1).chain([long]);
        let killed = killed.map(|down| Self::ApiserverKilled { down });
        killed.chain([Self::EtcdKilled, Self::EtcdFrozen { frozen }]).collect()
    }

    fn name(self) -> String {
        match self {
            Self::ApiserverKilled { down } => format!("apiserver killed, {down} s down"),
            Self::EtcdKilled => "etcd killed, 2 s down".to_owned(),
            Self::EtcdFrozen { frozen } => format!("etcd frozen for {frozen} s"),
        }
    }

    async fn happen(self, plane: &ControlPlane) -> Result<()> {
        let wait = |seconds| sleep(Duration::from_secs(seconds));
        match self {
            Self::ApiserverKilled { down } => {
                plane.apiserver().kill()?;
                wait(down).await;
                plane.apiserver().start()?;
            }
            Self::EtcdKilled => {
                plane.etcd().kill()?;
                wait(2).await;
                plane.etcd().start()?;
            }
            Self::EtcdFrozen { frozen } => {
                plane.etcd().pause()?;
                wait(frozen).await;
                plane.etcd().resume()?;
            }
        }
        plane.wait_ready().await
    }
}

/// What a resource is about when the outage comes.
#[derive(Clone, Copy, Debug)]
enum Load {
    Idle,
    Created,
    Changed,
}

/// Resources around one outage.
struct Wave {
    subjects: Vec<(Load, Subject)>,
}

impl Wave {
    async fn begin(world: &World<'_>, each: usize) -> Result<Self> {
        let loads = (0..each).flat_map(|_| [Load::Idle, Load::Created, Load::Changed]);
        let subjects = loads.map(|load| async move {
            let mut subject = Subject::new(world).await?;
            if !matches!(load, Load::Created) {
                subject.apply(world).await?;
                subject.ready(world, 1, SOON).await?;
            }
            Ok::<_, anyhow::Error>((load, subject))
        });
        Ok(Self { subjects: try_join_all(subjects).await? })
    }

    /// The operator is given something to do, all at once.
    async fn load(&mut self, world: &World<'_>) -> Result<()> {
        let loading = self.subjects.iter_mut().map(|(load, subject)| async {
            match load {
                Load::Idle => Ok(()),
                Load::Created => subject.apply(world).await,
                Load::Changed => subject.change(world).await,
            }
        });
        try_join_all(loading).await?;
        Ok(())
    }

    /// Everything is carried through, and once.
    async fn end(&self, world: &World<'_>, what: &str) -> Table {
        let runs = self.subjects.iter().map(|(load, subject)| {
            let row = format!("{what}; {}", format!("{load:?}").to_lowercase());
            run_of(row, async move {
                let changes: &[usize] = if matches!(load, Load::Changed) { &[0, 1] } else { &[0] };
                subject.ready(world, changes.len(), SOON).await?;
                subject.holds(world, &AtRest::created(changes, changes.len())).await
            })
        });
        Table::of(64, runs.collect()).await
    }

    fn secrets(&self) -> Vec<String> {
        self.subjects.iter().map(|(_, subject)| subject.secret_id.clone()).collect()
    }
}

/// One outage after the other, each in the middle of work, and rest after them.
async fn suffer(plane: &ControlPlane, worlds: &[(&str, &World<'_>)]) -> Result<Table> {
    let (mut table, mut secrets) = (Table::default(), vec![Vec::new(); worlds.len()]);
    for (index, outage) in (0_u64..).zip(Outage::all()) {
        let begun = worlds.iter().map(|(_, world)| Wave::begin(world, runs_of(30).div_ceil(3)));
        let mut waves = try_join_all(begun).await?;
        try_join_all(waves.iter_mut().zip(worlds).map(|(wave, (_, world))| wave.load(world))).await?;
        // Each hits another moment.
        sleep(Duration::from_millis(40 + 150 * index)).await;
        outage.happen(plane).await?;
        let ended = waves.iter().zip(worlds).map(|(wave, (operator, world))| async move {
            wave.end(world, &format!("{}; operator {operator}", outage.name())).await
        });
        join_all(ended).await.into_iter().for_each(|ended| table.append(ended));
        for (secrets, wave) in secrets.iter_mut().zip(&waves) {
            secrets.extend(wave.secrets());
        }
    }
    let mark = plane.audit_mark()?;
    try_join_all(worlds.iter().zip(&secrets).map(|((_, world), secrets)| world.is_quiet(secrets))).await?;
    try_join_all(worlds.iter().map(|(_, world)| world.is_clean_since(mark))).await?;
    Ok(table)
}

/// One of the test's own: what befalls it befalls nobody else.
async fn plane() -> ControlPlane {
    ControlPlane::start(Options::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_and_16_outages_that_the_operator_outlives_or_not() {
    let plane = &plane().await;
    // One keeps its Lease through all of them. The other loses it, ends, and is started again.
    let steady = World::start_with(plane, "outlives", &STEADY);
    let (steady, brief) = tokio::join!(steady, World::start(plane, "ends"));
    let (steady, brief) = (steady.unwrap(), brief.unwrap());
    let pid = steady.operator.process().pid();
    let worlds = [("stays", &steady), ("ends", &brief)];
    let table = tokio::select! {
        table = suffer(plane, &worlds) => table.unwrap(),
        ended = kubelet(&brief.operator) => panic!("{ended:?}"),
    };
    table.conclude("Rows 15 and 16: outages of apiserver and store");
    assert_eq!(steady.operator.process().pid(), pid, "the operator did not stay up");
}

/// Intents that are in the store, one for each create that may have been sent.
async fn intents(world: &World<'_>) -> Result<usize> {
    let all = world.api::<SecretVersion>().list(&ListParams::default()).await?.items;
    Ok(all.iter().filter(|cr| cr.status.as_ref().is_some_and(|status| status.create.is_some())).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_a_store_that_is_full_and_row_13_one_without_history() {
    let plane = &plane().await;
    let world = &World::start_with(plane, "full", &STEADY).await.unwrap();
    let mut table = Table::default();

    // Nothing can be written down, so nothing is sent.
    let mut wave = Wave::begin(world, runs_of(20).div_ceil(3)).await.unwrap();
    let held =
        world.proxy.add(Rule::on("patch", "secretversions/status").always(), Action::Delay(Duration::from_secs(1)));
    wave.load(world).await.unwrap();
    plane.store().set_full(true).await.unwrap();
    let refused = eventually(SOON, "writes are refused", || async {
        let page = world.operator.metrics().await?;
        let refused = metrics::sum(&page, "secret_version_operator_kube_requests_total", &[("code", "500")]);
        ensure!(refused > 2.5, "{refused} were");
        Ok(())
    });
    refused.await.unwrap();
    let (written, mut sent) = (intents(world).await.unwrap(), 0);
    for (_, subject) in &wave.subjects {
        sent += subject.posts(world).await.unwrap().len();
    }
    assert!(sent <= written, "{sent} creates were sent with {written} intents in the store");
    plane.store().set_full(false).await.unwrap();
    world.proxy.clear();
    drop(held);
    table.append(wave.end(world, "store full").await);

    // What a watch and a list have missed is gone, by the apiserver's own word.
    let mut wave = Wave::begin(world, runs_of(50).div_ceil(3)).await.unwrap();
    let first = Rule::on("list", "secretversions").when(|request| !request.is_continued());
    drop(world.proxy.add(first, Action::PageSize(1)));
    let continued = Rule::on("list", "secretversions").when(Request::is_continued);
    let mut list = world.proxy.add(continued, Action::Hold(Moment::Before));
    world.expire("secretversions").await.unwrap();
    let held = timeout(SOON, list.hit()).await.unwrap().unwrap();
    world.proxy.watches("secrets").freeze();
    wave.load(world).await.unwrap();
    plane.store().compact().await.unwrap();
    Outage::ApiserverKilled { down: 0 }.happen(plane).await.unwrap();
    held.release();
    world.proxy.watches("secrets").thaw();
    table.append(wave.end(world, "history gone").await);
    table.conclude("Rows 13 and 16: a store that is full, and one without history");
    let log = std::fs::read_to_string(world.operator.process().log()).unwrap();
    assert!(log.contains("too old"), "the operator was never told that its history is gone");
    let mark = plane.audit_mark().unwrap();
    world.is_quiet(&wave.secrets()).await.unwrap();
    world.is_clean_since(mark).await.unwrap();
}
