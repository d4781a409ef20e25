//! What a layer below might send twice, and what the remote carries out when nobody waits for it any more.
//!
//! HTTP/2 can refuse a request in ways that libraries answer by sending it again. The operator speaks HTTP/1.1 alone, also to a
//! server that offers the other: `tests/wire/trust.rs` proves that.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::ControlPlane;
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::journal::Requests;
use crate::runs_of;
use crate::subject::{AtRest, Subject};
use crate::table::{Figures, Table, run_of};
use crate::world::{GRACE, ORGANIZATION, SOON, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// A grace, the backoff beside it, and what I5 allows after that.
const HEALING: Duration = Duration::from_secs(GRACE.as_secs() + 60);

/// When the remote carries out what it did not answer: after the grace, and what a busy machine takes beside it.
const LATE: &str = "20s";

/// Holds every create to a connection that no other request ever used.
async fn is_sent_alone(world: &World<'_>, subject: &Subject) -> Result<()> {
    let requests = world.journal.all().await?;
    for post in subject.posts(world).await? {
        let shared = requests.values().flat_map(|all| all.values()).filter(|other| other.connection == post.connection);
        ensure!(shared.count() == 1, "a create took a connection that other requests used: {post:?}");
    }
    Ok(())
}

/// Every answer's connection is closed at once, or as the next request comes in.
async fn idle_close(world: &World<'_>, after: &str) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    let action = json!({ "close_idle": { "after": after } });
    world.simulator.add_fault(&json!({ "match": { "secret_id": subject.secret_id }, "action": action })).await?;
    subject.apply(world).await?;
    for changes in 1..=3 {
        subject.ready(world, changes, HEALING).await?;
        world.sync(&subject.name).await?;
        if changes < 3 {
            subject.change(world).await?;
        }
    }
    is_sent_alone(world, &subject).await?;
    subject.holds_and_goes(world, &AtRest::created(&[0, 1, 2], 3)).await
}

/// A create is answered by a redirect, to where it would be carried out once more.
async fn redirect(world: &World<'_>, code: u16, committed: bool) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    let back = format!(
        "{}/secret-manager/organizations/{ORGANIZATION}/secrets/{}/versions?return_secret_value=True",
        world.simulator.url(),
        subject.secret_id
    );
    let action = json!({ "status": { "code": code, "committed": committed, "headers": { "location": back } } });
    world.fault("create_version", &subject.secret_id, Some(1), &action).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, HEALING).await?;
    is_sent_alone(world, &subject).await?;
    subject.holds_and_goes(world, &AtRest::created(&[0], if committed { 1 } else { 2 })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_nothing_is_sent_again_by_a_layer_below() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "resend").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..runs_of(300) {
        for after in ["0ms", "1ms", "20ms"] {
            runs.push(run_of(format!("closed {after} after each answer"), idle_close(world, after)));
        }
        for code in [307, 308] {
            for (committed, name) in [(true, "committed"), (false, "not committed")] {
                runs.push(run_of(format!("{name}, {code} to the same place"), redirect(world, code, committed)));
            }
        }
    }
    Table::of(AT_ONCE, runs).await.conclude("7: what a layer below might send again");
    world.is_clean().await.unwrap();
}

/// What the remote does to the first create.
fn late(code: Option<u16>) -> Value {
    match code {
        None => json!({ "late_commit": { "after": LATE } }),
        Some(code) => json!({ "late_commit": { "after": LATE, "code": code } }),
    }
}

/// A late twin that no refresh comes upon: the first list that shows it is that of the next change.
async fn met_by_the_next_change(world: &World<'_>) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    world.fault("create_version", &subject.secret_id, Some(1), &late(None)).await?;
    subject.apply_with(world, &json!({ "refreshInterval": "10m" })).await?;
    subject.ready(world, 1, HEALING).await?;
    let both = |all: &Requests| all.values().filter(|entry| entry.is("create_version") && entry.committed).count() == 2;
    world.journal.until(SOON, "it was carried out late", &subject.secret_id, both).await?;
    let twin = subject.posts(world).await?[0].version_id.clone().unwrap_or_default();
    subject.change(world).await?;
    subject.ready(world, 2, HEALING).await?;
    world.told(&subject.name, Reason::LateVersion, &[twin]).await?;
    Ok(Figures { changes: 2, versions: 3, posts: 3 })
}

/// The first create is carried out after the operator gave it up: it made another one, and tells of the first.
async fn late_twin(world: &World<'_>, code: Option<u16>, changed: bool) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    world.fault("create_version", &subject.secret_id, Some(1), &late(code)).await?;
    subject.apply(world).await?;
    if changed {
        world
            .journal
            .until(SOON, "it was sent", &subject.secret_id, |all| all.values().any(|e| e.is("create_version")))
            .await?;
        subject.change(world).await?;
    }
    subject.ready(world, 1, HEALING).await?;
    world.told(&subject.name, Reason::LateVersion, &[]).await?;
    let posts = subject.posts(world).await?;
    ensure!(posts.len() == 2 && posts.iter().all(|post| post.committed), "{posts:?}");
    let [twin, recorded] = posts.as_slice() else { unreachable!("there are two") };
    let (twin, recorded) = (twin.version_id.clone().unwrap_or_default(), recorded.version_id.clone());
    world.told(&subject.name, Reason::LateVersion, std::slice::from_ref(&twin)).await?;
    let status = world.api::<SecretVersion>().get(&subject.name).await?.status.unwrap_or_default();
    ensure!(status.version_id == recorded && status.history.len() == 1, "{status:?}");
    subject.target_is(world, usize::from(changed)).await?;

    // What was not recorded is a person's to delete.
    subject.delete(world).await?;
    subject.ends_without(world, HEALING).await?;
    let ids = subject.remote_ids(world).await?;
    ensure!(ids == [twin.as_str()], "left at the remote: {ids:?}, and the twin is {twin}");
    Ok(Figures { changes: 1, versions: 2, posts: 2 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_a_late_twin_is_told_and_never_deleted() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "twins").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..runs_of(30) {
        runs.push(run_of("closed, committed after the grace", late_twin(world, None, false)));
        runs.push(run_of("504, committed after the grace", late_twin(world, Some(504), false)));
        runs.push(run_of("closed, committed after the grace, source changed", late_twin(world, None, true)));
        runs.push(run_of("the same, and the next change meets it", met_by_the_next_change(world)));
    }
    Table::of(AT_ONCE, runs).await.conclude("8: creates that the remote carries out after the grace");
    world.is_clean().await.unwrap();
}
