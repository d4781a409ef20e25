//! Refreshes by page: what they cost, what they notice, and that nobody is the worse for an organization that cannot be listed, or
//! whose list is no good.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use jiff::Timestamp;
use kit::{ControlPlane, eventually};
use secret_version_operator::api::v1alpha1::{AbejaConnection, RefreshMode, RequestBudget};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::follower::Follower;
use crate::subject::Subject;
use crate::world::{CONNECTION, SOON, STEADY, World};

/// Enough for three pages.
const SECRETS: usize = 250;

/// Resources of each kind: as many as there are pages, so that a look over the pages costs no more than a list each.
const RESOURCES: usize = 2;

/// Resources that are all new to the operator: two pages of them.
const COLD: usize = 150;

/// Requests for values that all of those may cost: two pages, and on a busy machine some more for whoever comes late, or one by itself.
const FEW: usize = COLD / 10;

/// Values of which a page is more than five MiB.
const LARGE: usize = 56 * 1024;

/// Secrets of an organization of which next to none is used.
const HUGE: usize = 100_000;

/// Resources that are all new to the operator and know names alone.
const NAMED: usize = 40;

/// A world whose organization has pages of secrets that nobody here uses.
async fn crowded<'a>(plane: &'a ControlPlane, prefix: &str) -> Result<World<'a>> {
    let world = World::start_steady(plane, prefix).await?;
    for number in 0..SECRETS {
        world.remote_secret(&format!("crowd-{number}")).await?;
    }
    Ok(world)
}

/// Resources that are refreshed, some of their own versions and some of other people's.
async fn settled(world: &World<'_>) -> Result<(Vec<Subject>, Vec<Follower>)> {
    let (mut subjects, mut followers) = (Vec::new(), Vec::new());
    for _ in 0..RESOURCES {
        let mut subject = Subject::new(world).await?;
        subject.apply(world).await?;
        subject.ready(world, 1, SOON).await?;
        subjects.push(subject);
        followers.push(Follower::new(world).await?);
    }
    Ok((subjects, followers))
}

