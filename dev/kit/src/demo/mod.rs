//! `make demo`: the operator's story, told by real processes in a terminal.
//!
//! What is printed after a `$` is what was run, and below it is what it printed.

mod play;
mod remote;
mod stage;
mod story;
mod terminal;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;
use terminal::Terminal;

/// What the environment says.
struct Wishes {
    /// `ONCE=1`: end after the story.
    once: bool,
    /// `DEMO_KUBECONFIG`: a cluster of the user's own.
    kubeconfig: Option<PathBuf>,
}

impl Wishes {
    fn read() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty() && value != "0");
        Self { once: set("ONCE").is_some(), kubeconfig: set("DEMO_KUBECONFIG").map(PathBuf::from) }
    }
}

/// Sets everything up, tells the story, stays up unless told otherwise, and tidies up. An error when any step did not do
/// what the story says.
pub(crate) async fn run() -> Result<()> {
    let wishes = Wishes::read();
    let terminal = Terminal::new();
    let begin = Instant::now();
    // Until here Ctrl-C ends the process at once: nothing has been touched that outlives it.
    let mut stage = Stage::prepare(wishes.kubeconfig.as_deref(), &terminal).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let result = tokio::select! {
        result = perform(&mut stage, &terminal, &wishes, begin) => result,
        _ = interrupt.recv() => stopped(wishes.once),
        _ = terminate.recv() => stopped(wishes.once),
    };
    if result.is_err() {
        stage.explain(&terminal);
    }
    let tidied = tokio::select! {
        tidied = stage.tidy_up(&terminal) => tidied,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted while tidying up: {}", stage.left_behind())),
    };
    result.and(tidied)
}

async fn perform(stage: &mut Stage, terminal: &Terminal, wishes: &Wishes, begin: Instant) -> Result<()> {
    stage.set_up(terminal).await?;
    let stage = &*stage;
    let operator = stage.operator()?.process();
    operator.unless_it_ends(story::tell(stage, terminal)).await?;
    terminal.say(&format!("The story took {:.0} s, set-up included.", begin.elapsed().as_secs_f32()));
    if wishes.once {
        return Ok(());
    }
    play::explain(stage, terminal)?;
    let code = operator.wait().await.context("the operator cannot be watched")?;
    bail!("the operator ended with code {code}; {}", operator.log_tail())
}

/// Somebody who plays ends it so; a story that is to be told once was not told to its end.
fn stopped(once: bool) -> Result<()> {
    if once {
        bail!("interrupted");
    }
    Ok(())
}
