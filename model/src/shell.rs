//! A pass, as `controller::pass`, `look` and `memory` run it: what is read when, what is remembered when, and what ends a pass.

use secret_version_operator::domain::observed::Sight;
use secret_version_operator::domain::owner::{Claim, owner};

use crate::breaks::Break;
use crate::config::Config;
use crate::effects;
use crate::normal::{fresh_id, younger};
use crate::rules::{Act, Rules};
use crate::translate::beside;
use crate::world::{Fate, Memory, Numbers, Object, Pass, Process, Seen, Status, TargetSeen, Version, View, World, bit};

/// A pass of a process over a resource, and the world around it.
pub(crate) struct Shell<'a> {
    pub world: &'a mut World,
    pub config: &'a Config,
    pub rules: &'a Rules,
    pub p: usize,
    pub c: usize,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// The pass goes on.
    On,
    /// The pass ended: whether it rests until its next refresh.
    Ended { rests: bool },
    /// The pass cannot go on now: it waits for the lock.
    Blocked,
}

pub(crate) const FAILED: Stepped = Stepped::Ended { rests: false };

impl Shell<'_> {
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.world.processes[self.p]
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        let c = self.c;
        &mut self.process().memory[c]
    }

    /// The pass. Every caller has one.
    pub(crate) fn pass(&mut self) -> &mut Pass {
        let c = self.c;
        match &mut self.process().passes[c] {
            Some(pass) => pass,
            None => unreachable!("a step without a pass"),
        }
    }

    pub(crate) fn view(&mut self) -> &mut View {
        &mut self.pass().view
    }

    pub(crate) fn broken(&self, by: Break) -> bool {
        self.config.broken == Some(by)
    }

    /// The snapshot that a pass begins with.
    pub(crate) fn begin(&mut self, refresh: bool) {
        let (p, c) = (self.p, self.c);
        let fresh = fresh_id(self.world);
        let process = &mut self.world.processes[p];
        let object = process.own[c].clone().unwrap_or_else(|| process.cache[c].clone());
        note_sights(&mut process.memory[c], &object, self.config);
        let target = self.world.targets[c];
        let view = View {
            index: u8::try_from(c).unwrap_or(0),
            live: false,
            refresh,
            claimed: false,
            served_elsewhere: 0,
            source_meta: process.sources[c],
            target_meta: target.rv,
            memory: process.memory[c].clone(),
            fresh,
            key: process.key,
            source: None,
            values: Vec::new(),
            listed: None,
            single: Vec::new(),
            target: None,
            sent: None,
            deleted: 0,
            target_written: 0,
            trouble: false,
            object,
        };
        process.passes[c] = Some(Pass {
            view,
            locked: false,
            began: None,
            durable: None,
            waiting: false,
            arriving: false,
            list_age: 0,
        });
        self.survey();
    }

    /// One step of a pass: what arrives is noted, the rules are asked, and their answer is carried out.
    pub(crate) fn step(&mut self, answer_lost: bool) -> Stepped {
        if self.pass().arriving {
            self.arrive();
        }
        let act = {
            let (p, c) = (self.p, self.c);
            let Some(pass) = &self.world.processes[p].passes[c] else { return FAILED };
            self.rules.decide(&pass.view, self.config)
        };
        let stepped = self.carry_out(&act, answer_lost);
        if let Stepped::Ended { .. } = stepped {
            let c = self.c;
            self.process().passes[c] = None;
        }
        stepped
    }

    fn carry_out(&mut self, act: &Act, answer_lost: bool) -> Stepped {
        match act {
            Act::Live => return self.live(),
            Act::Source => self.source(),
            Act::Versions { values } => self.list(*values),
            Act::Version(number) => self.version(*number),
            Act::Gone(number) => self.gone(*number),
            Act::Target(number) => self.target(*number),
            effect => return effects::apply(self, effect, answer_lost),
        }
        Stepped::On
    }

    fn live(&mut self) -> Stepped {
        let (p, c) = (self.p, self.c);
        let taken = self.world.processes[p].passes.iter().flatten().any(|pass| pass.locked);
        if !self.pass().locked && taken && !self.broken(Break::NoLock) {
            return Stepped::Blocked;
        }
        self.pass().locked = true;
        let object = self.world.objects[c].clone();
        if !object.exists {
            return FAILED;
        }
        self.view().live = true;
        self.set_object(object, false);
        if !self.broken(Break::OwnerDecidedBeforeLock) {
            self.survey();
        }
        Stepped::On
    }

    fn source(&mut self) {
        let c = self.c;
        let source = self.world.sources[c];
        let view = self.view();
        view.source = Some(source);
        let equal = source.value != 0 && beside(view.object.status.digest, source.value, view.key) == Sight::Equal;
        if equal {
            self.memory().source_checked = source.rv;
            self.remember();
        }
    }

    /// The remote answers with a list. Until it arrives, time may pass.
    fn list(&mut self, values: bool) {
        let shown: Vec<(u8, Version)> = numbered(&self.world.remote)
            .filter(|(_, v)| v.hidden == 0 && !v.gone)
            .map(|(n, v)| (n, v.clone()))
            .collect();
        let shown = if self.broken(Break::FirstPageOnly) { shown.into_iter().take(1).collect() } else { shown };
        let view = self.view();
        view.listed = Some((values, shown.iter().map(|(n, v)| seen(*n, v)).collect()));
        if values {
            shown.iter().filter(|(_, v)| v.served).for_each(|(n, v)| take_in(view, *n, v.value));
        }
        let pass = self.pass();
        (pass.arriving, pass.list_age) = (true, 0);
    }

    /// A list arrives: which recorded ids it lacks is noted.
    pub(crate) fn arrive(&mut self) {
        self.pass().arriving = false;
        let view = self.view();
        let listed: Numbers = view.listed.iter().flat_map(|(_, all)| all).map(|s| bit(s.number)).sum();
        let recorded: Numbers = view.object.status.history.iter().fold(0, |all, r| all | bit(r.number));
        let memory = self.memory();
        memory.missing.retain(|(n, _)| listed & bit(*n) == 0);
        let lacking = (recorded | memory.known) & !listed;
        for number in (1..16).filter(|n| lacking & bit(*n) != 0) {
            if memory.missing.iter().all(|(n, _)| *n != number) {
                memory.missing.push((number, 0));
            }
        }
        memory.missing.sort_unstable();
        memory.gone &= !listed;
        self.remember();
    }

    fn version(&mut self, number: u8) {
        let found = self.found(number);
        let view = self.view();
        match found {
            Some(version) => {
                if version.served {
                    take_in(view, number, version.value);
                }
                view.single.push(seen(number, &version));
            }
            // Of a managed resource's own version "not found" is a failure like any other.
            None => view.trouble = true,
        }
    }

    fn gone(&mut self, number: u8) {
        if self.found(number).is_some() {
            self.view().trouble = true;
            return;
        }
        let memory = self.memory();
        memory.known &= !bit(number);
        memory.gone |= bit(number);
        self.remember();
    }

    fn found(&self, number: u8) -> Option<Version> {
        let version = &self.world.remote[usize::from(number) - 1];
        (version.hidden == 0 && !version.gone).then(|| version.clone())
    }

    fn target(&mut self, number: u8) {
        let c = self.c;
        let target = self.world.targets[c];
        let view = self.view();
        let wanted = view.values.iter().find(|(n, _)| *n == number).map(|(_, value)| *value);
        let seen = match wanted {
            None => TargetSeen::NotServed,
            Some(_) if target.foreign => TargetSeen::NotOwned,
            Some(_) if target.value == 0 => TargetSeen::Absent,
            Some(value) if value == target.value => TargetSeen::Matches(target.rv),
            Some(_) => TargetSeen::Differs(target.rv),
        };
        view.target = Some((number, seen));
        if let TargetSeen::Matches(rv) = seen {
            self.memory().target_checked = rv;
            self.remember();
        }
    }

    /// The resource as it is now.
    pub(crate) fn set_object(&mut self, object: Object, written: bool) {
        let (p, c) = (self.p, self.c);
        if written {
            let before = self.view().object.rv;
            let process = &mut self.world.processes[p];
            let replaced = process.own[c].is_some() || before == process.cache[c].rv;
            process.own[c] = replaced.then(|| object.clone());
        }
        let config = self.config;
        note_sights(self.memory(), &object, config);
        self.view().object = object;
        self.remember();
    }

    /// The rules' view of the memory. With a list at hand, ages are those of when it was asked for: what it lacks had only so
    /// long to show.
    pub(crate) fn remember(&mut self) {
        let mut memory = self.memory().clone();
        if self.view().listed.is_some() && !self.broken(Break::AgesOutrunTheList) {
            younger(&mut memory, self.pass().list_age);
        }
        self.view().memory = memory;
    }

    /// Who owns the place, and what others serve, as the cache and this process's own claims tell.
    fn survey(&mut self) {
        let (p, c) = (self.p, self.c);
        let own = self.view().object.clone();
        let process = &self.world.processes[p];
        let mut served = 0;
        let mut claims = Vec::new();
        for (index, cached) in process.cache.iter().enumerate() {
            let object = if index == c { &own } else { cached };
            if !object.exists {
                continue;
            }
            if index != c && !object.deleting {
                served |= object.status.current.map_or(0, |current| bit(current.number));
            }
            let claimed = process.claimant == u8::try_from(index).ok() && !self.broken(Break::NoOwnClaims);
            claims.push(Claim {
                uid: index.to_string(),
                name: index.to_string(),
                created: None,
                has_intent: is_open(&object.status) || claimed,
                has_record: !object.status.history.is_empty(),
            });
        }
        let first = owner(&claims).map(|claim| claim.uid.clone());
        let mut claimed = first.is_some_and(|uid| uid != c.to_string());
        if self.broken(Break::NoOldestOwner) {
            let rank = |claim: &Claim| (claim.has_intent, claim.has_record);
            let own = claims.iter().find(|claim| claim.uid == c.to_string()).map(rank);
            claimed = claims.iter().map(rank).max() > own;
        }
        let view = self.view();
        view.served_elsewhere = served;
        view.claimed = claimed;
    }
}

