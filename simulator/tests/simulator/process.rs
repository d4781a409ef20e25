//! The program: how it says where it listens, how it stops, and what it refuses.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abeja-simulator"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn it_says_where_it_listens_and_stops_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let mut child = program()
            .args(["--addr", "127.0.0.1:0", "--seed", "seeds/demo.yaml", "--log-level", "debug"])
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
        let client = client();
        let health = client.get(format!("{url}/_control/healthz")).send().await.unwrap();
        assert_eq!(health.status(), 200);
        let secrets = format!("{url}/secret-manager/organizations/1410000000000/secrets");
        let list = client.get(secrets).bearer_auth("demo-bearer-token").send().await.unwrap();
        assert_eq!(list.status(), 200);

        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let start = Instant::now();
        assert!(child.wait().unwrap().success(), "SIG{signal}");
        assert!(start.elapsed() < Duration::from_secs(2), "an idle connection does not hold it up");
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(log.contains("GET"), "{log}");
        assert!(!log.contains("demo-bearer-token"), "{log}");
    }
}

#[test]
fn it_refuses_what_it_cannot_use() {
    for (arguments, named) in [
        (&["--seed", "seeds/nowhere.yaml"][..], "nowhere.yaml"),
        (&["--seed", "Cargo.toml"], "Cargo.toml"),
        (&["--log-level", "a=b=c"], "--log-level"),
        (&["--addr", "localhost"], "--addr"),
    ] {
        let output = program().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(named), "{message}");
    }
}
