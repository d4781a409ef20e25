//! Reads, switches and deletes are sent again where that can help; each attempt is told of.

use std::time::{Duration, Instant};

use secret_version_operator::remote::{ClientConfig, Error, Values, VersionState};
use serde_json::json;

use crate::script::{Act, Script, answer, json};
use crate::support::{ORGANIZATION, SECRET, config, told, version};

fn busy() -> Act {
    Act::Send(answer(503, "", b"busy"))
}

fn with_retries(url: &str, max_retries: u32) -> ClientConfig {
    ClientConfig { max_retries, ..config(url) }
}

#[tokio::test]
async fn safe_calls_get_through_a_bad_moment() {
    let good = Act::Send(json(200, &version("1")));
    let moments = [("server_error", busy()), ("cut", Act::SendAndClose(vec![])), ("cut", Act::SendAndReset(vec![]))];
    for (outcome, bad) in moments {
        let script = Script::start(vec![bad.clone(), good.clone()]).await;
        let (client, told) = told(with_retries(&script.url, 2));
        client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap();
        assert_eq!(told.all(), [("get_version", outcome), ("get_version", "ok")]);

        let script = Script::start(vec![bad.clone(), good.clone()]).await;
        let (client, _) = crate::support::told(with_retries(&script.url, 2));
        client.set_version_state(ORGANIZATION, SECRET, "1", VersionState::Inactive).await.unwrap();
        assert_eq!(script.count("PATCH"), 2);

        let script = Script::start(vec![bad, Act::Send(json(200, &json!({"message": "deleted"})))]).await;
        let (client, _) = crate::support::told(with_retries(&script.url, 2));
        client.delete_version(ORGANIZATION, SECRET, "1").await.unwrap();
        assert_eq!(script.count("DELETE"), 2);
    }
}

#[tokio::test]
async fn retries_end_by_number_and_by_time() {
    let script = Script::start(vec![busy()]).await;
    let (client, told) = told(with_retries(&script.url, 2));
    let failed = client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap_err();
    assert_eq!(failed.status(), Some(503));
    assert_eq!(told.all(), [("get_version", "server_error"); 3]);

    let script = Script::start(vec![Act::Hang]).await;
    let config = ClientConfig { timeout: Duration::from_millis(300), ..with_retries(&script.url, 100) };
    let (client, _) = crate::support::told(config);
    let begin = Instant::now();
    let failed = client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap_err();
    assert_eq!(failed, Error::Timeout { op: "get_version" });
    assert!(begin.elapsed() < Duration::from_millis(1_500), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_cannot_pass_is_not_sent_again() {
    for status in [301, 307, 400, 401, 403, 404, 405, 409, 413, 422, 429, 501] {
        let script = Script::start(vec![Act::Send(answer(status, "location: /\r\n", b""))]).await;
        let (client, _) = told(with_retries(&script.url, 5));
        let failed = client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap_err();
        assert_eq!((failed.status(), script.received().len()), (Some(status), 1));
    }
}

#[tokio::test]
async fn patience_that_is_asked_for_is_told_and_not_slept_through() {
    let script = Script::start(vec![Act::Send(answer(429, "retry-after: 60\r\n", b""))]).await;
    let (client, _) = told(with_retries(&script.url, 5));
    let begin = Instant::now();
    let failed = client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap_err();
    assert_eq!(failed.retry_after(), Some(Duration::from_mins(1)));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn who_was_refused_leaves_the_remote_alone_for_as_long_as_it_asked() {
    let script = Script::start(vec![Act::Send(answer(429, "retry-after: 60\r\n", b"")), Act::Hang]).await;
    let (client, _) = told(with_retries(&script.url, 5));
    client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap_err();
    let failed = client.list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap_err();
    assert!(matches!(failed, Error::OverBudget { after, .. } if after > Duration::from_secs(50)), "{failed:?}");
    assert_eq!(script.received().len(), 1, "everybody heeds what one was told");
}
#[tokio::test]
async fn a_stale_connection_harms_no_read() {
    let got = json(200, &version("1"));
    for _ in 0..50 {
        let script = Script::start(vec![Act::SendAndClose(got.clone()), Act::Send(got.clone())]).await;
        let (client, _) = told(with_retries(&script.url, 1));
        client.get_version(ORGANIZATION, SECRET, "1", Values::Omit).await.unwrap();
        client.get_version(ORGANIZATION, SECRET, "1", Values::Omit).await.unwrap();
    }
}
