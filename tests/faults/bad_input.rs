//! What people and restores from backup do to what the operator wrote down: a condition says so, nothing is created, nothing is
//! deleted, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kit::ControlPlane;
use kube::api::{DeleteParams, Patch, PatchParams};
use secret_version_operator::api::v1alpha1::{Origin, SecretVersion, SecretVersionStatus};
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::runs_of;
use crate::subject::{AtRest, Subject, is_ready};
use crate::table::{Figures, Table, run_of};
use crate::world::{GRACE, SOON, World};

/// Resources at the same time. Most of a run is waiting.
const AT_ONCE: usize = 64;

/// A grace, the backoff beside it, and what I5 allows after that.
const HEALING: Duration = Duration::from_secs(GRACE.as_secs() + 60);

/// Where the operator keeps what it digests values with.
const DIGEST_KEYS: &str = "secret-version-operator-digest-keys";

/// An id that the remote never gave to anything.
const UNKNOWN: &str = "4000000000000";

async fn synced(world: &World<'_>) -> Result<Subject> {
    let mut subject = Subject::new(world).await?;
    subject.apply(world).await?;
    subject.ready(world, 1, SOON).await?;
    Ok(subject)
}

async fn status(world: &World<'_>, subject: &Subject) -> Result<SecretVersionStatus> {
    world.api::<SecretVersion>().get(&subject.name).await?.status.context("no status")
}

