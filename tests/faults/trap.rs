//! Stops the operator at one of its effects: the request waits or is lost, and the process is killed.

use anyhow::{Context, Result};
use kit::proxy::{Action, Armed, Moment, Request, Rule};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::journal::{Entry, Requests};
use crate::subject::Subject;
use crate::world::{SOON, World};

/// What the operator does to Kubernetes and to the remote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    AddFinalizer,
    WriteIntent,
    CreateVersion,
    CreateTarget,
    ChangeTarget,
    WriteRecord,
    SetState,
    WriteState,
    DeleteVersion,
    RemoveFinalizer,
}

impl Effect {
    /// As it is called in tables and in the code.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::WriteIntent => "write_intent",
            Self::CreateVersion => "POST",
            Self::CreateTarget | Self::ChangeTarget => "write_target",
            Self::WriteRecord | Self::WriteState => "write_status",
            Self::SetState => "PATCH",
            Self::DeleteVersion => "DELETE",
            Self::RemoveFinalizer => "remove_finalizer",
        }
    }

    /// The call, where the effect is at the remote.
    fn operation(self) -> Option<&'static str> {
        match self {
            Self::CreateVersion => Some("create_version"),
            Self::SetState => Some("update_version"),
            Self::DeleteVersion => Some("delete_version"),
            _ => None,
        }
    }

    /// The request to the apiserver, where it is one.
    pub(crate) fn rule(self, name: &str) -> Option<Rule> {
        let body = |part: &str| {
            let part = part.to_owned();
            move |request: &Request| String::from_utf8_lossy(&request.body).contains(&part)
        };
        let resource = || Rule::on("patch", "secretversions").name(name);
        let status = |part: &str| Rule::on("patch", "secretversions/status").name(name).when(body(part));
        match self {
            Self::AddFinalizer | Self::RemoveFinalizer => Some(resource()),
            Self::WriteIntent => Some(status("\"create\":{")),
            Self::WriteRecord => Some(status("\"history\":")),
            Self::WriteState => Some(status("\"state\":\"Inactive\"")),
            Self::CreateTarget => Some(Rule::on("create", "secrets").when(body(&format!("\"name\":\"{name}\"")))),
            Self::ChangeTarget => Some(Rule::on("patch", "secrets").name(name)),
            Self::CreateVersion | Self::SetState | Self::DeleteVersion => None,
        }
    }
}

/// When, beside the effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum At {
    /// The request was sent, and never takes effect.
    Before,
    /// The request takes effect when its sender is dead.
    During,
    /// The request took effect, and its sender does not know.
    After,
}

/// What will stop the operator.
pub(crate) enum Trap {
    /// In the proxy before the apiserver.
    Kubernetes(Armed),
    /// In the simulator: the call, and how many of it were there before.
    Remote(&'static str, At, usize),
}

impl Trap {
    /// Waits for a subject's next effect of this kind.
    pub(crate) async fn set(world: &World<'_>, subject: &Subject, effect: Effect, at: At) -> Result<Self> {
        if let Some(operation) = effect.operation() {
            world.fault(operation, &subject.secret_id, Some(1), &remote_fault(at)).await?;
            let before = world.journal.of(&subject.secret_id).await?;
            let before = before.iter().filter(|entry| entry.is(operation)).count();
            return Ok(Self::Remote(operation, at, before));
        }
        let rule = effect.rule(&subject.name).context("an effect is at one side or the other")?;
        let moment = if at == At::Before { Moment::Before } else { Moment::After };
        Ok(Self::Kubernetes(world.proxy.add(rule.namespace(&world.namespace), Action::Hold(moment))))
    }

    /// Waits until the operator is there, and kills it.
    pub(crate) async fn spring(self, world: &World<'_>, subject: &Subject) -> Result<()> {
        match self {
            Self::Kubernetes(mut armed) => {
                let held = timeout(SOON, armed.hit()).await.context("the operator never came to the point")??;
                world.kill()?;
                held.cut();
                world.proxy.clear();
            }
            Self::Remote(operation, at, before) => {
                let reached = |entry: &Entry| match at {
                    At::Before => entry.finished,
                    At::During => true,
                    At::After => entry.committed,
                };
                let next = |requests: &Requests| {
                    requests.values().filter(|entry| entry.is(operation)).nth(before).is_some_and(reached)
                };
                world.journal.until(SOON, "the request was sent", &subject.secret_id, next).await?;
                world.kill()?;
            }
        }
        Ok(())
    }
}

fn remote_fault(at: At) -> Value {
    match at {
        At::Before => json!({ "drop": { "at": "before_commit" } }),
        // Less than the client's timeout, more than it takes to kill it.
        At::During => json!({ "delay": { "at": "before_commit", "duration": "700ms" } }),
        At::After => json!({ "delay": { "at": "after_commit", "duration": "30s" } }),
    }
}
