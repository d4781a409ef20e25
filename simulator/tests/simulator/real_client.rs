//! The real Python client, unmodified and pinned, against the simulator.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::start;

/// Arguments of `pip install`, one a line: the newest client with all that its two modules import,
/// pinned to the last package, so that pip resolves nothing. The client's metadata excludes Python
/// 3.12 and later, where it works all the same.
const REQUIREMENTS: &str = include_str!("../real_client.requirements");

async fn run(arguments: &[&str]) -> Value {
    let requirements: Vec<&str> = REQUIREMENTS.lines().collect();
    let venv = move || kit::python::venv("abeja-sdk", &requirements);
    let python = tokio::task::spawn_blocking(venv).await.unwrap().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_client.py");
    let output = Command::new(python).arg(script).args(arguments).stderr(Stdio::piped()).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn it_passes() {
    let running = start().await;
    let proved = run(&["--prove", &running.url("")]).await;
    // The counts stand here so that no case is lost unnoticed.
    assert_eq!((&proved["calls"], &proved["cases"]), (&json!(327), &json!(484)), "{proved}");
    assert_eq!(proved["client"], "2.3.6");
    assert_eq!(proved["operations"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn what_it_sends_can_be_recorded() {
    let recorded = run(&["--record"]).await;
    let requests = recorded.as_array().unwrap();
    assert_eq!(requests.len(), 7 * 3, "every function with every kind of credential");
    let create = &requests[0];
    assert_eq!(create["function"], "create_secret_version");
    assert_eq!((&create["method"], &create["query"]), (&json!("POST"), &json!("return_secret_value=True")));
}
