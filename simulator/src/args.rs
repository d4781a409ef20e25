//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The ABEJA Platform Secret Manager as a local HTTP server, with scripted faults and a journal.
#[derive(Debug, Parser)]
#[command(name = "abeja-simulator", version)]
pub struct Args {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8300")]
    pub addr: SocketAddr,

    /// YAML file with what the simulator holds at start; absent: nothing, and nobody may call.
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,

    /// Level, or tracing directives.
    #[arg(long, default_value = "info", env = "ABEJA_SIMULATOR_LOG_LEVEL")]
    pub log_level: String,

    /// Keep bodies and credentials of requests in the journal. For recording what a client sends.
    #[arg(long)]
    pub journal_bodies: bool,
}
