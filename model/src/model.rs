//! The model as stateright explores it, and the promises.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, PoisonError};

use stateright::{Model, Property};

use crate::config::Config;
use crate::environment::{Action, actions, initial, next};
use crate::rest::{is_idle, wrong_at_rest};
use crate::rules::Rules;
use crate::world::{Broken, World};

/// A world with its rules.
pub struct Protocol {
    config: Config,
    rules: Rules,
    rests: Mutex<HashMap<u64, Option<&'static str>>>,
}

impl Protocol {
    /// The model of a configuration.
    pub fn new(config: Config) -> Self {
        Self { config, rules: Rules::new(), rests: Mutex::default() }
    }

    /// What is wrong where this state comes to rest, if anything is.
    pub fn wrong_at_rest(&self, world: &World) -> Option<&'static str> {
        let mut fair = world.clone();
        fair.left = crate::config::Faults::default();
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&fair);
        if let Some(known) = self.rests.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return *known;
        }
        let found = wrong_at_rest(&fair, &self.config, &self.rules);
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, found);
        found
    }
}

/// Names of the promises, as tables print them.
pub mod promise {
    /// I1.
    pub const ONCE: &str = "one version for each change";
    /// An intent comes before the create.
    pub const INTENT: &str = "no create without a durable intent";
    /// An equal version forbids a create.
    pub const EQUAL: &str = "no create beside an equal version";
    /// I3.
    pub const OURS: &str = "only our own versions are taken away";
    /// The bytes that are sent are those of the intent.
    pub const BYTES: &str = "what is sent is what the intent names";
    /// At most three attempts without a person.
    pub const ATTEMPTS: &str = "three attempts at most";
    /// I6.
    pub const LEASE: &str = "nothing is sent after the Lease";
    /// What is recorded as created was created for that resource.
    pub const TRUE_RECORD: &str = "what is recorded as created was";
    /// I2, I5, I8, I10, I12.
    pub const REST: &str = "at rest";
}

fn once(world: &World) -> bool {
    let made: Vec<_> = world.remote.iter().filter(|v| !v.late).filter_map(|v| Some((v.made_for?, v.value))).collect();
    made.iter().enumerate().all(|(at, one)| !made[..at].contains(one))
}

fn true_record(world: &World) -> bool {
    (0..).zip(&world.objects).filter(|(_, o)| o.exists).all(|(index, object): (u8, _)| {
        object.status.history.iter().filter(|r| r.created).all(|record| {
            let version = &world.remote[usize::from(record.number) - 1];
            // Made at the console while a create is under way: taken for ours, as documented.
            version.made_for.map_or(record.intent != 0 && version.mistakable, |(maker, _)| maker == index)
        })
    })
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![initial(&self.config)]
    }

    fn actions(&self, world: &World, all: &mut Vec<Action>) {
        if world.broken.is_none() {
            actions(world, &self.config, all);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        next(last, action, &self.config, &self.rules)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(promise::ONCE, |_, world| once(world)),
            Property::always(promise::INTENT, |_, w: &World| w.broken != Some(Broken::SentWithoutIntent)),
            Property::always(promise::EQUAL, |_, w: &World| w.broken != Some(Broken::EqualIgnored)),
            Property::always(promise::OURS, |_, w: &World| w.broken != Some(Broken::NotOurs)),
            Property::always(promise::BYTES, |_, w: &World| w.broken != Some(Broken::OtherBytes)),
            Property::always(promise::ATTEMPTS, |_, w: &World| w.broken != Some(Broken::TooManyAttempts)),
            Property::always(promise::LEASE, |_, w: &World| w.broken != Some(Broken::SentAfterLease)),
            Property::always(promise::TRUE_RECORD, |_, world| true_record(world)),
            Property::always(promise::REST, |model: &Self, world| {
                !is_idle(world) || model.wrong_at_rest(world).is_none()
            }),
        ]
    }
}