/// Resources that were all applied while nobody looked after them, and are then served.
async fn all_new(
    world: &World<'_>,
    count: usize,
    apply: impl AsyncFn(&World<'_>) -> Result<Follower>,
) -> Result<Vec<Follower>> {
    world.kill()?;
    world.clear_lease().await?;
    let mut followers = Vec::new();
    for _ in 0..count {
        followers.push(apply(world).await?);
    }
    world.operator.process().start()?;
    for follower in &followers {
        follower.serves(world, SOON).await?;
    }
    Ok(followers)
}

/// Scripts a fault for every list of secrets.
async fn lists_are(world: &World<'_>, action: &Value) -> Result<u64> {
    world.simulator.add_fault(&json!({ "match": { "operation": "list_secrets" }, "action": action })).await
}

/// Requests for pages.
async fn pages(world: &World<'_>) -> usize {
    world.journal.of("").await.unwrap().iter().filter(|entry| entry.is_page()).count()
}

async fn refreshed(world: &World<'_>, wanted: RefreshMode) -> Result<()> {
    eventually(SOON, "the connection says how its resources are refreshed", async || {
        let status = world.api::<AbejaConnection>().get(CONNECTION).await?.status.unwrap_or_default();
        ensure!(status.refresh == Some(wanted), "{:?}", status.refresh);
        Ok(())
    })
    .await
}

/// Whatever the way, a version that somebody makes or switches off is noticed.
async fn notices(world: &World<'_>, followers: &mut [Follower]) -> Result<()> {
    for follower in followers {
        follower.make(world).await?;
        follower.serves(world, SOON).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_costs_pages_and_wakes_whom_it_concerns() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &crowded(plane, "pages").await.unwrap();
    let (subjects, mut followers) = settled(world).await.unwrap();
    refreshed(world, RefreshMode::ByPage).await.unwrap();
    let secrets: Vec<String> = subjects.iter().map(|s| s.secret_id.clone()).collect();
    world.is_quiet(&secrets).await.unwrap();
    let followed: Vec<String> = followers.iter().map(|f| f.secret_id.clone()).collect();
    let mut before = Vec::new();
    for secret in secrets.iter().chain(&followed) {
        before.push(world.journal.of(secret).await.unwrap().len());
    }
    world.all_refreshed(&secrets, 3).await.unwrap();
    for (secret, before) in secrets.iter().chain(&followed).zip(before) {
        let asked = world.journal.of(secret).await.unwrap().len() - before;
        assert_eq!(asked, 0, "secret {secret} was asked for by itself");
    }

    // One of each is touched at the remote; the others are not asked for.
    let witness = world.journal.of(&followed[1]).await.unwrap().len();
    notices(world, &mut followers[..1]).await.unwrap();
    followers[0].switch_off(world).await.unwrap();
    world
        .reaches(&followers[0].name, "back on the version before", SOON, |cr| {
            cr.and_then(|cr| cr.status.as_ref()).and_then(|s| s.version) == Some(1)
        })
        .await
        .unwrap();
    assert_eq!(world.journal.of(&followed[1]).await.unwrap().len(), witness);
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_wait_are_served_by_pages() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "cold").await.unwrap();
    let mut followers = all_new(world, COLD, Follower::apply).await.unwrap();
    assert_served_by_pages(world, &followers).await;

    // All of them change at once, and are noticed by one look.
    for follower in &mut followers {
        follower.make(world).await.unwrap();
    }
    for follower in &followers {
        follower.serves(world, SOON).await.unwrap();
    }
    let alone = asked_alone(world, &followers).await;
    println!("after a change of each, {alone} requests were for one secret");
    assert!(alone <= FEW, "{alone}");
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_names_are_found_by_one_list() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "names").await.unwrap();
    all_new(world, NAMED, Follower::apply_by_name).await.unwrap();
    let pages = pages(world).await;
    println!("{NAMED} resources that know a name are ready after {pages} pages");
    // One for the names and one for the values, and looks that came meanwhile.
    assert!(pages <= NAMED / 4, "{pages} pages");
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_wants_to_be_left_alone_is_and_everybody_says_until_when() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "patience").await.unwrap();
    let follower = Follower::new(world).await.unwrap();
    let action = json!({ "status": { "code": 429, "retry_after": 20 } });
    let busy = world.simulator.add_fault(&json!({ "match": {}, "action": action })).await.unwrap();
    let until = budget_says(world, |budget| budget.and_then(|budget| budget.throttled_until)).await.unwrap();
    let until: Timestamp = until.parse().unwrap();
    let left = until.duration_since(Timestamp::now()).as_secs();
    assert!((0..=20).contains(&left), "until {until}, in {left} s");
    world.lift(busy).await.unwrap();

    let asked = world.journal.of("").await.unwrap().len() + world.journal.of(&follower.secret_id).await.unwrap().len();
    let late = Follower::apply(world).await.unwrap();
    let message = world.fails(&late.name, Reason::Throttled).await.unwrap();
    assert!(message.contains("next try at"), "{message}");
    let now = world.journal.of("").await.unwrap().len() + world.journal.of(&follower.secret_id).await.unwrap().len();
    assert!(Timestamp::now() >= until || now == asked, "it was not left alone");
    late.serves(world, SOON).await.unwrap();
    budget_says(world, |budget| budget.is_some_and(|budget| budget.throttled_until.is_none()).then_some(()))
        .await
        .unwrap();
    follower.holds(world, 1).await.unwrap();
    world.is_clean().await.unwrap();
}

/// Waits until what the connection says of its budget is as asked for.
async fn budget_says<T>(world: &World<'_>, is: impl Fn(Option<RequestBudget>) -> Option<T>) -> Result<T> {
    eventually(SOON, "the connection's budget", async || {
        let status = world.api::<AbejaConnection>().get(CONNECTION).await?.status.unwrap_or_default();
        let said = format!("{:?}", status.budget);
        is(status.budget).context(said)
    })
    .await
}

/// Those who were all new were served by pages, but for a few who came late.
async fn assert_served_by_pages(world: &World<'_>, followers: &[Follower]) {
    let alone = asked_alone(world, followers).await;
    let pages = world.journal.of("").await.unwrap().iter().filter(|entry| entry.is_page_of_values()).count();
    println!("{} are ready after {pages} pages of values and {alone} requests for one secret", followers.len());
    assert!(pages > 0 && pages + alone <= FEW, "{pages} pages and {alone} requests for one secret");
}

