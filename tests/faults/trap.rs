//! Stops the operator at one of its effects: the request waits or is lost, and the process is killed, or told to end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::proxy::{Action, Armed, Moment, Request, Rule};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::journal::{Entry, Requests};
use crate::subject::Subject;
use crate::world::{SOON, World};

/// What the operator does to Kubernetes and to the remote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    ListVersions,
    ReadVersion,
    AddFinalizer,
    WriteIntent,
    CreateVersion,
    CreateTarget,
    ChangeTarget,
    RemoveTarget,
    WriteRecord,
    NoteTarget,
    SetState,
    WriteState,
    DeleteVersion,
    RemoveFinalizer,
}

impl Effect {
    /// As it is called in tables and in the code.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ListVersions => "list",
            Self::ReadVersion => "get",
            Self::AddFinalizer => "add_finalizer",
            Self::WriteIntent => "write_intent",
            Self::CreateVersion => "POST",
            Self::CreateTarget | Self::ChangeTarget => "write_target",
            Self::RemoveTarget => "remove_target",
            Self::WriteRecord | Self::NoteTarget | Self::WriteState => "write_status",
            Self::SetState => "PATCH",
            Self::DeleteVersion => "DELETE",
            Self::RemoveFinalizer => "remove_finalizer",
        }
    }

    /// The call, where the effect is at the remote.
    fn operation(self) -> Option<&'static str> {
        match self {
            Self::ListVersions => Some("list_versions"),
            Self::ReadVersion => Some("get_version"),
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
            Self::NoteTarget => Some(status("\"target\":")),
            Self::WriteState => Some(status("\"state\":")),
            Self::RemoveTarget => Some(Rule::on("delete", "secrets").name(name)),
            Self::CreateTarget => Some(Rule::on("create", "secrets").when(body(&format!("\"name\":\"{name}\"")))),
            Self::ChangeTarget => Some(Rule::on("patch", "secrets").name(name)),
            Self::ListVersions | Self::ReadVersion | Self::CreateVersion | Self::SetState | Self::DeleteVersion => None,
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

/// How the operator is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stop {
    /// `kill -9`: what it waited for is lost to it.
    Kill,
    /// `SIGTERM`: what it waited for comes, and it must end within a pod's grace.
    Term,
    /// `SIGTERM`, and what it waited for never comes.
    TermInVain,
}

/// How long a pod has by default between the two.
const POD_GRACE: Duration = Duration::from_secs(30);

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
            let before = world.journal.of(&subject.secret_id).await?;
            let before = before.iter().filter(|entry| entry.is(operation)).count();
            world.fault(operation, &subject.secret_id, Some(1), &remote_fault(at)).await?;
            return Ok(Self::Remote(operation, at, before));
        }
        let rule = effect.rule(&subject.name).context("an effect is at one side or the other")?;
        let moment = if at == At::Before { Moment::Before } else { Moment::After };
        Ok(Self::Kubernetes(world.proxy.add(rule.namespace(&world.namespace), Action::Hold(moment))))
    }

    /// Waits until the operator is there, and stops it.
    pub(crate) async fn spring(self, world: &World<'_>, subject: &Subject, stop: Stop) -> Result<()> {
        match self {
            Self::Kubernetes(mut armed) => {
                let held = timeout(SOON, armed.hit()).await.context("the operator never came to the point")??;
                match stop {
                    Stop::Kill => {
                        world.kill()?;
                        held.cut();
                    }
                    Stop::Term => {
                        world.operator.process().signal(Signal::TERM)?;
                        held.release();
                        ends(world).await?;
                    }
                    Stop::TermInVain => {
                        world.operator.process().signal(Signal::TERM)?;
                        ends(world).await?;
                        held.cut();
                    }
                }
                world.proxy.clear();
            }
            Self::Remote(operation, at, before) => {
                let reached = |entry: &Entry| match at {
                    At::Before => entry.finished,
                    At::During => true,
                    At::After => entry.committed || (entry.is_read() && !entry.finished),
                };
                let next = |requests: &Requests| {
                    requests.values().filter(|entry| entry.is(operation)).skip(before).any(reached)
                };
                world.journal.until(SOON, "the request was sent", &subject.secret_id, next).await?;
                if stop == Stop::Kill {
                    world.kill()?;
                } else {
                    world.operator.process().signal(Signal::TERM)?;
                    ends(world).await?;
                }
            }
        }
        Ok(())
    }
}

/// Waits until the operator has ended as it was told.
async fn ends(world: &World<'_>) -> Result<()> {
    let process = world.operator.process();
    let code = timeout(POD_GRACE, process.wait()).await.context("it did not end within a pod's grace")??;
    ensure!(code == 0, "told to end, it ended with {code}");
    Ok(())
}

fn remote_fault(at: At) -> Value {
    match at {
        At::Before => json!({ "drop": { "at": "before_commit" } }),
        // Less than the client's timeout, more than it takes to kill it.
        At::During => json!({ "delay": { "at": "before_commit", "duration": "700ms" } }),
        At::After => json!({ "delay": { "at": "after_commit", "duration": "30s" } }),
    }
}
