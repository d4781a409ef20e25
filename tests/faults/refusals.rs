//! An apiserver that refuses, breaks or forgets to answer, and somebody who writes at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kit::ControlPlane;
use kit::proxy::{Action, Moment, Rule};
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use secret_version_operator::api::v1alpha1::SecretVersion;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::trap::Effect;
use crate::world::{SOON, STEADY, World};

/// How often a rival writes.
const RIVAL: Duration = Duration::from_millis(100);

/// More than the operator works on at the same time.
const REFUSED: usize = 24;

/// What becomes of a write.
#[derive(Clone, Copy)]
struct Refusal {
    name: &'static str,
    action: fn() -> Action,
    /// How many in a row.
    times: usize,
}

fn answer(moment: Moment, status: u16, retry_after: Option<u32>) -> Action {
    Action::Answer { moment, status, retry_after }
}

const REFUSALS: [Refusal; 9] = [
    Refusal { name: "429", action: || answer(Moment::Before, 429, None), times: 3 },
    Refusal { name: "429, Retry-After 1", action: || answer(Moment::Before, 429, Some(1)), times: 3 },
    Refusal { name: "429, Retry-After 30", action: || answer(Moment::Before, 429, Some(30)), times: 1 },
    Refusal { name: "500", action: || answer(Moment::Before, 500, None), times: 3 },
    Refusal { name: "503", action: || answer(Moment::Before, 503, None), times: 3 },
    Refusal { name: "500, committed", action: || answer(Moment::After, 500, None), times: 1 },
    Refusal { name: "504, committed", action: || answer(Moment::After, 504, None), times: 1 },
    Refusal { name: "no answer", action: || Action::Drop(Moment::Before), times: 2 },
    Refusal { name: "no answer, committed", action: || Action::Drop(Moment::After), times: 1 },
];

const WRITES: [Effect; 6] = [
    Effect::AddFinalizer,
    Effect::WriteIntent,
    Effect::CreateTarget,
    Effect::WriteRecord,
    Effect::ChangeTarget,
    Effect::RemoveFinalizer,
];

/// A life in which one kind of write is refused.
async fn refused(world: &World<'_>, subject: &mut Subject, effect: Effect, refusal: Refusal) -> Result<Figures> {
    // Each write to the resource itself looks alike: the last is refused only once the first is over.
    let last = effect == Effect::RemoveFinalizer;
    if last {
        subject.live(world, SOON).await?;
    }
    let rule = effect.rule(&subject.name).context("it is no write to Kubernetes")?;
    let rule = rule.namespace(&world.namespace).times(refusal.times);
    let mut armed = world.proxy.add(rule, (refusal.action)());
    let figures = if last {
        subject.delete(world).await?;
        subject.ends(world, SOON).await?;
        Figures { changes: 2, versions: 0, posts: subject.posts(world).await?.len() }
    } else {
        subject.live(world, SOON).await?
    };
    ensure!(armed.try_hit().is_some(), "nothing was refused");
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_writes_that_the_apiserver_refuses_or_does_not_answer() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "refusals", &STEADY).await.unwrap();
    let mut reference = Subject::new(world).await.unwrap();
    reference.live(world, SOON).await.unwrap();

    let mut table = Table::default();
    for _ in 0..runs_of(10) {
        table.append(refused_each(world, &reference).await);
    }
    table.conclude("Row 18: writes that the apiserver refuses or does not answer");
    world.is_clean().await.unwrap();
}

