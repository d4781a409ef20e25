//! Random histories: edits, crashes, lost answers, refreshes, somebody else at the console.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::world::{Crash, End, Post, World};
use crate::domain::step::Wake;

#[derive(Clone, Debug)]
enum Act {
    Edit(u8),
    Lose(Post),
    Crash(usize, bool),
    Refresh,
    Foreign,
    BreakTarget,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Act::Edit),
        2 => Just(Act::Lose(Post::LostAfter)),
        2 => Just(Act::Lose(Post::LostBefore)),
        1 => (1..90_u64).prop_map(|s| Act::Lose(Post::Late(Duration::from_secs(s)))),
        1 => Just(Act::Lose(Post::Refused(429))),
        3 => (0..6_usize, any::<bool>()).prop_map(|(n, after)| Act::Crash(n, after)),
        1 => Just(Act::Refresh),
        1 => Just(Act::Foreign),
        1 => Just(Act::BreakTarget),
        2 => (1..60_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn one_version_per_observed_change_and_a_quiet_end(acts in prop::collection::vec(act(), 1..14)) {
        let mut world = World::managed(&json!({}));
        let mut foreign = 0;
        for act in acts {
            match act {
                Act::Edit(n) => world.edit_source(&format!("value-{n}")),
                Act::Lose(post) => world.post = post,
                Act::Crash(n, after) => world.crash = Some(Crash { at: world.effects.len() + n, after }),
                Act::Refresh => world.refresh_due = true,
                // A value that no source has, so that it is never taken for ours.
                Act::Foreign => { world.make("foreign"); foreign += 1; }
                Act::BreakTarget => world.target = None,
                Act::Wait(seconds) => world.advance(Duration::from_secs(seconds)),
            }
            if world.pass() == End::Crashed {
                world.restart();
            }
        }
        world.settle();
        if world.reason() == "CreateUnresolved" {
            // Too many answers were lost in a row: a person looks, and asks for another try.
            world.request_sync("checked");
            world.settle();
        }
        world.settle();
        prop_assert!(world.ready(), "{:?}", world.status().conditions);
        prop_assert_eq!(world.target_value(), world.source.as_deref());

        // Every version of ours is recorded, or was told as a late twin: none is lost, and none is made twice.
        let status = world.status();
        let ours: Vec<_> = world.remote.iter().filter(|v| v.value != "foreign").collect();
        let told = |id: &str| world.events.iter().any(|e| e.note.contains(id));
        for version in &ours {
            let recorded = status.history.iter().filter(|r| r.version_id == version.id).count();
            prop_assert!(recorded == 1 || told(&version.id), "{} is not accounted for", version.id);
        }
        prop_assert_eq!(world.remote.len() - ours.len(), foreign);
        for pair in ours.windows(2) {
            prop_assert!(pair[0].value != pair[1].value || told(&pair[1].id), "{} twice in a row", pair[0].value);
        }

        // At rest the plan is empty, also for a process that knows nothing.
        world.restart();
        let writes = world.kube_writes;
        prop_assert_eq!(world.pass(), End::Rest(Wake::Refresh));
        prop_assert_eq!(world.kube_writes, writes);
    }
}
