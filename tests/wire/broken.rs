//! Answers that are no answers: each is an error, quickly, and within bounded memory.

use std::time::{Duration, Instant};

use secret_version_operator::remote::{Error, ServedValue, Values};
use serde_json::{Value, json};

use crate::script::{Act, Script, answer, json};
use crate::support::{ORGANIZATION, SECRET, client, version};

async fn get(act: Act) -> Result<ServedValue, Error> {
    let script = Script::start(vec![act]).await;
    let got = client(&script.url).get_version(ORGANIZATION, SECRET, "1", Values::Include).await;
    assert_eq!(script.received().len(), 1);
    got.map(|version| version.value)
}

fn with(field: &str, value: Value) -> Value {
    let mut version = version("1");
    version[field] = value;
    version
}

#[tokio::test]
async fn an_answer_about_another_place_is_refused_by_every_call() {
    for (field, what) in [("organization_id", "organization"), ("secret_id", "secret"), ("id", "version")] {
        let got = get(Act::Send(json(200, &with(field, json!("other"))))).await;
        assert_eq!(got, Err(Error::Unexpected { op: "get_version", what }));
    }
    let foreign = with("secret_id", json!("other"));
    let page = json!({"pagination": {"count": 1, "has_next": false, "limit": 100, "offset": 0}, "versions": [foreign]});
    let script = Script::start(vec![Act::Send(json(200, &page))]).await;
    let listed = client(&script.url).list_versions(ORGANIZATION, SECRET, Values::Omit).await;
    assert_eq!(listed, Err(Error::Unexpected { op: "list_versions", what: "secret" }));

    let script = Script::start(vec![Act::Send(json(200, &foreign))]).await;
    let created = client(&script.url).create_version(ORGANIZATION, SECRET, &crate::support::value()).await;
    assert_eq!(created, Err(Error::Unexpected { op: "create_version", what: "secret" }));

    let secret = json!({"id": SECRET, "organization_id": ORGANIZATION, "name": "n", "versions": [foreign]});
    let script = Script::start(vec![Act::Send(json(200, &secret))]).await;
    let got = client(&script.url).get_secret(ORGANIZATION, SECRET, Values::Omit).await;
    assert_eq!(got, Err(Error::Unexpected { op: "get_secret", what: "secret" }));
}

#[tokio::test]
async fn what_is_not_a_version_is_malformed() {
    let whole = version("1").to_string();
    let wrong: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"<html>200</html>".to_vec(),
        whole.as_bytes()[..whole.len() - 1].to_vec(),
        [whole.as_bytes(), b"{}"].concat(),
        b"{\"id\": \"\xff\"}".to_vec(),
        with("version", json!("1")).to_string().into(),
        with("version", json!(1e30)).to_string().into(),
        with("status", json!("archived")).to_string().into(),
        with("id", json!(1)).to_string().into(),
        with("created_at", json!(null)).to_string().into(),
        [b"{\"value\": ".to_vec(), vec![b'['; 1_000_000]].concat(),
    ];
    for body in wrong {
        let text = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let got = get(Act::Send(answer(200, "", &body))).await;
        assert!(matches!(got, Err(Error::Malformed { .. })), "{text}: {got:?}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_no_value() {
    let table = [(json!(null), ServedValue::NotServed), (json!("%%%"), ServedValue::Undecodable)];
    for (value, expected) in table {
        assert_eq!(get(Act::Send(json(200, &with("value", value)))).await, Ok(expected));
    }
}

#[tokio::test]
async fn large_bodies_are_not_read() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec();
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let until_close = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
    for act in [
        Act::Flood(announced, vec![b' '; 65_536]),
        Act::Flood(endless, chunk),
        Act::Flood(until_close, vec![b' '; 65_536]),
    ] {
        let begin = Instant::now();
        assert_eq!(get(act).await, Err(Error::TooLarge { op: "get_version" }));
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }
    // An error's body is read for what it says, but no more of it than that.
    let head = b"HTTP/1.1 403 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
    let got = get(Act::Flood(head, chunk)).await.unwrap_err();
    assert_eq!((got.status(), got.is_api_error()), (Some(403), false));
}

/// A small body that claims to be packed is read as it is: there is nothing in the client that could unpack a large one.
#[tokio::test]
async fn compression_is_neither_asked_for_nor_undone() {
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let claimed = answer(200, &format!("content-encoding: {encoding}\r\n"), version("1").to_string().as_bytes());
        let script = Script::start(vec![Act::Send(claimed)]).await;
        let got = client(&script.url).get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap();
        assert_eq!(got.value, ServedValue::Bytes(crate::support::value()));
        assert_eq!(script.received()[0].headers.get("accept-encoding"), None);
    }
}

#[tokio::test]
async fn a_deletion_is_believed_only_from_the_api() {
    let table = [
        (json(200, &json!({"message": "secret_version_id 1 successfully deleted"})), true),
        (b"HTTP/1.1 204 X\r\n\r\n".to_vec(), true),
        (answer(200, "", b""), true),
        (answer(200, "content-type: text/html\r\n", b"<html>please log in</html>"), false),
    ];
    for (bytes, believed) in table {
        let script = Script::start(vec![Act::Send(bytes.clone())]).await;
        let deleted = client(&script.url).delete_version(ORGANIZATION, SECRET, "1").await;
        assert_eq!(deleted.is_ok(), believed, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[tokio::test]
async fn a_list_without_end_ends() {
    let act = |page: u64| {
        let rows: Vec<_> = (0..100).map(|row| version(&format!("{page}-{row}"))).collect();
        let pagination = json!({"count": 1_000_000, "has_next": true, "limit": 100, "offset": 0});
        Act::Send(json(200, &json!({"pagination": pagination, "versions": rows})))
    };
    let script = Script::start((0..200).map(act).collect()).await;
    let listed = client(&script.url).list_versions(ORGANIZATION, SECRET, Values::Omit).await;
    assert_eq!(listed, Err(Error::TooLarge { op: "list_versions" }));
    assert_eq!(script.received().len(), 101);
}
