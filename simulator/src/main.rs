//! `abeja-simulator`: reads the seed, listens, and says where.

use std::io::Write as _;

use abeja_simulator::Simulator;
use abeja_simulator::args::Args;
use abeja_simulator::seed::Seed;
use anyhow::Context as _;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&args.log_level).context("--log-level")?)
        .with_writer(std::io::stderr)
        .init();

    let seed = match &args.seed {
        Some(path) => {
            let named = || format!("seed {}", path.display());
            let text = std::fs::read_to_string(path).with_context(named)?;
            Seed::from_yaml(&text).with_context(named)?
        }
        None => Seed::default(),
    };
    let simulator = Simulator::new(&seed, args.journal_bodies)?;

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });

    let listener = TcpListener::bind(args.addr).await.with_context(|| format!("listen on {}", args.addr))?;
    // Who started the process waits for this line, and learns the port from it.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;

    simulator.serve(listener, shutdown).await;
    Ok(())
}
