//! The workspace's own binaries, as the tests and the demo run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// Names a folder that holds the binaries already; nothing is built then.
pub const BIN_DIR_ENV: &str = "SVO_BIN_DIR";

/// How binaries are compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    #[default]
    Dev,
    /// As shipped: for benchmarks.
    Release,
}

type Built = OnceCell<Result<HashMap<String, PathBuf>, String>>;

/// The path of a binary of this workspace: from the folder that `SVO_BIN_DIR`
/// names, else built with cargo, once per process and profile.
pub async fn path(name: &str, profile: Profile) -> Result<PathBuf> {
    static DEV: Built = OnceCell::const_new();
    static RELEASE: Built = OnceCell::const_new();
    if let Some(folder) = std::env::var_os(BIN_DIR_ENV) {
        let path = Path::new(&folder).join(name);
        if !path.is_file() {
            bail!("{BIN_DIR_ENV} is set, but there is no {}", path.display());
        }
        return Ok(path);
    }
    let built = match profile {
        Profile::Dev => &DEV,
        Profile::Release => &RELEASE,
    };
    built
        .get_or_init(|| async move {
            let built = spawn_blocking(move || build(profile)).await;
            built.map_err(anyhow::Error::from).flatten().map_err(|error| format!("{error:#}"))
        })
        .await
        .as_ref()
        .map_err(|error| anyhow!("{error}"))?
        .get(name)
        .cloned()
        .with_context(|| format!("this workspace has no binary {name}"))
}

/// One line of cargo's messages; those that are about no binary have less.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Cargo says itself where it puts what, whatever the target folder.
fn build(profile: Profile) -> Result<HashMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--workspace", "--bins", "--quiet"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    if profile == Profile::Release {
        command.arg("--release");
    }
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo build --workspace --bins: {}", output.status);
    }
    String::from_utf8(output.stdout)?
        .lines()
        .map(|line| Ok(serde_json::from_str::<Message>(line)?))
        .filter_map(|message| match message {
            Ok(message) => Some(Ok((message.target?.name, message.executable?))),
            Err(error) => Some(Err(error)),
        })
        .collect()
}
