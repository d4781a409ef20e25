//! A create goes over the wire once at the most, whatever becomes of it; and only what is certainly unsent says so.

use std::time::{Duration, Instant};

use secret_version_operator::remote::{Client, Error, Values};
use serde_json::json;
use tokio::net::TcpListener;

use crate::script::{Act, Script, answer, json};
use crate::support::{ORGANIZATION, Remote, SECRET, config, told, value, version};

/// A client that would retry, were it allowed to.
fn eager(url: &str) -> Client {
    let mut config = config(url);
    config.max_retries = 5;
    config.timeout = Duration::from_millis(500);
    Client::new(config).unwrap()
}

#[tokio::test]
async fn no_failure_makes_a_second_request() {
    let whole = json(200, &version("1"));
    let half = whole[..whole.len() / 2].to_vec();
    let head = whole[..20].to_vec();
    let error = |status| Act::Send(json(status, &json!({"error": "e", "error_description": "d"})));
    let page = |status, headers| Act::Send(answer(status, headers, b"<html>"));
    let to_itself = "location: /elsewhere\r\n";
    let acts = [
        ("500", error(500)),
        ("502", error(502)),
        ("503 with patience", page(503, "retry-after: 0\r\n")),
        ("504", page(504, "")),
        ("429", page(429, "retry-after: 0\r\n")),
        ("408", page(408, "connection: close\r\n")),
        ("307", page(307, to_itself)),
        ("308", page(308, to_itself)),
        ("301", page(301, to_itself)),
        ("FIN before headers", Act::SendAndClose(vec![])),
        ("RST before headers", Act::SendAndReset(vec![])),
        ("FIN inside headers", Act::SendAndClose(head.clone())),
        ("RST inside headers", Act::SendAndReset(head)),
        ("FIN inside the body", Act::SendAndClose(half.clone())),
        ("RST inside the body", Act::SendAndReset(half.clone())),
        ("no answer", Act::Hang),
        ("half an answer", Act::Trickle(half, Duration::from_mins(1))),
        ("empty body", Act::Send(answer(200, "", b""))),
        ("no content", Act::Send(b"HTTP/1.1 204 X\r\n\r\n".to_vec())),
        ("not HTTP", Act::SendAndClose(b"SSH-2.0-x\r\n\r\n".to_vec())),
    ];
    for (name, act) in acts {
        let script = Script::start(vec![act]).await;
        let failed = eager(&script.url).create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
        assert!(!failed.not_connected(), "{name}: {failed}");
        // A retry would come at once or after the first pause, which is a fifth of a second.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((script.count("POST"), script.received().len()), (1, 1), "{name}");
        assert_eq!(script.connections(), 1, "{name}");
    }
}

#[tokio::test]
async fn only_the_apis_own_refusal_is_a_refusal() {
    let table = [
        (json(400, &json!({"error": "bad", "error_description": "no"})), true),
        (json(404, &json!({"error": "not_found"})), true),
        (answer(404, "content-type: text/html\r\n", b"<html>not found</html>"), false),
        (answer(404, "content-type: application/json\r\n", b"{\"message\": \"no route\"}"), false),
        (answer(404, "content-type: application/json\r\n", b"[\"not_found\"]"), false),
        (answer(404, "", b""), false),
        (answer(404, "", b"{\"error\": \"cut"), false),
    ];
    for (bytes, is_api_error) in table {
        let script = Script::start(vec![Act::Send(bytes.clone())]).await;
        let failed = eager(&script.url).create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(failed.is_api_error(), is_api_error, "{text}");
        assert!(failed.status().is_some(), "{text}");
    }
}

/// The server closes a connection that waits, just when the next request could be put on it.
#[tokio::test]
async fn a_create_never_takes_a_connection_that_another_request_left() {
    let got = json(200, &version("1"));
    for round in 0..100 {
        let acts = vec![Act::SendAndClose(got.clone()), Act::Send(json(200, &version("2")))];
        let script = Script::start(acts).await;
        let client = eager(&script.url);
        client.get_version(ORGANIZATION, SECRET, "1", Values::Omit).await.unwrap();
        let created = client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
        assert_eq!(created.id, "2");
        let received = script.received();
        assert_eq!((received.len(), received[1].connection), (2, 2), "round {round}");
    }
    // Nor one that is still good, nor one that another create left.
    let script = Script::start(vec![Act::Send(got), Act::Send(json(200, &version("2")))]).await;
    let client = eager(&script.url);
    client.get_version(ORGANIZATION, SECRET, "1", Values::Omit).await.unwrap();
    client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
    client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
    let connections: Vec<_> = script.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 2, 3]);
}

#[tokio::test]
async fn the_simulators_idle_close_makes_no_second_create() {
    let remote = Remote::start(1, "[{action: {close_idle: {after: 0ms}}}]").await;
    let client = eager(&remote.url);
    for number in 2..=50 {
        let listed = client.list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap();
        assert_eq!(listed.len(), number - 1);
        client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
    }
    let posts = remote.journal().await.iter().filter(|entry| entry["method"] == "POST").count();
    assert_eq!(posts, 49);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_got_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failed = eager(&url).create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
    assert!(matches!(failed, Error::Connect { .. }) && failed.not_connected(), "{failed}");
}

#[tokio::test]
async fn a_connection_that_is_closed_at_once_may_have_taken_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    });
    let failed = eager(&url).create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
    assert!(matches!(failed, Error::Cut { .. }) && !failed.not_connected(), "{failed}");
    closing.abort();
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_timeout() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
    for act in [Act::Hang, Act::Trickle(head, Duration::from_millis(20))] {
        let script = Script::start(vec![act]).await;
        let (client, told) = told(secret_version_operator::remote::ClientConfig {
            timeout: Duration::from_millis(500),
            ..config(&script.url)
        });
        let begin = Instant::now();
        let failed = client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
        assert_eq!(failed, Error::Timeout { op: "create_version" });
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        assert_eq!(told.all(), [("create_version", "timeout")]);
    }
}