/// Each refusal of each write, once. What lived goes in the end, lest refreshes of hundreds be what is waited for.
async fn refused_each(world: &World<'_>, reference: &Subject) -> Table {
    let cells: Vec<(Effect, Refusal)> =
        WRITES.into_iter().flat_map(|effect| REFUSALS.map(|refusal| (effect, refusal))).collect();
    let mut subjects = try_join_all(cells.iter().map(|_| Subject::new(world))).await.unwrap();
    let runs = cells.iter().zip(&mut subjects).map(|((effect, refusal), subject)| {
        let name = format!("{}: {}", effect.name(), refusal.name);
        run_of(name, refused(world, subject, *effect, *refusal))
    });
    let table = Table::of(64, runs.collect()).await;

    // As much took effect as without a fault, but for what the status says of each try.
    let writes = world.effective_writes().unwrap();
    let mut left = Vec::new();
    for ((effect, refusal), subject) in cells.iter().zip(&subjects) {
        if *effect == Effect::RemoveFinalizer {
            continue;
        }
        let (mut found, mut expected) = (writes[&subject.name].clone(), writes[&reference.name].clone());
        let status = |writes: &mut BTreeMap<String, usize>| writes.remove("patch secretversions/status").unwrap_or(0);
        let more = status(&mut found).checked_sub(status(&mut expected));
        let what = format!("{}, {}", effect.name(), refusal.name);
        let in_bounds = more.is_some_and(|more| more <= refusal.times);
        assert!(in_bounds || world.was_slow_for(&subject.name).unwrap(), "{what}: {more:?} more writes of status");
        assert_eq!(found, expected, "{what}");
        left.push(subject);
    }
    let secrets: Vec<String> = left.iter().map(|subject| subject.secret_id.clone()).collect();
    world.is_quiet(&secrets).await.unwrap();
    try_join_all(left.iter().map(|subject| subject.delete(world))).await.unwrap();
    try_join_all(left.iter().map(|subject| subject.ends(world, SOON))).await.unwrap();
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_what_is_refused_holds_up_nobody_else() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "throttled", &STEADY).await.unwrap();
    let mut refused = try_join_all((0..REFUSED).map(|_| Subject::new(world))).await.unwrap();
    let names: Vec<String> = refused.iter().map(|subject| subject.name.clone()).collect();
    let rule = Rule::on("patch", "secretversions").when(move |request| names.contains(&request.name)).always();
    let mut armed = world.proxy.add(rule, answer(Moment::Before, 429, Some(30)));
    try_join_all(refused.iter_mut().map(|subject| subject.apply(world))).await.unwrap();
    // As many as are worked on at the same time are refused, and more wait.
    for _ in 0..16 {
        armed.hit().await.unwrap();
    }
    let mut healthy = Subject::new(world).await.unwrap();
    healthy.live(world, Duration::from_secs(25)).await.unwrap();
    // Each is tried again, and less often each time.
    let mut tries = 16;
    while armed.try_hit().is_some() {
        tries += 1;
    }
    println!("{REFUSED} resources that are refused made {tries} tries while another one lived");
    assert!(tries <= 4 * REFUSED, "{tries} tries");
    world.proxy.clear();
    let healed = refused.iter().map(|subject| subject.ready(world, 1, SOON));
    try_join_all(healed).await.unwrap();
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_every_second_write_conflicts() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "conflicts", &STEADY).await.unwrap();
    let mut reference = Subject::new(world).await.unwrap();
    reference.live(world, SOON).await.unwrap();

    let _rule = world.proxy.add(Rule::on_writes().every(2).always(), answer(Moment::Before, 409, None));
    let count = runs_of(50).max(4);
    let mut subjects = try_join_all((0..count).map(|_| Subject::new(world))).await.unwrap();
    let runs = subjects.iter_mut().map(|subject| run_of("409 for every second write", subject.live(world, SOON)));
    let table = Table::of(count, runs.collect()).await;
    table.conclude("Row 17: every second write conflicts");
    let writes = world.effective_writes().unwrap();
    for subject in &subjects {
        let (found, expected) = (&writes[&subject.name], &writes[&reference.name]);
        assert!(found == expected || world.was_slow_for(&subject.name).unwrap(), "{}: {found:?}", subject.name);
    }
    let secrets: Vec<String> = subjects.iter().map(|subject| subject.secret_id.clone()).collect();
    world.is_quiet(&secrets).await.unwrap();
    world.is_clean().await.unwrap();
}