/// Edits the status, as only an administrator can.
async fn edit(world: &World<'_>, subject: &Subject, status: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    world.api::<SecretVersion>().patch_status(&subject.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Holds the remote to the one version that was created, and the Secret to its value.
async fn unharmed(world: &World<'_>, subject: &Subject) -> Result<()> {
    let journal = world.journal.of(&subject.secret_id).await?;
    let count = |operation: &str| journal.iter().filter(|entry| entry.is(operation)).count();
    ensure!(count("create_version") == 1, "{} creates were sent", count("create_version"));
    ensure!(count("delete_version") + count("update_version") == 0, "something was deleted or switched");
    subject.target_is(world, 0).await
}

fn figures(versions: usize) -> Figures {
    Figures { changes: versions, versions, posts: versions }
}

/// An intent that says what this operator cannot follow, and the source changes. Once it is as it was, all goes on.
async fn intent_is(world: &World<'_>, reason: Reason, words: &str, change: &Value) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let intent = serde_json::to_value(status(world, &subject).await?.create.context("no intent")?)?;
    let mut edited = change.clone();
    // Open: no record names it.
    edited["id"] = "another-intent".into();
    edit(world, &subject, &json!({ "create": edited })).await?;
    subject.change(world).await?;
    let message = world.fails(&subject.name, reason).await?;
    ensure!(message.contains(words), "{message}");
    world.sync(&subject.name).await?;
    world.refreshes(&subject.secret_id, usize::from(reason != Reason::AmbiguousCreate)).await?;
    unharmed(world, &subject).await?;

    edit(world, &subject, &json!({ "create": intent })).await?;
    subject.ready(world, 2, HEALING).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// The status is emptied under an operator that runs: the version is found again, and told of, and not deleted later.
async fn status_lost(world: &World<'_>, newer: bool, restarted: bool) -> Result<Figures> {
    let subject = synced(world).await?;
    // What is newest is not ours.
    if newer {
        subject.somebody_else(world).await?;
    }
    let ids = subject.remote_ids(world).await?;
    if restarted {
        restart(world).await?;
    }
    edit(world, &subject, &Value::Null).await?;
    world.told(&subject.name, Reason::StatusLost, &ids).await?;
    subject.ready(world, 1, HEALING).await?;
    unharmed(world, &subject).await?;
    let status = status(world, &subject).await?;
    ensure!(status.version_id.as_ref() == ids.first(), "it serves {:?}", status.version_id);
    ensure!(status.history.iter().all(|record| record.origin == Origin::Referenced), "it is recorded as created here");
    subject.delete(world).await?;
    subject.ends_without(world, HEALING).await?;
    let left = subject.remote_ids(world).await?;
    ensure!(left.len() == 1 + usize::from(newer), "left at the remote: {left:?}");
    Ok(figures(1))
}

/// The status is emptied of a resource that is being deleted: nothing is deleted at the remote, and people are told of it.
async fn status_lost_in_deletion(world: &World<'_>) -> Result<Figures> {
    let subject = synced(world).await?;
    let ids = subject.remote_ids(world).await?;
    let fault = world.fault("delete_version", &subject.secret_id, None, &json!({ "status": { "code": 500 } })).await?;
    subject.delete(world).await?;
    world.fails(&subject.name, Reason::RemoteUnavailable).await?;
    edit(world, &subject, &Value::Null).await?;
    world.lift(fault).await?;
    subject.ends_without(world, HEALING).await?;
    world.told(&subject.name, Reason::StatusLost, &ids).await?;
    ensure!(subject.remote_ids(world).await? == ids, "the version was deleted");
    Ok(figures(1))
}

/// The record names an id that the remote does not know.
async fn unknown_id(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let before = status(world, &subject).await?;
    let id = before.version_id.clone().context("no version")?;
    let mut history = serde_json::to_value(&before.history)?;
    history[0]["versionId"] = UNKNOWN.into();
    edit(world, &subject, &json!({ "versionId": UNKNOWN, "history": history })).await?;
    world.sync(&subject.name).await?;
    let message = world.fails(&subject.name, Reason::VersionGone).await?;
    ensure!(message.contains(UNKNOWN) && message.contains("until the source changes"), "{message}");
    unharmed(world, &subject).await?;

    subject.change(world).await?;
    let replaced = |cr: Option<&SecretVersion>| {
        cr.is_some_and(|cr| is_ready(cr) && cr.status.as_ref().and_then(|status| status.version) == Some(2))
    };
    world.reaches(&subject.name, "ready with the next version", HEALING, replaced).await?;
    subject.target_is(world, 1).await?;
    ensure!(subject.remote_ids(world).await?.contains(&id), "what nobody recorded any more was deleted");
    Ok(figures(2))
}

/// The record names a version that somebody else made.
async fn foreign_id(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let foreign = subject.somebody_else(world).await?;
    edit(world, &subject, &json!({ "versionId": foreign, "version": 2, "origin": "Referenced" })).await?;
    world.sync(&subject.name).await?;
    world.refreshes(&subject.secret_id, 2).await?;
    subject.change(world).await?;
    let replaced = |cr: Option<&SecretVersion>| {
        cr.is_some_and(|cr| is_ready(cr) && cr.status.as_ref().and_then(|status| status.version) == Some(3))
    };
    world.reaches(&subject.name, "ready with the next version", HEALING, replaced).await?;
    subject.target_is(world, 1).await?;
    subject.delete(world).await?;
    subject.ends_without(world, HEALING).await?;
    let left = subject.remote_ids(world).await?;
    ensure!(left == [foreign], "left at the remote: {left:?}");
    Ok(figures(2))
}

/// The recorded place is not the one that the spec names.
async fn another_place(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    edit(world, &subject, &json!({ "secretId": UNKNOWN })).await?;
    subject.change(world).await?;
    let message = world.fails(&subject.name, Reason::PlaceChanged).await?;
    ensure!(message.contains("point the connection back"), "{message}");
    unharmed(world, &subject).await?;
    edit(world, &subject, &json!({ "secretId": subject.secret_id })).await?;
    subject.ready(world, 2, HEALING).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// The recorded digest is nonsense: the version's own bytes tell that nothing changed.
async fn corrupt_digest(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    edit(world, &subject, &json!({ "digest": "nonsense", "source": null })).await?;
    world.sync(&subject.name).await?;
    world.refreshes(&subject.secret_id, 2).await?;
    unharmed(world, &subject).await?;
    subject.change(world).await?;
    subject.ready(world, 2, HEALING).await?;
    subject.holds(world, &AtRest::created(&[0, 1], 2)).await
}

/// The remote answers a create with other bytes than were sent: told once, and not sent again.
async fn altered(world: &World<'_>) -> Result<Figures> {
    let mut subject = Subject::new(world).await?;
    let action = json!({ "malformed": "altered_value" });
    world.fault("create_version", &subject.secret_id, Some(1), &action).await?;
    // A Secret would hold what the remote said, and not what it has.
    subject.apply_with(world, &json!({ "target": { "creationPolicy": "None" } })).await?;
    let message = world.fails(&subject.name, Reason::ValueAltered).await?;
    ensure!(message.contains("other bytes than were sent"), "{message}");
    world.refreshes(&subject.secret_id, 2).await?;
    ensure!(subject.posts(world).await?.len() == 1, "it was sent again");
    subject.change(world).await?;
    subject.ready(world, 2, HEALING).await?;
    ensure!(subject.posts(world).await?.len() == 2, "it was sent again");
    Ok(figures(2))
}

/// Two resources are made for one remote secret at the same time: one creates, the other one says whose it is.
async fn one_secret_for_two(world: &World<'_>) -> Result<Figures> {
    let (mut first, mut second) = (Subject::new(world).await?, Subject::new(world).await?);
    second.secret_id.clone_from(&first.secret_id);
    tokio::try_join!(first.apply(world), second.apply(world))?;
    let claimed = |cr: &SecretVersion| {
        let conditions = cr.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Ready" && c.reason == Reason::SecretClaimed.as_str())
    };
    let settled = |cr: Option<&SecretVersion>| cr.is_some_and(|cr| is_ready(cr) || claimed(cr));
    world.reaches(&first.name, "settled", HEALING, settled).await?;
    let cr = world.reaches(&second.name, "settled", HEALING, settled).await?;
    let (owner, other) = if is_ready(&cr) { (&second, &first) } else { (&first, &second) };
    let message = world.fails(&other.name, Reason::SecretClaimed).await?;
    ensure!(message.contains(&owner.name), "{message}");
    unharmed(world, owner).await?;
    ensure!(world.api::<Secret>().get_opt(&other.name).await?.is_none(), "both wrote a Secret");
    owner.delete(world).await?;
    owner.ends_without(world, HEALING).await?;
    let ready = |cr: Option<&SecretVersion>| cr.is_some_and(is_ready);
    world.reaches(&other.name, "ready", HEALING, ready).await?;
    other.target_is(world, 0).await?;
    ensure!(other.remote_ids(world).await?.len() == 1, "more than one is left");
    Ok(figures(2))
}

/// Two resources are made for one target at the same time: one writes it, the other one leaves it alone.
async fn one_target_for_two(world: &World<'_>) -> Result<Figures> {
    let (mut first, mut second) = (Subject::new(world).await?, Subject::new(world).await?);
    let name = format!("{}-target", first.name);
    let spec = &json!({ "target": { "name": name } });
    tokio::try_join!(first.apply_with(world, spec), second.apply_with(world, spec))?;
    let made = |cr: Option<&SecretVersion>| {
        cr.and_then(|cr| cr.status.as_ref()).is_some_and(|status| status.version_id.is_some())
    };
    world.reaches(&first.name, "recorded", HEALING, made).await?;
    world.reaches(&second.name, "recorded", HEALING, made).await?;
    let value = |target: &Secret| target.data.as_ref().and_then(|data| data.get("value")).map(|bytes| bytes.0.clone());
    let target = world.api::<Secret>().get(&name).await?;
    let firsts = value(&target) == Some(first.value(0));
    let (owner, other) = if firsts { (&first, &second) } else { (&second, &first) };
    ensure!(value(&target) == Some(owner.value(0)), "the target holds something else");
    let message = world.fails(&other.name, Reason::TargetNotOwned).await?;
    ensure!(message.contains(&name), "{message}");
    // Given up by the one, it is the other one's.
    owner.delete(world).await?;
    owner.ends_without(world, HEALING).await?;
    let ready = |cr: Option<&SecretVersion>| cr.is_some_and(is_ready);
    world.reaches(&other.name, "ready", HEALING, ready).await?;
    ensure!(value(&world.api::<Secret>().get(&name).await?) == Some(other.value(0)), "it holds something else");
    ensure!(other.posts(world).await?.len() == 1, "it was sent again");
    Ok(figures(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_down_may_be_edited_or_lost() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "edited").await.unwrap();
    let newer = json!({ "schema": 2 });
    let corrupt = json!({ "digest": "nonsense" });
    let mut runs = Vec::new();
    for _ in 0..runs_of(30) {
        let (ambiguous, unknown) = (Reason::AmbiguousCreate, Reason::DigestUnknown);
        runs.push(run_of("an intent of a newer schema", intent_is(world, ambiguous, "newer operator", &newer)));
        runs.push(run_of("a corrupt intent", intent_is(world, unknown, "nothing can tell", &corrupt)));
        runs.push(run_of("status emptied", status_lost(world, false, false)));
        runs.push(run_of("status emptied, and a newer version of others", status_lost(world, true, false)));
        runs.push(run_of("status emptied while it is deleted", status_lost_in_deletion(world)));
        runs.push(run_of("a recorded id that the remote does not know", unknown_id(world)));
        runs.push(run_of("a recorded id of somebody else's", foreign_id(world)));
        runs.push(run_of("another place recorded", another_place(world)));
        runs.push(run_of("a digest that is none", corrupt_digest(world)));
        runs.push(run_of("a value that the remote altered", altered(world)));
        runs.push(run_of("two resources, one remote secret", one_secret_for_two(world)));
        runs.push(run_of("two resources, one target", one_target_for_two(world)));
    }
    Table::of(AT_ONCE, runs).await.conclude("Bad input: what was written down, edited or lost");
    world.is_clean().await.unwrap();
}

/// Replaces the operator's process, and what it remembers.
async fn restart(world: &World<'_>) -> Result<()> {
    // Told to stop it gives its Lease away, and nobody waits.
    world.operator.process().stop().await?;
    world.operator.process().start()?;
    world.operator.wait_ready().await
}

/// The key of the digests is lost: what is served tells that nothing changed, and where it is not, nobody guesses.
async fn key_lost(world: &World<'_>) -> Result<Figures> {
    let (mut served, mut hidden) = (synced(world).await?, synced(world).await?);
    for operation in ["list_versions", "get_version"] {
        world.fault(operation, &hidden.secret_id, None, &json!({ "malformed": "null_value" })).await?;
    }
    let key = world.api::<Secret>().get(DIGEST_KEYS).await?;
    world.api::<Secret>().delete(DIGEST_KEYS, &DeleteParams::default()).await?;
    restart(world).await?;
    world.sync(&served.name).await?;
    world.sync(&hidden.name).await?;
    served.change(world).await?;
    hidden.change(world).await?;
    served.ready(world, 2, HEALING).await?;
    let message = world.fails(&hidden.name, Reason::DigestUnknown).await?;
    ensure!(message.contains("restore the key's Secret"), "{message}");
    unharmed(world, &hidden).await?;

    // Restored beside the new one, the old key is read again.
    let (data, new) = (key.data.unwrap_or_default(), world.api::<Secret>().get(DIGEST_KEYS).await?);
    ensure!(new.data.as_ref() != Some(&data), "the key was never lost");
    let old = data.into_iter().filter(|(name, _)| name != "current");
    let old: serde_json::Map<String, Value> = old.map(|(name, bytes)| (name, json!(bytes))).collect();
    world.patch::<Secret>(DIGEST_KEYS, &json!({ "data": old })).await?;
    restart(world).await?;
    hidden.ready(world, 2, HEALING).await?;
    hidden.records(world, 2).await?;
    served.records(world, 2).await
}

/// The key's Secret holds nonsense: the operator says which, and ends; nothing is done until it is mended.
async fn key_corrupt(world: &World<'_>) -> Result<Figures> {
    let mut subject = synced(world).await?;
    let key = world.api::<Secret>().get(DIGEST_KEYS).await?;
    world.patch::<Secret>(DIGEST_KEYS, &json!({ "stringData": { "current": "nonsense" } })).await?;
    world.operator.process().stop().await?;
    subject.change(world).await?;
    world.operator.process().start()?;
    let code = timeout(SOON, world.operator.process().wait()).await??;
    let log = world.operator.process().log_tail();
    ensure!(code != 0 && log.contains(DIGEST_KEYS), "{code}: {log}");
    unharmed(world, &subject).await?;
    world.patch::<Secret>(DIGEST_KEYS, &json!({ "data": key.data })).await?;
    world.operator.process().start()?;
    subject.ready(world, 2, HEALING).await?;
    subject.records(world, 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_digest_key_may_be_lost_or_corrupt() {
    let plane = ControlPlane::shared().await.unwrap();
    let world = &World::start_steady(plane, "keys").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..runs_of(10) {
        runs.push(run_of("lost", key_lost(world)));
        runs.push(run_of("corrupt", key_corrupt(world)));
        runs.push(run_of("status emptied, and the operator restarted", status_lost(world, true, true)));
    }
    // One after the other: each stops the operator.
    Table::of(1, runs).await.conclude("Bad input: the key of the digests");
    world.is_clean().await.unwrap();
}
