//! Lists against a simulator whose pages move, lie or lag.

use std::time::Instant;

use secret_version_operator::remote::{Error, Values};

use crate::support::{ORGANIZATION, Remote, SECRET};

#[tokio::test]
async fn lists_of_every_length_are_whole() {
    for (versions, requests) in [(0, 1), (1, 1), (100, 1), (101, 4), (250, 6)] {
        let remote = Remote::start(versions, "[]").await;
        let listed = remote.client().list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap();
        let numbers: Vec<_> = listed.iter().map(|version| usize::try_from(version.number).unwrap()).collect();
        assert_eq!(numbers, (1..=versions).collect::<Vec<_>>());
        assert_eq!(remote.journal().await.len(), requests, "{versions} versions");
    }
}

#[tokio::test]
async fn lists_of_secrets_are_whole() {
    let secrets: Vec<_> = (0..150).map(|number| format!("{{id: s{number}, name: n{number}}}")).collect();
    let seed = format!(
        "organizations: [{{id: '{ORGANIZATION}', secrets: [{}]}}]\n\
         credentials: [{{name: all, kind: bearer, token: {}}}]\n",
        secrets.join(", "),
        crate::support::TOKEN
    );
    let remote = Remote::seeded(&seed).await;
    let listed = remote.client().list_secrets(ORGANIZATION, Values::Omit).await.unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|secret| secret.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 150);
}

#[tokio::test]
async fn a_list_that_moves_once_is_read_until_it_rests() {
    for (shift, expected) in [("insert", 151), ("delete", 149)] {
        let faults = format!("[{{match: {{operation: list_versions}}, count: 1, action: {{page_shift: {shift}}}}}]");
        let remote = Remote::start(150, &faults).await;
        let listed = remote.client().list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap();
        assert_eq!(listed.len(), expected, "{shift}");
    }
}

#[tokio::test]
async fn a_list_that_always_moves_or_lies_is_given_up() {
    for action in [
        "{page_shift: insert}",
        "{malformed: has_next_true}",
        "{malformed: has_next_false}",
        "{malformed: repeat_first_page}",
    ] {
        let remote = Remote::start(150, &format!("[{{match: {{operation: list_versions}}, action: {action}}}]")).await;
        let begin = Instant::now();
        let given_up = remote.client().list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap_err();
        assert!(matches!(given_up, Error::Incomplete { .. }), "{action}: {given_up}");
        assert!(begin.elapsed().as_secs() < 10, "{action}");
        assert!(remote.journal().await.len() <= 15, "{action}");
    }
}

#[tokio::test]
async fn rows_that_come_twice_count_once() {
    let faults = "[{match: {operation: list_versions}, action: {malformed: duplicate_rows}}]";
    let remote = Remote::start(3, faults).await;
    let listed = remote.client().list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap();
    let numbers: Vec<_> = listed.iter().map(|version| version.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn a_failed_page_fails_the_list() {
    let faults = "[{match: {operation: list_versions}, after: 1, action: {status: {code: 403}}}]";
    let remote = Remote::start(150, faults).await;
    let failed = remote.client().list_versions(ORGANIZATION, SECRET, Values::Omit).await.unwrap_err();
    assert_eq!(failed.status(), Some(403));
}