/// Writes fields of its own into an object until it is told to stop, and gives the number of the last write.
async fn rival<K>(api: Api<K>, name: &str, fields: fn(usize) -> Value, stop: &AtomicBool) -> Result<usize>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut ticks = interval(RIVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beat = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let params = PatchParams { field_manager: Some("rival".to_owned()), ..PatchParams::default() };
        match api.patch(name, &params, &Patch::Merge(fields(beat + 1))).await {
            Ok(_) => beat += 1,
            // The target is not there yet.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(beat)
}

fn on_resource(beat: usize) -> Value {
    json!({ "metadata": { "labels": { "rival": beat.to_string() } } })
}

fn on_target(beat: usize) -> Value {
    json!({ "metadata": { "annotations": { "rival": beat.to_string() } }, "stringData": { "rival": beat.to_string() } })
}

/// A life beside somebody who writes all the time.
async fn beside_a_rival(world: &World<'_>, subject: &mut Subject) -> Result<Figures> {
    let (resources, secrets) = (world.api::<SecretVersion>(), world.api::<Secret>());
    let (name, stop) = (subject.name.clone(), AtomicBool::new(false));
    // Between what was read and what is written for it, the rival has always been there.
    let slow = json!({ "delay": { "at": "after_commit", "duration": "400ms" } });
    world.fault("list_versions", &subject.secret_id, None, &slow).await?;
    subject.apply(world).await?;
    let life = async {
        let lived = async {
            subject.ready(world, 1, SOON).await?;
            subject.change(world).await?;
            subject.ready(world, 2, SOON).await?;
            let calls = world.journal.of(&subject.secret_id).await?.len();
            world.refreshes(&subject.secret_id, 3).await?;
            Ok::<_, anyhow::Error>(calls)
        };
        let lived = lived.await;
        stop.store(true, Ordering::Relaxed);
        lived
    };
    let (lived, on_resource, on_target) = tokio::join!(
        life,
        rival(resources.clone(), &name, on_resource, &stop),
        rival(secrets.clone(), &name, on_target, &stop)
    );
    lived?;
    let (on_resource, on_target) = (on_resource?.to_string(), on_target?.to_string());
    let cr = resources.get(&name).await?;
    ensure!(
        cr.metadata.labels.as_ref().and_then(|l| l.get("rival")) == Some(&on_resource),
        "the rival's label is lost"
    );
    let target = secrets.get(&name).await?;
    let annotation = target.metadata.annotations.as_ref().and_then(|a| a.get("rival"));
    ensure!(annotation == Some(&on_target), "the rival's annotation is lost");
    let data = target.data.as_ref().and_then(|data| data.get("rival")).map(|value| value.0.as_slice());
    ensure!(data == Some(on_target.as_bytes()), "the rival's key is lost");
    let undo = json!({ "data": { "rival": null } });
    secrets.patch(&name, &PatchParams::default(), &Patch::Merge(&undo)).await?;
    subject.rests(world).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_a_rival_writes_ten_times_a_second() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_with(plane, "rival", &STEADY).await.unwrap();
    let mut reference = Subject::new(world).await.unwrap();
    reference.live(world, SOON).await.unwrap();
    let mut subjects = try_join_all((0..runs_of(50)).map(|_| Subject::new(world))).await.unwrap();
    let runs =
        subjects.iter_mut().map(|subject| run_of("a rival on resource and Secret", beside_a_rival(world, subject)));
    let table = Table::of(10, runs.collect()).await;
    table.conclude("Row 17: a rival writes ten times a second");
    let writes = world.effective_writes().unwrap();
    for subject in &subjects {
        let (found, expected) = (&writes[&subject.name], &writes[&reference.name]);
        assert!(found == expected || world.was_slow_for(&subject.name).unwrap(), "{}: {found:?}", subject.name);
        let calls = world.journal.of(&subject.secret_id).await.unwrap().len();
        println!("{}: {calls} calls of the remote", subject.name);
    }
    println!("{} writes were refused", world.refused_writes().unwrap());
    world.is_clean().await.unwrap();
}
