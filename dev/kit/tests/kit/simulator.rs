//! The simulator as a process.

use kit::Simulator;
use kit::run_dir::RunDir;
use kit::simulator::Options;
use reqwest::Method;

const SEED: &str = "organizations: []\n";

#[tokio::test]
async fn the_simulator_starts_is_asked_and_starts_again() {
    let run = RunDir::create().unwrap();
    let simulator = Simulator::start(&run, SEED, Options::default()).await.unwrap();
    let state = simulator.state().await.unwrap();
    assert_eq!(state["organizations"], serde_json::json!([]));
    assert!(simulator.journal().await.unwrap().is_empty());
    assert!(simulator.seed("no: [seed").await.is_err());
    let url = simulator.url().to_owned();
    simulator.process().kill().unwrap();
    assert!(simulator.state().await.is_err(), "nobody listens");
    simulator.process().start().unwrap();
    simulator.wait_ready().await.unwrap();
    assert_eq!(simulator.url(), url);
    let refused = simulator.control(Method::DELETE, "/faults/7", None).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("404"), "{refused}");
}
