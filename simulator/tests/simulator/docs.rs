//! `docs/simulator.md` against the types: what it shows is accepted, and nothing is left out.

use abeja_simulator::Operation;
use abeja_simulator::fault::{Action, ErrorBody, FaultSpec, Malformation};
use abeja_simulator::seed::CredentialKind::{Bearer, Datasource, User};
use abeja_simulator::seed::Seed;
use serde::de::DeserializeOwned;

const PAGE: &str = include_str!("../../../docs/simulator.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    PAGE.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// The words that an enum takes, as its own error message lists them.
fn words<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_str::<T>(r#""?""#) else {
        panic!("`?` is a word of its own");
    };
    let message = error.to_string();
    let listed = message.split("expected").nth(1).unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_seed_shown_is_a_seed() {
    let shown = blocks("yaml");
    assert_eq!(shown.len(), 1);
    let seed = Seed::from_yaml(shown[0]).unwrap();
    let kinds: Vec<_> = seed.credentials.iter().map(|credential| credential.kind).collect();
    assert_eq!(kinds, [Bearer, User, Datasource]);
}

#[test]
fn every_fault_shown_is_a_fault_and_every_action_is_shown() {
    let mut shown = Vec::new();
    for block in blocks("json") {
        let fault: FaultSpec = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        fault.check().unwrap();
        let action = serde_json::to_value(&fault.action).unwrap();
        shown.extend(action.as_object().unwrap().keys().cloned());
    }
    let actions = words::<Action>();
    assert!(actions.len() > 10, "{actions:?}");
    for action in actions {
        assert!(shown.contains(&action), "`{action}` has no example");
    }
}

#[test]
fn every_word_is_explained() {
    for word in [words::<Malformation>(), words::<ErrorBody>(), words::<Operation>()].concat() {
        assert!(PAGE.contains(&format!("`{word}`")), "`{word}` is not in the page");
    }
}
