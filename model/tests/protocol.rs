//! The protocol keeps its promises in every world, and the model sees where it would not.

use protocol_model::breaks::Break;
use protocol_model::config::Config;
use protocol_model::configs::ALL;
use protocol_model::explore;

fn world(name: &str) -> Config {
    ALL.into_iter().find(|config| config.name == name).unwrap_or_else(|| panic!("no world is named {name}"))
}

fn holds(name: &str) {
    let outcome = explore(world(name), 1);
    assert!(outcome.broken.is_none(), "{:#?}", outcome.broken);
    assert!(outcome.unique > 1000, "a world in which nothing happens: {} states", outcome.unique);
}

macro_rules! worlds {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            holds($name);
        })+
        const TESTED: &[&str] = &[$($name),+];
    };
}

worlds! {
    holds_through_crashes_and_lost_answers: "crashes",
    holds_while_the_source_changes: "source",
    ends_after_three_attempts: "attempts",
    holds_while_lists_lag: "lag",
    holds_on_stale_caches: "stale",
    holds_across_leaders: "lease",
    holds_between_two_leaders: "two leaders",
    holds_beside_people_at_the_console: "console",
    holds_while_people_delete_versions: "removed",
    tells_of_what_comes_too_late: "late",
    tells_of_what_comes_too_late_and_is_hidden: "late and hidden",
    holds_beside_older_versions: "older",
    holds_after_a_lost_status: "status lost",
    holds_through_deletion: "deletion",
    holds_through_deletion_while_lists_lag: "deletion in a lag",
    holds_through_deletion_without_a_finalizer: "retain",
    holds_between_two_resources: "two resources",
    holds_between_two_resources_through_a_crash: "two resources, a crash",
    holds_between_two_resources_across_leaders: "two resources, two leaders",
    holds_beside_a_foreign_target: "target",
    holds_after_a_lost_key: "key lost",
}

#[test]
fn every_world_is_explored() {
    for config in ALL {
        assert!(TESTED.contains(&config.name), "{}", config.name);
    }
}

#[test]
fn every_break_is_seen() {
    let world = |b: Break| if Break::LONG.contains(&b) { world(b.world()).full() } else { world(b.world()) };
    let unseen: Vec<_> =
        Break::ALL.into_iter().filter(|b| explore(world(*b).broken_by(*b), 1).broken.is_none()).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}
