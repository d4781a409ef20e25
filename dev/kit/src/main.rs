//! `kit`: the control plane and the demo for a person at a terminal, and for `make`.
#![allow(clippy::print_stdout, reason = "a command line tool: standard output is its interface")]

mod demo;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kit::assets::{self, Binary};
use kit::controlplane::{ControlPlane, Options};
use kit::progress::say;
use tokio::signal::unix::{SignalKind, signal};

/// Starts and stops the control plane for tests and the demo.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is missing of the control plane's binaries, and print where each is
    Assets,
    /// Tell the operator's story on real processes, then stay up to play
    ///
    /// With ONCE=1 in the environment it ends after the story. `DEMO_KUBECONFIG` names a cluster of your own to run it in.
    Demo,
    /// Start a control plane, print how to use it, and stay until Ctrl-C
    Up,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Assets => print_assets(),
        Task::Demo => demo::run().await,
        Task::Up => up().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes without a backtrace: the reader did not write this.
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Blocks the runtime, on which nothing else runs. Ctrl-C ends the process at
/// once, and with it what it builds.
fn print_assets() -> Result<()> {
    let assets = assets::resolve(&Binary::ALL)?;
    for binary in Binary::ALL {
        match assets.get(binary) {
            Some(path) => println!("{}", path.display()),
            None => println!("no {} in {}", binary.name(), assets::ASSETS_ENV),
        }
    }
    Ok(())
}

async fn up() -> Result<()> {
    let begin = Instant::now();
    let plane = ControlPlane::start(Options::default()).await?;
    // Before anybody can know that we are up.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    say(format!(
        "up after {:.1} s; logs in {}; Ctrl-C ends it",
        begin.elapsed().as_secs_f32(),
        plane.run_dir().path().display()
    ));
    println!("export KUBECONFIG={}", plane.kubeconfig_admin().display());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say("stopping");
    plane.stop().await
}
