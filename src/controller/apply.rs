//! Carries out effects: the only code that changes anything. Each notes its outcome for the next decision.

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::api::{Api, DeleteParams, Preconditions};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::api::v1alpha1::{SecretVersionStatus, VersionState};
use crate::domain::class::Class;
use crate::domain::create::SEND_WINDOW;
use crate::domain::observed::{SendFailure, Sent, Side, Trouble};
use crate::domain::outcome::{Outcome, classify, refused_for_good};
use crate::domain::reason::Reason;
use crate::domain::step::{Effect, Event};
use crate::ops::events::EventKind;
use crate::remote;

use super::error::{Error, in_words, remote_trouble};
use super::look;
use super::memory::{FateAt, lock};
use super::pass::{Pass, fresh_id};
use super::patch;
use super::target;

/// Acts, and notes the outcome.
pub(super) async fn apply(pass: &mut Pass<'_>, effect: Effect) -> Result<(), Error> {
    match effect {
        Effect::AddFinalizer => finalizer(pass, true).await,
        Effect::RemoveFinalizer { events } => {
            tell_all(pass, events).await;
            finalizer(pass, false).await?;
            if let (Some(place), Some(uid)) = (pass.place(), &pass.observed.cr.metadata.uid) {
                pass.ctx.places.release(&place, uid);
            }
            Err(Error::Gone)
        }
        Effect::WriteIntent { status, events } => {
            tell_all(pass, events).await;
            intent(pass, &status).await
        }
        Effect::WriteStatus { status, events } => {
            tell_all(pass, events).await;
            if !pass.write_status(&status).await? {
                not_persisted(pass);
            }
            Ok(())
        }
        Effect::CreateVersion { intent } => {
            create(pass, intent).await;
            Ok(())
        }
        Effect::SetState { version_id, state } => {
            set_state(pass, version_id, state).await;
            Ok(())
        }
        Effect::DeleteVersion { version_id } => {
            delete(pass, version_id).await;
            Ok(())
        }
        Effect::WriteTarget { version_id, policy } => target::write(pass, &version_id, policy).await,
        Effect::RemoveTarget { name, uid } => remove_target(pass, &name, &uid).await,
    }
}

/// Tells of what a write is about to settle. Told first and written then, it may be told twice, and never not at all: once
/// written, nothing remembers that it is to be told.
async fn tell_all(pass: &Pass<'_>, events: Vec<Event>) {
    for event in events {
        tell(pass, event).await;
    }
}

async fn tell(pass: &Pass<'_>, event: Event) {
    if event.warning {
        warn!(reason = event.reason.as_str(), "{}", event.note);
    } else {
        info!(reason = event.reason.as_str(), "{}", event.note);
    }
    pass.ctx.tell(&pass.observed.cr.object_ref(&()), &event).await;
}

async fn finalizer(pass: &mut Pass<'_>, wanted: bool) -> Result<(), Error> {
    let cr = pass.patch("writing the finalizer", None, |meta| patch::finalizer(meta, wanted)).await?;
    if wanted {
        lock(&pass.memory).finalizer_is_fresh = true;
    }
    pass.set_cr(cr, true);
    Ok(())
}

/// Makes an intent durable. Only what came back as it was sent counts.
async fn intent(pass: &mut Pass<'_>, status: &SecretVersionStatus) -> Result<(), Error> {
    let (Some(intent), Some(place)) = (&status.create, pass.place()) else { return Ok(()) };
    pass.intent_began = Some(Instant::now());
    pass.ctx.places.claim(&place, &intent.uid);
    lock(&pass.memory).intent = Some((intent.id.clone(), FateAt::NotSent));
    // Should this pass write another, it must not be taken for this one.
    pass.observed.fresh_id = fresh_id(pass.ctx);
    if pass.write_status(status).await? {
        lock(&pass.memory).intent = Some((intent.id.clone(), FateAt::Fresh));
        pass.remember();
    } else {
        not_persisted(pass);
    }
    Ok(())
}

fn not_persisted(pass: &mut Pass<'_>) {
    let message = "the apiserver did not keep what was written to status; install the definitions (CRDs) of this operator's version";
    pass.observed.seen.trouble = Some(Trouble {
        side: Side::Remote,
        class: Class::Transient,
        reason: Reason::NotPersisted,
        message: message.to_owned(),
    });
}

/// Sends one create, in a task that outlives this pass, so that its outcome is remembered whatever happens here.
async fn create(pass: &mut Pass<'_>, intent: String) {
    let (Some((remote, organization)), Some(place)) = (look::remote(pass), pass.place()) else { return };
    let in_time = pass.intent_began.is_some_and(|began| began.elapsed() < SEND_WINDOW);
    let (Some((bytes, _)), true, true) = (pass.source.clone(), in_time, pass.ctx.guard.may_act()) else {
        pass.observed.seen.sent = Some((intent.clone(), Sent::TooLate));
        lock(&pass.memory).intent = Some((intent, FateAt::NotSent));
        pass.remember();
        return;
    };
    {
        let mut memory = lock(&pass.memory);
        memory.intent = Some((intent.clone(), FateAt::Ambiguous(Instant::now())));
        memory.spend_create(Instant::now());
    }
    let memory = pass.memory.clone();
    let task_intent = intent.clone();
    let task = tokio::spawn(async move {
        let answer = remote.create_version(&organization, &place.secret_id, &bytes).await;
        lock(&memory).intent = Some((task_intent, FateAt::Ambiguous(Instant::now())));
        answer
    });
    let sent = match task.await {
        Ok(Ok(version)) => Sent::Answered(look::take_in(pass, version)),
        Ok(Err(error)) => Sent::Failed(failure(&error)),
        Err(_) => Sent::Failed(SendFailure {
            status: None,
            api_error: false,
            not_connected: false,
            retry_after: None,
            reason: Reason::InternalError,
            message: "the request's task ended without an answer".to_owned(),
        }),
    };
    note_outcome(pass, &intent, sent);
}

