//! The simulator of the remote as a process.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::Value;

use crate::binaries::{self, Profile};
use crate::http;
use crate::ports;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::wait::eventually;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const TRIES: usize = 5;

/// What can be chosen about a simulator.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How the binary is compiled.
    pub profile: Profile,
    /// More arguments.
    pub args: Vec<String>,
}

/// A running `abeja-simulator`. What it holds is in memory: started again, it
/// holds its seed. Paused, it still does. Dropped, it is killed.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    url: String,
}

impl Simulator {
    /// Starts it with a seed (YAML text) and waits until it answers. Its log
    /// and its seed go to the folder of `run`.
    pub async fn start(run: &Arc<RunDir>, seed: &str, options: Options) -> Result<Self> {
        let binary = binaries::path("abeja-simulator", options.profile).await?;
        for _ in 0..TRIES {
            let port = ports::free()?;
            let seed = run.write(&format!("simulator-{port}.yaml"), seed.as_bytes())?;
            let mut command = Command::new(&binary);
            command.arg("--addr").arg(format!("127.0.0.1:{port}")).arg("--seed").arg(seed).args(&options.args);
            let simulator =
                Self { process: Process::new("simulator", command, run)?, url: format!("http://127.0.0.1:{port}") };
            simulator.process.start()?;
            let Err(error) = simulator.wait_ready().await else {
                return Ok(simulator);
            };
            if !simulator.process.found_port_taken() {
                run.keep();
                return Err(error);
            }
        }
        bail!("the chosen ports were taken by others {TRIES} times")
    }

    /// Its base URL, with no slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, to be stopped, killed, paused or restarted.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it answers; fails at once when it has ended.
    pub async fn wait_ready(&self) -> Result<()> {
        let url = format!("{}/_control/healthz", self.url);
        let ready = eventually(READY_TIMEOUT, "the simulator answers", || http::get_text(&url));
        self.process.unless_it_ends(ready).await?;
        Ok(())
    }

    /// Asks the control API: `path` such as `/journal?since=3`, `body` as JSON.
    /// Gives the answer, `null` when there is none. A refusal is an error with
    /// what the simulator says about it.
    pub async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let url = format!("{}/_control{path}", self.url);
        let request = http::client()?.request(method.clone(), &url).body(body);
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{method} {url} answered {status}: {text}");
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {url} answered no JSON"))
    }

    /// Throws away what it holds and starts over from a seed (YAML text).
    pub async fn seed(&self, yaml: &str) -> Result<()> {
        let url = format!("{}/_control/seed", self.url);
        let request = http::client()?.put(&url).body(yaml.to_owned());
        let response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            bail!("the simulator refused the seed: {}", response.text().await?);
        }
        Ok(())
    }

    /// Everything it holds, values included.
    pub async fn state(&self) -> Result<Value> {
        self.control(Method::GET, "/state", None).await
    }

    /// The requests it has had, oldest first.
    pub async fn journal(&self) -> Result<Vec<Value>> {
        let page = self.control(Method::GET, "/journal", None).await?;
        let entries = page.get("entries").and_then(Value::as_array);
        Ok(entries.context("a journal without entries")?.clone())
    }

    /// Scripts a fault, and gives its id.
    pub async fn add_fault(&self, fault: &Value) -> Result<u64> {
        let answer = self.control(Method::POST, "/faults", Some(fault)).await?;
        let id = answer.get("id").and_then(Value::as_u64);
        id.context("a fault without an id")
    }

    /// Removes all scripted faults.
    pub async fn clear_faults(&self) -> Result<()> {
        self.control(Method::DELETE, "/faults", None).await?;
        Ok(())
    }
}
