//! The binary: reads the command line and starts what it asks for.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use secret_version_operator::api;
use secret_version_operator::cli::{Cli, Command, RunArgs};
use secret_version_operator::config::{Config, Surroundings};
use secret_version_operator::run;

/// The system's allocators take more room for many small objects, and musl's is slow besides.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may never have begun, and standard error may be closed: there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run_operator(*args),
        Command::Crds => print(&api::crds_yaml()?),
        Command::Version => print(&Cli::command().render_version()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output cannot be written")
}

fn run_operator(args: RunArgs) -> anyhow::Result<()> {
    let config = Config::new(args, Surroundings::read())?;
    keep_memory_private().context("the process cannot be kept from being dumped")?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before main"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    let result = runtime.block_on(run::run(config));
    // What has not ended by the deadline of the shutdown is not waited for.
    runtime.shutdown_background();
    result
}

/// No core dump, and no reading of the memory by other processes of the same user: it holds secret values.
fn keep_memory_private() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