fn failure(error: &remote::Error) -> SendFailure {
    SendFailure {
        status: error.status(),
        api_error: error.is_api_error(),
        not_connected: error.not_connected(),
        retry_after: error.retry_after(),
        reason: error.reason(),
        message: in_words(error),
    }
}

fn note_outcome(pass: &mut Pass<'_>, intent: &str, sent: Sent) {
    let listed = pass.observed.seen.versions.as_ref().map_or(&[][..], |v| v.all.as_slice());
    let baseline = pass.observed.cr.status.as_ref().and_then(|s| s.create.as_ref()).map(|i| i.baseline.clone());
    let outcome = classify(&sent, listed, &baseline.unwrap_or_default());
    match (outcome, &sent) {
        (Outcome::Created, Sent::Answered(version)) => {
            lock(&pass.memory).known.insert(version.id.clone());
            pass.ctx.metrics.remote_effect("create_version");
            let note = format!("created version {} ({})", version.number, version.id);
            info!(reason = Reason::VersionCreated.as_str(), "{note}");
            let object = pass.observed.cr.object_ref(&());
            pass.ctx.mention(object, EventKind::Normal, Reason::VersionCreated.as_str(), &note);
        }
        (Outcome::Rejected, Sent::Failed(failure)) => {
            let for_good = refused_for_good(failure);
            let fate = if for_good { FateAt::Refused } else { FateAt::Rejected };
            let mut memory = lock(&pass.memory);
            memory.intent = Some((intent.to_owned(), fate));
            memory.refused = for_good.then(|| Box::new(pass.stimulus.clone()));
        }
        (Outcome::Ambiguous, Sent::Failed(failure)) => {
            warn!("the outcome of a create is not known: {}", failure.message);
        }
        _ => {}
    }
    match outcome {
        // What the list showed before says nothing of what was sent since.
        Outcome::Ambiguous => (pass.observed.seen.sent, pass.observed.seen.versions) = (None, None),
        Outcome::Created | Outcome::Referenced | Outcome::Rejected | Outcome::NotSent => {
            pass.observed.seen.sent = Some((intent.to_owned(), sent));
        }
    }
    pass.remember();
    pass.compare();
}

async fn set_state(pass: &mut Pass<'_>, id: String, state: VersionState) {
    let (Some((remote, organization)), Some(place)) = (look::remote(pass), pass.place()) else { return };
    match remote.set_version_state(&organization, &place.secret_id, &id, state).await {
        Ok(version) => {
            let (reason, label, word) = match state {
                VersionState::Active => (Reason::VersionActivated, "activate_version", "activated"),
                VersionState::Inactive => (Reason::VersionDeactivated, "deactivate_version", "deactivated"),
            };
            pass.ctx.metrics.remote_effect(label);
            let note = format!("{word} version {} ({id})", version.number);
            let version = look::take_in(pass, version);
            for old in pass.observed.seen.all_mut().filter(|v| v.id == id) {
                (old.state, old.updated_at) = (version.state, version.updated_at.clone());
            }
            if version.state != state {
                let message =
                    format!("the remote answered the switch of version {id} with another state than asked for");
                pass.observed.seen.trouble = Some(Trouble {
                    side: Side::Remote,
                    class: Class::Transient,
                    reason: Reason::RemoteConflict,
                    message,
                });
                return;
            }
            tell(pass, Event::normal(reason, note)).await;
        }
        Err(error) => pass.observed.seen.trouble = Some(remote_trouble(&error)),
    }
}

async fn delete(pass: &mut Pass<'_>, id: String) {
    let (Some((remote, organization)), Some(place)) = (look::remote(pass), pass.place()) else { return };
    match remote.delete_version(&organization, &place.secret_id, &id).await {
        Ok(()) => {
            let number = pass.observed.seen.find(&id).map_or_else(|| "?".to_owned(), |v| v.number.to_string());
            pass.ctx.metrics.remote_effect("delete_version");
            tell(pass, Event::normal(Reason::VersionDeleted, format!("deleted version {number} ({id})"))).await;
            pass.observed.seen.deleted.insert(id);
        }
        // Some remotes refuse to delete what is active.
        Err(error) if error.status() == Some(409) && !pass.observed.seen.deactivate_first.contains(&id) => {
            pass.observed.seen.deactivate_first.insert(id);
        }
        Err(error) => pass.observed.seen.trouble = Some(remote_trouble(&error)),
    }
}

/// Deletes the Secret that was the target before, if it still is the one that was written and is owned by this resource.
async fn remove_target(pass: &mut Pass<'_>, name: &str, uid: &str) -> Result<(), Error> {
    let api: Api<Secret> = Api::namespaced(pass.ctx.client.clone(), pass.namespace());
    let op = "removing the former target";
    let former = api.get_opt(name).await.map_err(|e| Error::kube(op, e))?;
    pass.observed.seen.former_target_done = true;
    let Some(former) =
        former.filter(|s| s.metadata.uid.as_deref() == Some(uid) && target::is_owned(s, &pass.observed.cr))
    else {
        return Ok(());
    };
    let preconditions = Preconditions { uid: former.metadata.uid, resource_version: former.metadata.resource_version };
    match api.delete(name, &DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }).await {
        Ok(_) => {
            tell(
                pass,
                Event::normal(Reason::TargetRemoved, format!("removed Secret {name}, which is no longer the target")),
            )
            .await;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => {
            error!("the former target could not be removed");
            Err(Error::kube(op, error))
        }
    }
}
