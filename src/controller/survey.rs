//! Who else is at a resource's place: who owns it, and what the others serve.

use std::collections::BTreeSet;

use crate::api::v1alpha1::SecretVersion;
use crate::domain::create::is_open;
use crate::domain::decide::recorded_place;
use crate::domain::observed::Owner;
use crate::domain::owner::{Claim, owner};
use crate::domain::place::Place;

use super::context::Ctx;
use super::index::{ConnectionKey, Key};
use super::pass::Pass;

impl Pass<'_> {
    /// Looks at the other resources of the place: who owns it, and what they serve. Who only follows owns nothing and deletes nothing,
    /// and of those there may be thousands.
    pub(super) fn survey(&mut self) {
        let Some(place) = self.place().filter(|_| self.observed.cr.spec.value_from.is_some()) else { return };
        let mut claims: Vec<Claim> = self.claim(&self.observed.cr, &place).into_iter().collect();
        let mut served = BTreeSet::new();
        let me = self.observed.cr.metadata.uid.clone();
        for key in self.ctx.index.of_remote(&place.secret_id) {
            let Some(object) = self.ctx.resource(&key) else { continue };
            let Ok(other) = &object.0 else { continue };
            if other.metadata.uid == me || place_of(self.ctx, other).as_ref() != Some(&place) {
                continue;
            }
            if other.metadata.deletion_timestamp.is_none() {
                served.extend(other.status.as_ref().and_then(|s| s.version_id.clone()));
            }
            if other.spec.value_from.is_some() {
                claims.extend(self.claim(other, &place));
            }
        }
        self.observed.served_elsewhere = served;
        self.observed.owner = match owner(&claims) {
            Some(first) if Some(&first.uid) != me.as_ref() => Owner::Other(first.name.clone()),
            _ => Owner::This,
        };
    }

    fn claim(&self, cr: &SecretVersion, place: &Place) -> Option<Claim> {
        let uid = cr.metadata.uid.clone()?;
        let status = cr.status.as_ref();
        let here = place.to_string();
        let open = status.is_some_and(|s| {
            is_open(s) && s.create.as_ref().is_some_and(|intent| intent.place == here && intent.uid == uid)
        });
        Some(Claim {
            has_intent: open || self.ctx.places.claimant(place).as_ref() == Some(&uid),
            has_record: status.is_some_and(|s| s.history.iter().any(|r| r.place == here && r.uid == uid)),
            created: cr.metadata.creation_timestamp.as_ref().map(|t| t.0),
            name: Key::of(cr).to_string(),
            uid,
        })
    }
}

/// The place of another resource: what it recorded, else what its spec and connection name.
pub(super) fn place_of(ctx: &Ctx, cr: &SecretVersion) -> Option<Place> {
    recorded_place(cr).or_else(|| {
        let connection = ConnectionKey::of(cr);
        let remote = &cr.spec.remote_ref;
        Some(Place {
            url: ctx.connections.url(&connection)?,
            organization_id: remote.organization_id.clone().or_else(|| ctx.connections.organization(&connection))?,
            secret_id: remote.secret_id.clone()?,
        })
    })
}
