//! One folder per run: logs, data, kubeconfigs.
//!
//! It goes when the run ends, however it ends, unless the run failed: then the
//! logs stay and their path is said. A run has failed when a test panics while it
//! holds anything of the run, or when somebody calls [`RunDir::keep`]. Removal is
//! the work of a small `sh` that outlives us, since a test process never drops what
//! its tests share.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use crate::progress::say;

/// Names the environment variable that keeps every run's folder.
pub const KEEP_ENV: &str = "KIT_KEEP_LOGS";

/// Left in the folder of a run that failed.
const KEEP_MARK: &str = "KEEP";

/// Waits for the end of the parent, then tidies. The processes of the run are
/// being killed in the same moment and may still write: hence the tries.
const JANITOR: &str = r#"
read -r _
if [ -e "$1/KEEP" ]; then what=$1/data; else what=$1; fi
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$what" && exit; sleep 1; done
"#;

/// A folder of this run, readable by its user alone.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    janitor: Child,
}

impl RunDir {
    /// Makes the folder under the system's temporary folder.
    pub fn create() -> Result<Arc<Self>> {
        let path =
            tempfile::Builder::new().prefix("svo-run-").tempdir().context("cannot make a folder for this run")?.keep();
        fs::create_dir(path.join("data"))?;
        let janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh, which tidies up after a run")?;
        let run = Arc::new(Self { path, janitor });
        if std::env::var_os(KEEP_ENV).is_some() {
            run.keep();
        }
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The part of the folder that is worth nothing after the run.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Writes a file that only its user may read, and gives its path.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A new log file: `name.log`, or `name-2.log` where that is taken.
    pub fn new_log(&self, name: &str) -> Result<PathBuf> {
        let mut number = 1;
        loop {
            let path = match number {
                1 => self.path.join(format!("{name}.log")),
                _ => self.path.join(format!("{name}-{number}.log")),
            };
            match File::create_new(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Keeps the logs of this run, and says once where they are.
    pub fn keep(&self) {
        if File::create_new(self.path.join(KEEP_MARK)).is_ok() {
            say(format!("logs are kept in {}", self.path.display()));
        }
    }

    /// Keeps the logs when the current thread panics: a test has failed.
    pub fn keep_if_panicking(&self) {
        if thread::panicking() {
            self.keep();
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        self.keep_if_panicking();
        drop(self.janitor.stdin.take());
        // Its result is a tidy folder or none: nothing to report.
        let _ = self.janitor.wait();
    }
}
