//! What our client sends, beside what the platform's own Python client sends for the same call.

use std::process::Command;

use secret_version_operator::remote::{Client, Credential, Values, VersionState};
use secret_version_operator::secret::{SecretBytes, SecretText};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::script::{Act, Script, json};
use crate::support::{ORGANIZATION, SECRET, config, version};

/// The same environment that the simulator's tests use, so that one is made for both.
const REQUIREMENTS: &str = include_str!("../../simulator/tests/real_client.requirements");

/// A request of the Python client.
#[derive(Deserialize)]
struct Recorded {
    function: String,
    arguments: Vec<Value>,
    credential: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body_base64: String,
}

impl Recorded {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn argument(&self, at: usize) -> &str {
        self.arguments[at].as_str().unwrap()
    }
}

fn record() -> Vec<Recorded> {
    let python = kit::python::venv("abeja-sdk", &REQUIREMENTS.lines().collect::<Vec<_>>()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/simulator/tests/real_client.py");
    let output = Command::new(python).arg(script).arg("--record").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The credentials of the recording script.
fn credential(kind: &str) -> Credential {
    let text = |text: &str| SecretText::from(text.to_owned());
    match kind {
        "bearer" => Credential::Token(text("t-bearer")),
        "user" => Credential::User { user_id: "7".into(), personal_access_token: text("t-user") },
        "datasource" => Credential::Datasource { datasource_id: "8".into(), datasource_secret: text("t-datasource") },
        other => panic!("unknown credential {other}"),
    }
}

/// Two pages, twice: the list is long enough for our client to ask for the page that was recorded.
fn pages(rows: &str, row: impl Fn(usize) -> Value) -> Vec<Act> {
    let page = |rows_of: Vec<Value>, has_next: bool| {
        let pagination = json!({"count": 101, "has_next": has_next, "limit": 100, "offset": 0});
        Act::Send(json(200, &json!({rows: rows_of, "pagination": pagination, "has_next": has_next})))
    };
    let (first, last) = (page((0..100).map(&row).collect(), true), page(vec![row(100)], false));
    vec![first.clone(), last.clone(), first, last]
}

fn answers(function: &str, recorded: &Recorded) -> Vec<Act> {
    let one = |body: Value| vec![Act::Send(json(200, &body))];
    match function {
        "get_secret_versions" => pages("versions", |number| version(&number.to_string())),
        "get_secrets" => pages("secrets", |number| json!({"id": number.to_string(), "name": "n", "versions": []})),
        "get_secret" => one(json!({"id": SECRET, "name": "n", "versions": []})),
        "create_secret_version" => one(version("1")),
        _ => one(version(recorded.argument(2))),
    }
}

/// The same call on our client.
async fn call(client: &Client, recorded: &Recorded) {
    assert_eq!(recorded.argument(0), ORGANIZATION);
    let done = match recorded.function.as_str() {
        "create_secret_version" => {
            let value = SecretBytes::from(recorded.argument(2).as_bytes().to_vec());
            client.create_version(ORGANIZATION, SECRET, &value).await.map(drop)
        }
        "get_secret_version" => {
            client.get_version(ORGANIZATION, SECRET, recorded.argument(2), Values::Include).await.map(drop)
        }
        "get_secret_versions" => client.list_versions(ORGANIZATION, SECRET, Values::Include).await.map(drop),
        "update_secret_version" => {
            let state = match recorded.argument(3) {
                "active" => VersionState::Active,
                "inactive" => VersionState::Inactive,
                other => panic!("unknown state {other}"),
            };
            client.set_version_state(ORGANIZATION, SECRET, recorded.argument(2), state).await.map(drop)
        }
        "delete_secret_version" => client.delete_version(ORGANIZATION, SECRET, recorded.argument(2)).await,
        "get_secrets" => client.list_secrets(ORGANIZATION, Values::Include).await.map(drop),
        "get_secret" => client.get_secret(ORGANIZATION, SECRET, Values::Include).await.map(drop),
        other => panic!("the Python client has a function that ours lacks: {other}"),
    };
    done.unwrap();
}

#[tokio::test]
async fn requests_are_those_of_the_real_client() {
    let recorded = tokio::task::spawn_blocking(record).await.unwrap();
    assert_eq!(recorded.len(), 21, "seven functions with three credentials");
    for expected in recorded {
        let name = format!("{} as {}", expected.function, expected.credential);
        let script = Script::start(answers(&expected.function, &expected)).await;
        let mut config = config(&script.url);
        config.credential = credential(&expected.credential);
        call(&Client::new(config).unwrap(), &expected).await;

        // A list is read from its start; the recorded page is among the requests.
        let received = script.received();
        let same = |request: &&crate::script::Received| request.query == expected.query;
        let got = received.iter().find(same).unwrap_or_else(|| panic!("{name}: none of {received:?}"));
        assert_eq!((&got.method, &got.path), (&expected.method, &expected.path), "{name}");
        for header in ["authorization", "content-type", "content-length", "accept", "transfer-encoding"] {
            let header_of = |text: Option<&str>| text.filter(|text| *text != "0").map(str::to_owned);
            let got = header_of(got.headers.get(header).map(String::as_str));
            assert_eq!(got, header_of(expected.header(header)), "{name}: {header}");
        }
        assert_eq!(SecretBytes::from(got.body.clone()).encode().as_str(), expected.body_base64, "{name}: body");
    }
}