/// Versions with their numbers.
pub(crate) fn numbered(remote: &[Version]) -> impl Iterator<Item = (u8, &Version)> {
    (1..).zip(remote)
}

pub(crate) fn seen(number: u8, version: &Version) -> Seen {
    Seen { number, active: version.active, switched: version.switched }
}

pub(crate) fn take_in(view: &mut View, number: u8, value: u8) {
    if view.values.iter().all(|(n, _)| *n != number) {
        view.values.push((number, value));
        view.values.sort_unstable();
    }
}

/// Whether a status has an open intent.
pub(crate) fn is_open(status: &Status) -> bool {
    status.create.as_ref().is_some_and(|i| !i.withdrawn && status.history.iter().all(|r| r.intent != i.id))
}

/// Whether an object has our finalizer and no sign of what it did.
pub(crate) fn is_bare(object: &Object) -> bool {
    object.finalizer && object.status.history.is_empty() && object.status.create.is_none()
}

fn note_sights(memory: &mut Memory, object: &Object, config: &Config) {
    if let Some(intent) = &object.status.create
        && memory.intent.is_none_or(|(id, _)| id != intent.id)
    {
        let age = match memory.intent {
            Some((_, Fate::Ambiguous(age) | Fate::Found(age))) if config.broken == Some(Break::GraceOfAnyIntent) => age,
            _ => 0,
        };
        memory.intent = Some((intent.id, Fate::Found(age)));
    }
    if !is_bare(object) {
        memory.bare = None;
        memory.finalizer_is_ours &= object.finalizer && config.broken == Some(Break::OnceFreshAlwaysFresh);
    } else if memory.bare.is_none() {
        memory.bare = Some(0);
    }
}
