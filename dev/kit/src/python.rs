//! Virtual environments of Python, made once per list of requirements.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::progress::say;

/// What a person without Python has to do.
const INSTALL: &str = "install Python 3 with its venv module (Debian, Ubuntu: apt-get install python3 python3-venv; \
     Fedora: dnf install python3; macOS: brew install python)";

/// Gives the Python of a virtual environment that holds `requirements`, and
/// makes the environment in the cache where it is missing or broken.
///
/// `name` is for people; requirements should be pinned (`package==1.2.3`), as
/// an environment is never updated. Blocks for as long as `pip install` takes.
pub fn venv(name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let key = cache::key(requirements.iter().map(|one| one.as_bytes()));
    let folder = cache::root()?.join(format!("python-{name}-{key}"));
    let _lock = cache::lock(&folder)?;
    let env = folder.join("venv");
    let python = env.join("bin").join("python");
    // Scripts in an environment name its path, so it is made where it stays,
    // and a mark tells whole from half.
    let complete = folder.join("complete");
    if complete.exists() && works(&python) {
        return Ok(python);
    }
    if complete.exists() {
        fs::remove_file(&complete)?;
    }
    if env.exists() {
        fs::remove_dir_all(&env)?;
    }
    say(format!("installing {} from PyPI into {} (less than a minute)", requirements.join(" "), folder.display()));
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&env);
    quiet(&mut make).with_context(|| format!("python3 -m venv failed: {INSTALL}"))?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .arg("--disable-pip-version-check")
        .args(requirements);
    quiet(&mut install).context("pip install failed")?;
    fs::write(&complete, requirements.join("\n"))?;
    Ok(python)
}

/// False too when the Python that the environment was made from is gone.
fn works(python: &PathBuf) -> bool {
    quiet(Command::new(python).args(["-c", ""])).is_ok()
}

fn quiet(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
