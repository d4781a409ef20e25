//! A named process with one log, that a test can stop, kill, pause and restart.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::run_dir::RunDir;
use crate::supervisor::Supervised;

/// How long a stopped process may take to end before it is killed.
pub const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// Not tied to any async runtime, so that processes shared by tests survive the
/// runtime of the test that started them: ends are polled for at this pace.
const POLL: Duration = Duration::from_millis(10);

/// A process that keeps its command line, so that it can be started again with
/// the same ports and data. Dropped, it is killed.
pub struct Process {
    name: String,
    command: Command,
    log: PathBuf,
    run: Arc<RunDir>,
    running: Mutex<Option<Supervised>>,
}

impl Process {
    /// Prepares a process; `command` gives program, arguments, environment and
    /// folder. All its starts append to one log in the folder of the run.
    pub fn new(name: &str, command: Command, run: &Arc<RunDir>) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            command,
            log: run.new_log(name)?,
            run: Arc::clone(run),
            running: Mutex::new(None),
        })
    }

    /// What it is called in messages and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds both its outputs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it. An error when it runs already.
    pub fn start(&self) -> Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        let child = Supervised::spawn(&self.command, log).with_context(|| format!("cannot start {}", self.name))?;
        *self.running() = Some(child);
        Ok(())
    }

    /// Whether it has been started and has not ended. A paused process runs.
    pub fn is_running(&self) -> bool {
        matches!(self.exit_code(), Ok(None)) && self.running().is_some()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        if !self.is_running() {
            return None;
        }
        self.running().as_ref().map(Supervised::pid)
    }

    /// The exit code of its last start, when that has ended; 128 and the
    /// signal's number when a signal ended it.
    pub fn exit_code(&self) -> Result<Option<i32>> {
        match self.running().as_mut() {
            Some(child) => child.try_wait(),
            None => Ok(None),
        }
    }

    /// Waits until it ends by itself or by a signal, and gives the exit code.
    pub async fn wait(&self) -> Result<i32> {
        loop {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            if self.running().is_none() {
                bail!("{} was never started", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end (`SIGTERM`), waits, and gives the exit code. A paused
    /// process is resumed for it. Past [`STOP_DEADLINE`] it is killed, and that
    /// is an error.
    pub async fn stop(&self) -> Result<i32> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)?;
        let start = Instant::now();
        while start.elapsed() < STOP_DEADLINE {
            if let Some(code) = self.exit_code()? {
                return Ok(code);
            }
            if self.running().is_none() {
                bail!("{} was never started", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill()?;
        self.run.keep();
        bail!("{} did not stop within {} s and was killed\n{}", self.name, STOP_DEADLINE.as_secs(), self.log_tail())
    }

    /// Ends it at once (`SIGKILL`), and returns when its ports are free again.
    pub fn kill(&self) -> Result<()> {
        match self.running().as_mut() {
            Some(child) => child.kill(),
            None => Ok(()),
        }
    }

    /// Freezes it (`SIGSTOP`): connections stay open, nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on (`SIGCONT`).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends any signal; nothing when it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.running().as_mut() {
            Some(child) => child.signal(signal).with_context(|| format!("cannot signal {}", self.name)),
            None => Ok(()),
        }
    }

    /// Stops it if it runs, and starts it again: same command line, same data.
    pub async fn restart(&self) -> Result<()> {
        if self.is_running() {
            self.stop().await?;
        }
        self.start()
    }

    /// The end of its log, for the message of a failure.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 20;
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("the end of {}:\n{tail}", self.log.display())
    }

    /// Whether its log says that a port was taken: somebody was faster between
    /// the choice of the port and its use.
    pub fn found_port_taken(&self) -> bool {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).to_lowercase().contains("address already in use")
    }

    /// Runs `ready` to its end, unless the process ends first: then an error
    /// with the end of its log.
    pub async fn unless_it_ends<T>(&self, ready: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = ready => result,
            code = self.wait() => {
                bail!("{} ended with code {}; {}", self.name, code?, self.log_tail())
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Supervised>> {
        // No step under this lock can leave a child half started.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.run.keep_if_panicking();
    }
}

impl fmt::Debug for Process {
    /// The command line is left out: an argument may carry a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
