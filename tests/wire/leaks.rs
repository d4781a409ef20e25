//! Neither values nor credentials get into logs at the finest level, errors, or debug output, even where the remote says
//! them back.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secret_version_operator::remote::{Client, Credential, Values, VersionState};
use secret_version_operator::secret::{SecretBytes, SecretText};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::OptionalWriter;

use crate::script::{Act, Script, answer, json};
use crate::support::{ORGANIZATION, SECRET, config, version};

const VALUE: &str = "canary-value-0aXb9cYd8eZf";
const TOKEN: &str = "canary-token-1gWh2iVj3kUl";

/// Everything that is logged on one thread, as text.
///
/// The subscriber is the process's, as one of a thread hears nothing of what other threads were first to pass by.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>, ThreadId);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = OptionalWriter<Self>;

    fn make_writer(&'a self) -> Self::Writer {
        if thread::current().id() == self.1 { OptionalWriter::some(self.clone()) } else { OptionalWriter::none() }
    }
}

/// What must not be found: eight bytes of any form in which a secret travels.
fn marks() -> Vec<String> {
    let basic = STANDARD.encode(format!("user-7:{TOKEN}"));
    [VALUE.to_owned(), TOKEN.to_owned(), STANDARD.encode(VALUE), STANDARD.encode(TOKEN), basic]
        .iter()
        .flat_map(|text| [text[..8].to_owned(), text[text.len() - 8..].to_owned()])
        .collect()
}

#[tokio::test]
async fn nothing_is_said_that_must_not_be() {
    let log = Log(Arc::default(), thread::current().id());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let value = SecretBytes::from(VALUE.as_bytes().to_vec());
    let all = format!("{VALUE} {} {TOKEN} {}", STANDARD.encode(VALUE), STANDARD.encode(format!("user-7:{TOKEN}")));
    let mut served = version("1");
    served["value"] = json!(STANDARD.encode(VALUE));
    let mut bad = served.clone();
    bad["value"] = json!(format!("{all}!"));
    let mut mistyped = served.clone();
    mistyped["status"] = json!(all);
    let acts = [
        Act::Send(json(200, &served)),
        Act::Send(json(200, &bad)),
        Act::Send(json(200, &mistyped)),
        Act::Send(json(200, &json!({ "id": all }))),
        Act::Send(json(400, &json!({ "error": all, "error_description": all }))),
        Act::Send(json(400, &json!({ "error": "bad", "error_description": format!("cannot take `{VALUE}`") }))),
        Act::Send(json(401, &json!({ "error": TOKEN, "error_description": format!("Bearer {TOKEN}") }))),
        Act::Send(answer(502, &format!("x-echo: {all}\r\n"), all.as_bytes())),
        Act::SendAndClose(all.clone().into_bytes()),
        Act::SendAndReset(json(200, &served)[..200].to_vec()),
    ];
    let mut said = String::new();
    let credentials = [
        Credential::Token(SecretText::from(TOKEN.to_owned())),
        Credential::User { user_id: "7".into(), personal_access_token: SecretText::from(TOKEN.to_owned()) },
    ];
    for credential in credentials {
        for act in &acts {
            let script = Script::start(vec![act.clone()]).await;
            let mut config = config(&script.url);
            config.credential = credential.clone();
            write!(said, "{config:?} {credential:?}").unwrap();
            let client = Client::new(config).unwrap();
            let created = client.create_version(ORGANIZATION, SECRET, &value).await;
            let got = client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await;
            let switched = client.set_version_state(ORGANIZATION, SECRET, "1", VersionState::Active).await;
            for result in [&created, &got, &switched] {
                write!(said, "{result:?} {result:#?}").unwrap();
                if let Err(error) = result {
                    let source = std::error::Error::source(error).map(ToString::to_string);
                    write!(said, "{error} {source:?}").unwrap();
                }
            }
            write!(said, "{client:?}").unwrap();
        }
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // The log is not merely empty: the client and the HTTP library were heard.
    assert!(logged.contains("create_version") && logged.contains("hyper_util"), "{logged}");
    // Errors in this run are of the API too, with the words that are left of it.
    assert!(said.contains("withheld"), "{said}");
    for mark in marks() {
        assert!(!said.contains(&mark), "`{mark}` was said");
        let line = logged.lines().find(|line| line.contains(&mark));
        assert_eq!(line, None, "`{mark}` was logged");
    }
}
