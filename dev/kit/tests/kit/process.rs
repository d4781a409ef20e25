//! Start, stop, kill, pause, resume, restart, with cheap processes.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use kit::eventually;
use kit::process::Process;
use kit::run_dir::RunDir;

const SOON: Duration = Duration::from_secs(20);

fn shell(run: &Arc<RunDir>, script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::new("script", command, run).unwrap()
}

async fn log_has(process: &Process, text: &str) {
    eventually(SOON, "the log has the line", || async {
        let log = fs::read_to_string(process.log())?;
        ensure!(log.contains(text), "{log}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The letter in the third field of `/proc/PID/stat`; `None` when it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn both_outputs_are_logged_and_the_code_is_told() {
    let run = RunDir::create().unwrap();
    let process = shell(&run, "echo out; echo err >&2; exit 7");
    process.start().unwrap();
    assert_eq!(process.wait().await.unwrap(), 7);
    assert!(!process.is_running());
    let log = fs::read_to_string(process.log()).unwrap();
    assert_eq!(log, "out\nerr\n");
}

#[tokio::test]
async fn a_missing_program_ends_with_127() {
    let run = RunDir::create().unwrap();
    let process = Process::new("none", Command::new("/does/not/exist"), &run).unwrap();
    process.start().unwrap();
    assert_eq!(process.wait().await.unwrap(), 127);
    let log = fs::read_to_string(process.log()).unwrap();
    assert!(log.contains("/does/not/exist"), "{log}");
}

#[tokio::test]
async fn stop_lets_a_process_end_in_order_even_when_paused() {
    let run = RunDir::create().unwrap();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let process = shell(&run, script);
    process.start().unwrap();
    log_has(&process, "ready").await;
    assert!(process.start().is_err(), "it runs already");
    process.pause().unwrap();
    assert_eq!(process.stop().await.unwrap(), 3);
    log_has(&process, "bye").await;
}

#[tokio::test]
async fn kill_ends_a_process_that_will_not_stop() {
    let run = RunDir::create().unwrap();
    let process = shell(&run, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    process.start().unwrap();
    log_has(&process, "ready").await;
    let pid = process.pid().unwrap();
    process.kill().unwrap();
    assert_eq!(state(pid), None, "it is gone when kill returns");
    assert_eq!(process.exit_code().unwrap(), Some(128 + 9));
}

#[tokio::test]
async fn a_paused_process_is_frozen_until_resumed() {
    let run = RunDir::create().unwrap();
    let process = shell(&run, "while :; do sleep 0.05; done");
    process.start().unwrap();
    let pid = process.pid().unwrap();
    process.pause().unwrap();
    eventually(SOON, "it is stopped", || async {
        ensure!(state(pid) == Some('T'), "{:?}", state(pid));
        Ok(())
    })
    .await
    .unwrap();
    assert!(process.is_running());
    process.resume().unwrap();
    eventually(SOON, "it goes on", || async {
        ensure!(matches!(state(pid), Some('S' | 'R')), "{:?}", state(pid));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_restarted_process_has_the_same_command_and_log() {
    let run = RunDir::create().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo \"$0 $WHAT\"; exec sleep 1000", "hello"]);
    command.env("WHAT", "world");
    let process = Process::new("script", command, &run).unwrap();
    process.start().unwrap();
    log_has(&process, "hello world\n").await;
    let first = process.pid();
    process.restart().await.unwrap();
    log_has(&process, "hello world\nhello world\n").await;
    assert_ne!(first, process.pid());
}

#[tokio::test]
async fn a_dropped_process_goes_with_all_that_it_started() {
    let run = RunDir::create().unwrap();
    let process = shell(&run, "sleep 1000 & echo \"grandchild $!\"; wait");
    process.start().unwrap();
    log_has(&process, "grandchild").await;
    let log = fs::read_to_string(process.log()).unwrap();
    let grandchild: u32 = log.trim().rsplit_once(' ').context("no id").and_then(|(_, pid)| Ok(pid.parse()?)).unwrap();
    let child = process.pid().unwrap();
    assert!(state(grandchild).is_some());
    drop(process);
    eventually(SOON, "both are gone", || async {
        // A zombie that nobody has reaped yet holds nothing.
        for pid in [child, grandchild] {
            ensure!(matches!(state(pid), None | Some('Z')), "{pid} is there");
        }
        Ok(())
    })
    .await
    .unwrap();
}
