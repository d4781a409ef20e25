//! Every call against the simulator, with every kind of credential, and the errors that the API gives.

use secret_version_operator::domain::class::Class;
use secret_version_operator::domain::reason::Reason;
use secret_version_operator::remote::{
    Client, Credential, Error, SecretInfo, ServedValue, Values, Version, VersionState,
};
use secret_version_operator::secret::{SecretBytes, SecretText};

use crate::support::{ORGANIZATION, Remote, SECRET, TOKEN, config, value};

fn text(text: &str) -> SecretText {
    SecretText::from(text.to_owned())
}

fn with(url: &str, credential: Credential) -> Client {
    let mut config = config(url);
    config.credential = credential;
    Client::new(config).unwrap()
}

fn without_value(version: &Version) -> Version {
    Version { value: ServedValue::NotServed, ..version.clone() }
}

#[tokio::test]
async fn a_version_lives_through_all_calls_with_every_credential() {
    let credentials = [
        Credential::Token(text(TOKEN)),
        Credential::User { user_id: "7".into(), personal_access_token: text("t-user") },
        Credential::Datasource { datasource_id: "datasource-8".into(), datasource_secret: text("t-datasource") },
    ];
    for credential in credentials {
        let remote = Remote::start(0, "[]").await;
        let client = with(&remote.url, credential);
        let created = client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
        assert_eq!((created.number, created.state), (1, VersionState::Active));
        assert_eq!(created.value, ServedValue::Bytes(value()));
        assert_eq!((created.organization_id.as_str(), created.secret_id.as_str()), (ORGANIZATION, SECRET));

        let id = created.id.as_str();
        let got = client.get_version(ORGANIZATION, SECRET, id, Values::Include).await.unwrap();
        assert_eq!(got, created);
        let got = client.get_version(ORGANIZATION, SECRET, id, Values::Omit).await.unwrap();
        assert_eq!(got, without_value(&created));
        let listed = client.list_versions(ORGANIZATION, SECRET, Values::Include).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&created));

        for state in [VersionState::Inactive, VersionState::Inactive, VersionState::Active] {
            let switched = client.set_version_state(ORGANIZATION, SECRET, id, state).await.unwrap();
            assert_eq!((switched.id.as_str(), switched.state), (id, state));
            let got = client.get_version(ORGANIZATION, SECRET, id, Values::Include).await.unwrap();
            assert_eq!((got.state, got.value), (state, ServedValue::Bytes(value())));
        }

        let secret = client.get_secret(ORGANIZATION, SECRET, Values::Omit).await.unwrap();
        assert_eq!((secret.id.as_str(), secret.name.as_str()), (SECRET, "db-password"));
        assert_eq!(secret.versions.len(), 1);
        let secrets = client.list_secrets(ORGANIZATION, Values::Omit).await.unwrap();
        let names: Vec<_> = secrets.iter().map(|secret: &SecretInfo| secret.name.as_str()).collect();
        assert_eq!((secrets.contains(&secret), names.len()), (true, 2), "{names:?}");

        client.delete_version(ORGANIZATION, SECRET, id).await.unwrap();
        let listed = client.list_versions(ORGANIZATION, SECRET, Values::Include).await.unwrap();
        assert_eq!(listed, []);
    }
}

#[tokio::test]
async fn values_come_back_byte_for_byte() {
    let remote = Remote::start(0, "[]").await;
    let client = remote.client();
    let values = [vec![0], vec![0xff; 3], b"\r\n".to_vec(), "pässwörd".into(), (0..=255).collect(), vec![b'x'; 65_536]];
    for bytes in &values {
        let value = SecretBytes::from(bytes.clone());
        let created = client.create_version(ORGANIZATION, SECRET, &value).await.unwrap();
        assert_eq!(created.value, ServedValue::Bytes(value));
    }
    let listed = client.list_versions(ORGANIZATION, SECRET, Values::Include).await.unwrap();
    let served: Vec<_> = listed.into_iter().map(|version| version.value).collect();
    let expected: Vec<_> = values.into_iter().map(|bytes| ServedValue::Bytes(SecretBytes::from(bytes))).collect();
    assert_eq!(served, expected);
}

#[tokio::test]
async fn the_apis_own_errors_are_told_apart() {
    let remote = Remote::start(1, "[]").await;
    let client = remote.client();
    let missing = client.get_version(ORGANIZATION, SECRET, "no-such-version", Values::Omit).await.unwrap_err();
    assert!(missing.is_api_error(), "{missing}");
    assert_eq!((missing.status(), missing.reason(), missing.class()), (Some(404), Reason::NotFound, Class::Invalid));

    let stranger = with(&remote.url, Credential::Token(text("t-stranger")));
    let refused = stranger.list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap_err();
    assert_eq!((refused.status(), refused.reason(), refused.class()), (Some(401), Reason::Unauthorized, Class::Denied));

    let reader = with(&remote.url, Credential::Token(text("t-reader")));
    let refused = reader.create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
    assert_eq!((refused.status(), refused.reason(), refused.class()), (Some(403), Reason::Forbidden, Class::Denied));

    let no_list = with(&remote.url, Credential::Token(text("t-no-list")));
    let refused = no_list.list_secrets(ORGANIZATION, Values::Omit).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
    assert_eq!(no_list.list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap().len(), 1);
}

#[tokio::test]
async fn ids_that_cannot_be_addressed_are_refused_before_anything_is_sent() {
    let remote = Remote::start(1, "[]").await;
    let client = remote.client();
    for id in ["", ".", ".."] {
        let refused = client.delete_version(ORGANIZATION, SECRET, id).await.unwrap_err();
        assert!(matches!(refused, Error::Unaddressable { .. }), "{refused}");
    }
    assert_eq!(remote.journal().await, Vec::<serde_json::Value>::new());
    // What could climb out of its segment stays in it, and names nothing.
    for id in ["../../other/versions", "x?limit=1", "a/b", "%2e%2e"] {
        let missing = client.delete_version(ORGANIZATION, SECRET, id).await.unwrap_err();
        assert_eq!((missing.status(), missing.is_api_error()), (Some(404), true), "{id}: {missing}");
    }
}

#[tokio::test]
async fn unusable_settings_are_refused() {
    let with = |change: fn(&mut secret_version_operator::remote::ClientConfig)| {
        let mut config = config("http://127.0.0.1:1");
        change(&mut config);
        Client::new(config).unwrap_err()
    };
    assert!(matches!(with(|config| config.allow_insecure = false), Error::Url { .. }));
    assert!(matches!(with(|config| config.ca_bundle = Some(b"x".to_vec())), Error::CaBundle { .. }));
    assert!(matches!(with(|config| config.credential = Credential::Token(text("a\nb"))), Error::Credential { .. }));
    assert!(matches!(with(|config| config.user_agent = "a\nb".into()), Error::Client { .. }));
}
