//! The operator as a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::binaries::{self, Profile};
use crate::http;
use crate::ports;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::wait::eventually;

const READY_TIMEOUT: Duration = Duration::from_mins(1);
const TRIES: usize = 5;

/// What can be chosen about an operator.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The identity it runs under; see
    /// [`Cluster::kubeconfig_for_service_account`](crate::Cluster::kubeconfig_for_service_account).
    pub kubeconfig: PathBuf,
    /// More arguments of `secret-version-operator run`.
    pub args: Vec<String>,
    /// More environment variables.
    pub env: Vec<(String, String)>,
    /// A binary of another build, in place of this workspace's.
    pub binary: Option<PathBuf>,
    /// How the binary is compiled.
    pub profile: Profile,
}

/// A running `secret-version-operator run`. Dropped, it is killed.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    metrics_url: String,
    health_url: String,
}

impl Operator {
    /// Starts it, with its log in the folder of `run`, and returns at once. One
    /// that is not the leader need not become ready, so that waiting is up to
    /// the caller: [`Operator::wait_ready`].
    pub async fn launch(run: &Arc<RunDir>, options: &Options) -> Result<Self> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => binaries::path("secret-version-operator", options.profile).await?,
        };
        let metrics = format!("127.0.0.1:{}", ports::free()?);
        let health = format!("127.0.0.1:{}", ports::free()?);
        let mut command = Command::new(binary);
        // Settings of the person who runs the tests are not the tests' settings.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SVO_") {
                command.env_remove(name);
            }
        }
        command
            // A proxy of the environment cannot reach the loopback interface.
            .env("NO_PROXY", "127.0.0.1,localhost")
            .arg("run")
            .arg("--kubeconfig")
            .arg(&options.kubeconfig)
            .args(["--metrics-bind-address", &metrics])
            .args(["--health-probe-bind-address", &health])
            .args(&options.args)
            .envs(options.env.iter().map(|(name, value)| (name, value)));
        let operator = Self {
            process: Process::new("operator", command, run)?,
            metrics_url: format!("http://{metrics}/metrics"),
            health_url: format!("http://{health}"),
        };
        operator.process.start()?;
        Ok(operator)
    }

    /// Starts it and waits until it is ready.
    pub async fn start(run: &Arc<RunDir>, options: &Options) -> Result<Self> {
        for _ in 0..TRIES {
            let operator = Self::launch(run, options).await?;
            let Err(error) = operator.wait_ready().await else {
                return Ok(operator);
            };
            if !operator.process.found_port_taken() {
                run.keep();
                return Err(error);
            }
        }
        bail!("the chosen ports were taken by others {TRIES} times")
    }

    /// The process, to be stopped, killed, paused or restarted.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The URL of its metrics.
    pub fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    /// The base URL of its probes, `/livez` and `/readyz`.
    pub fn health_url(&self) -> &str {
        &self.health_url
    }

    /// Its metrics, in the Prometheus text format.
    pub async fn metrics(&self) -> Result<String> {
        http::get_text(&self.metrics_url).await
    }

    /// Waits until `/readyz` says so; fails at once when it has ended.
    pub async fn wait_ready(&self) -> Result<()> {
        let url = format!("{}/readyz", self.health_url);
        let ready = eventually(READY_TIMEOUT, "the operator is ready", || http::get_text(&url));
        self.process.unless_it_ends(ready).await?;
        Ok(())
    }
}