/// Requests for one of these secrets.
async fn asked_alone(world: &World<'_>, followers: &[Follower]) -> usize {
    let all = world.journal.all().await.unwrap();
    followers.iter().filter_map(|follower| all.get(&follower.secret_id)).map(BTreeMap::len).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_list_is_refused_or_never_ends_each_is_refreshed_by_itself() {
    let plane = ControlPlane::shared().await.unwrap();
    let worlds = [
        ("refused", json!({ "status": { "code": 403 } })),
        ("unknown", json!({ "status": { "code": 404 } })),
        ("endless", json!({ "malformed": "repeat_first_page" })),
    ];
    join_all(worlds.map(|(prefix, action)| async move {
        let world = &crowded(plane, prefix).await.unwrap();
        lists_are(world, &action).await.unwrap();
        let (subjects, mut followers) = settled(world).await.unwrap();
        refreshed(world, RefreshMode::BySecret).await.unwrap();
        notices(world, &mut followers).await.unwrap();
        for subject in &subjects {
            subject.target_is(world, 0).await.unwrap();
        }
        world.is_clean().await.unwrap();
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_with_far_more_secrets_than_are_used_is_not_read_through() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &crowded(plane, "far-more").await.unwrap();
    let mut follower = Follower::new(world).await.unwrap();
    refreshed(world, RefreshMode::BySecret).await.unwrap();
    notices(world, std::slice::from_mut(&mut follower)).await.unwrap();
    // Nor is the list read again for every refresh.
    let looks = world.journal.of("").await.unwrap().len();
    world.refreshes(&follower.secret_id, 3).await.unwrap();
    assert!(world.journal.of("").await.unwrap().len() - looks <= 1, "the list is read though it was given up");
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_thousand_secrets_as_few_pages_are_read_as_serve_who_is_there() {
    const OURS: usize = 10;
    let plane = ControlPlane::shared().await.unwrap();
    let secret = |n: usize| json!({ "id": (8_000_000_000_000 + n).to_string(), "name": format!("crowd-{n}") });
    let crowd: Vec<Value> = (0..HUGE).map(secret).collect();
    let world = &World::start_beside(plane, "huge", &STEADY, &crowd).await.unwrap();
    let mut followers = all_new(world, OURS, Follower::apply).await.unwrap();
    refreshed(world, RefreshMode::BySecret).await.unwrap();
    // A look over the pages, and one for those who wait for values, or a few, where they do not wait at the same time.
    let pages = pages(world).await;
    println!("{OURS} of {HUGE} secrets are served after {pages} pages");
    assert!(pages <= 5 * OURS, "{pages} pages");
    notices(world, &mut followers[..2]).await.unwrap();
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_lies_or_does_not_hold_still_harms_nobody() {
    let plane = ControlPlane::shared().await.unwrap();
    let worlds = [
        ("more", json!({ "malformed": "has_next_true" })),
        ("no-more", json!({ "malformed": "has_next_false" })),
        ("twice", json!({ "malformed": "duplicate_rows" })),
        ("grows", json!({ "page_shift": "insert" })),
        ("no-json", json!({ "malformed": "truncated_json" })),
        ("too-large", json!({ "oversize": { "bytes": 104_857_600 } })),
    ];
    join_all(worlds.map(|(prefix, action)| async move {
        let world = &crowded(plane, prefix).await.unwrap();
        let (subjects, mut followers) = settled(world).await.unwrap();
        refreshed(world, RefreshMode::ByPage).await.unwrap();
        lists_are(world, &action).await.unwrap();
        let posts = posts(world).await;
        notices(world, &mut followers).await.unwrap();
        let secrets: Vec<String> = subjects.iter().map(|subject| subject.secret_id.clone()).collect();
        world.is_quiet(&secrets).await.unwrap();
        for subject in &subjects {
            subject.target_is(world, 0).await.unwrap();
        }
        for follower in &followers {
            follower.serves(world, SOON).await.unwrap();
        }
        assert_eq!(self::posts(world).await, posts, "{prefix}: versions were created");
        world.is_clean().await.unwrap();
    }))
    .await;
}

async fn posts(world: &World<'_>) -> usize {
    let all = world.journal.all().await.unwrap();
    all.values().flat_map(BTreeMap::values).filter(|entry| entry.is("create_version")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_five_mib_are_served_like_others() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "large").await.unwrap();
    // A second, which is what other worlds have, is not enough for such a page on a busy machine.
    world.patch::<AbejaConnection>(CONNECTION, &json!({ "spec": { "timeoutSeconds": 30 } })).await.unwrap();
    let large = async |world: &World<'_>| {
        let mut follower = Follower::apply(world).await?;
        follower.make_large(world, LARGE).await?;
        Ok(follower)
    };
    let followers = all_new(world, COLD, large).await.unwrap();
    assert_served_by_pages(world, &followers).await;
    world.is_clean().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_empties_nothing_and_is_told_by_each() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "outage").await.unwrap();
    let (subjects, mut followers) = settled(world).await.unwrap();
    refreshed(world, RefreshMode::ByPage).await.unwrap();
    let action = json!({ "status": { "code": 503 } });
    let down = world.simulator.add_fault(&json!({ "match": {}, "action": action })).await.unwrap();
    for subject in &subjects {
        world.fails(&subject.name, Reason::RemoteUnavailable).await.unwrap();
        subject.target_is(world, 0).await.unwrap();
    }
    followers[0].holds(world, 1).await.unwrap();
    world.lift(down).await.unwrap();
    for follower in &mut followers {
        follower.make(world).await.unwrap();
        follower.serves(world, Duration::from_mins(2)).await.unwrap();
    }
    refreshed(world, RefreshMode::ByPage).await.unwrap();
    world.is_clean().await.unwrap();
}
