//! A child that never outlives its parent, however the parent dies.
//!
//! `PR_SET_PDEATHSIG` needs unsafe code and follows the parent's thread rather
//! than the parent. A pipe does not: its reader sees the end of file when the
//! last writer is gone, after a panic, an exit or a `SIGKILL`. So a few lines of
//! `sh` stand between the two, and end the whole process group on that end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Descriptor 3 is the parent's life; the supervised command must not hold it.
/// The watcher kills its own process group: itself, the supervisor, the command
/// and whatever the command started. From the start of the command on, the shell
/// is silent: remarks such as "Terminated" are no part of the command's log.
const SCRIPT: &str = r#"
exec 3<&0
"$@" </dev/null >&2 3<&- &
child=$!
echo "$child"
exec >/dev/null 2>&1
{ read -r _ <&3; kill -KILL 0; } &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill -KILL "$watcher"
exit "$status"
"#;

/// A running command, tied to this process.
///
/// Dropped, it is killed at once, with everything that it started.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    life: Option<ChildStdin>,
    pid: Pid,
}

impl Supervised {
    /// Starts `command` (its program, arguments, environment and folder) in a
    /// process group of its own, so that a terminal's Ctrl-C reaches only the
    /// parent, which can then stop things in order. Both its outputs go to `log`.
    ///
    /// A program that does not exist shows as exit code 127, as in any shell.
    pub fn spawn(command: &Command, log: File) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SCRIPT, "supervisor"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let mut supervisor = shell.spawn().context("cannot start sh, which supervises every process")?;
        let life = supervisor.stdin.take();
        let stdout = supervisor.stdout.take().context("no pipe from the supervisor")?;
        let mut answer = String::new();
        BufReader::new(stdout).read_line(&mut answer)?;
        let pid = answer
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .with_context(|| format!("the supervisor gave no process id but {answer:?}"))?;
        Ok(Self { supervisor, life, pid })
    }

    /// The id of the command itself, not of its supervisor.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The exit code when the command has ended; 128 and the signal's number
    /// when a signal ended it.
    pub fn try_wait(&mut self) -> Result<Option<i32>> {
        Ok(self.supervisor.try_wait()?.map(code))
    }

    /// Sends a signal to the command; nothing when it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // The supervisor reaps the command, so its id is the command's own for
        // as long as the supervisor runs.
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        match kill_process(self.pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the command and waits until the system has taken back all it held,
    /// its ports among them.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.supervisor.wait()?;
        Ok(())
    }

    /// Blocks until the command ends, and calls `tick` with the time waited, a
    /// few times a second.
    pub fn wait_with(&mut self, mut tick: impl FnMut(Duration)) -> Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(code) = self.try_wait()? {
                return Ok(code);
            }
            tick(start.elapsed());
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The end of file is the order to kill, as it is when the parent dies.
        self.life = None;
        // An error means that it has been waited for already.
        let _ = self.supervisor.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
