//! A cluster from outside: kubectl, helm, kubeconfigs, namespaces. Ours or a
//! user's own.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::assets::{self, Assets, Binary};
use crate::kubeconfig;
use crate::ports::random_hex;
use crate::run_dir::RunDir;

/// A cluster, seen as the administrator that its kubeconfig names.
#[derive(Debug)]
pub struct Cluster {
    assets: Assets,
    kubeconfig: PathBuf,
    run: Arc<RunDir>,
}

impl Cluster {
    pub(crate) fn new(assets: Assets, kubeconfig: PathBuf, run: Arc<RunDir>) -> Self {
        Self { assets, kubeconfig, run }
    }

    /// A cluster that exists already. Only kubectl and helm are built for it.
    pub async fn existing(kubeconfig: &Path) -> Result<Self> {
        let assets = tokio::task::spawn_blocking(|| assets::resolve(&[Binary::Kubectl, Binary::Helm])).await??;
        let kubeconfig =
            kubeconfig.canonicalize().with_context(|| format!("no kubeconfig {}", kubeconfig.display()))?;
        Ok(Self::new(assets, kubeconfig, RunDir::create()?))
    }

    /// The binaries that it was started from, and what is absent among them.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The folder of logs, data and kubeconfigs.
    pub fn run_dir(&self) -> &Arc<RunDir> {
        &self.run
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig_admin(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Writes the kubeconfig of a ServiceAccount, with a token for 24 hours.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let view = ["config", "view", "--raw", "--minify", "--flatten", "-o", "json"];
        let admin: Value = serde_json::from_str(&self.kubectl(&view).await?.ok()?)?;
        let create = ["create", "token", name, "-n", namespace, "--duration=24h"];
        let token = self.kubectl(&create).await?.ok()?;
        let config = kubeconfig::as_other_user(&admin, token.trim())?;
        let file = format!("kubeconfig-{namespace}-{name}.json");
        self.run.write(&file, config.to_string().as_bytes())
    }

    /// Runs kubectl as the administrator. An error only when it cannot be run.
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_as(&self.kubeconfig, args).await
    }

    /// Runs kubectl with another kubeconfig.
    pub async fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<Output> {
        run(self.kubectl_command(kubeconfig)?, args, None).await
    }

    /// Applies a manifest (`kubectl apply -f -`) and gives what kubectl printed.
    /// A refusal is an error.
    pub async fn kubectl_apply(&self, yaml: &str) -> Result<String> {
        let command = self.kubectl_command(&self.kubeconfig)?;
        run(command, &["apply", "-f", "-"], Some(yaml)).await?.ok()
    }

    /// Runs kubectl with a text on its standard input.
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<Output> {
        run(self.kubectl_command(&self.kubeconfig)?, args, Some(input)).await
    }

    /// Runs helm as the administrator. An error when helm is absent.
    pub async fn helm(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.assets.path(Binary::Helm)?);
        self.set_environment(&mut command, &self.kubeconfig);
        run(command, args, None).await
    }

    /// Runs a script of `sh` in `folder` as the administrator, with kubectl and helm in its path: what a person would
    /// type.
    pub async fn shell(&self, folder: &Path, script: &str) -> Result<Output> {
        let mut command = Command::new("sh");
        command.current_dir(folder).env("PATH", self.path()?);
        self.set_environment(&mut command, &self.kubeconfig);
        let output = run(command, &["-c", script], None).await?;
        Ok(Output { command: script.to_owned(), ..output })
    }

    /// The search path of this process, with kubectl and helm found first.
    pub fn path(&self) -> Result<OsString> {
        let mut folders = Vec::new();
        for binary in [Binary::Kubectl, Binary::Helm] {
            let folder = self.assets.path(binary)?.parent().context("a binary in a folder")?.to_owned();
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        Ok(env::join_paths(folders)?)
    }

    /// Makes a namespace with a name of its own: `prefix` and a random suffix.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = format!("{prefix}-{}", random_hex::<3>()?);
        self.kubectl(&["create", "namespace", &name]).await?.ok()?;
        Ok(Namespace { name, run: Arc::clone(&self.run) })
    }

    /// The apiserver's metrics, in the Prometheus text format.
    pub async fn metrics(&self) -> Result<String> {
        self.kubectl(&["get", "--raw", "/metrics"]).await?.ok()
    }

    fn kubectl_command(&self, kubeconfig: &Path) -> Result<Command> {
        let mut command = Command::new(self.assets.path(Binary::Kubectl)?);
        self.set_environment(&mut command, kubeconfig);
        Ok(command)
    }

    fn set_environment(&self, command: &mut Command, kubeconfig: &Path) {
        let home = self.run.data().join("helm");
        command
            .env("KUBECONFIG", kubeconfig)
            // The user's cache of discovery is keyed by address, and an earlier
            // run may have had ours; the user's preferences are not ours.
            .env("KUBECACHEDIR", self.run.data().join("kubectl"))
            .env("KUBERC", "off")
            // Neither repositories nor plugins of the user.
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"));
    }
}

async fn run(mut command: Command, args: &[&str], input: Option<&str>) -> Result<Output> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that ends without reading says why on its own.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    Ok(Output {
        command: format!("{program} {}", args.join(" ")),
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
#[must_use = "a command may have failed"]
pub struct Output {
    /// The command as a person would type it.
    pub command: String,
    /// The exit code; -1 when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Standard output of a command that succeeded, else an error with its
    /// standard error.
    pub fn ok(self) -> Result<String> {
        if !self.success() {
            bail!("{} ended with code {}: {}{}", self.command, self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// A namespace of one test, used as its name. A test that panics while it has
/// one keeps the logs of the run.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    run: Arc<RunDir>,
}

impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.run.keep_if_panicking();
    }
}
