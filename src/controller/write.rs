//! Writes of the resource itself: its status and its finalizer, each held to the resource as it was seen.

use kube::api::Patch;
use kube::core::ObjectMeta;

use crate::api::v1alpha1::{SecretVersion, SecretVersionStatus};
use crate::domain::create::bare;

use super::error::Error;
use super::memory::lock;
use super::pass::Pass;
use super::patch;

/// How often a write is tried whose resource others write, too.
const MAX_TRIES: usize = 5;

impl Pass<'_> {
    /// The resource as it is now, after a read or a write of it. Whatever was compared with the old one is compared anew.
    pub(super) fn set_cr(&mut self, cr: SecretVersion, written: bool) {
        {
            let mut memory = lock(&self.memory);
            if written {
                memory.replaced(self.observed.cr.metadata.resource_version.clone(), &cr);
            }
            // Bare once more after this, it will have lost what was written.
            memory.finalizer_is_fresh &= bare(&cr);
        }
        self.observed.cr = cr;
        self.remember();
        self.compare();
    }

    /// Writes the status where it differs. The answer must hold what was sent.
    pub(super) async fn write_status(&mut self, wanted: &SecretVersionStatus) -> Result<bool, Error> {
        let old = self.observed.cr.status.clone().unwrap_or_default();
        if patch::status(&old, wanted, &self.observed.cr.metadata).is_none() {
            return Ok(true);
        }
        let body = |meta: &ObjectMeta| patch::status(&old, wanted, meta).unwrap_or_default();
        let written = self.patch("writing the status", Some("status"), body).await?;
        let held = written.status.as_ref() == Some(wanted);
        self.ctx.tell_transition(&written, &old.conditions, &wanted.conditions);
        self.set_cr(written, true);
        Ok(held)
    }

    /// Sends a patch that holds for the resource as it was seen. Where others write all the time what is no concern of the
    /// rules, it holds for the resource as it is now: else none would ever be in time.
    pub(super) async fn patch(
        &mut self,
        op: &'static str,
        subresource: Option<&str>,
        body: impl Fn(&ObjectMeta) -> serde_json::Value,
    ) -> Result<SecretVersion, Error> {
        let (api, name) = (self.api(), self.name().to_owned());
        let mut tries = 1;
        loop {
            let patch = Patch::Merge(body(&self.observed.cr.metadata));
            let answer = match subresource {
                Some(subresource) => api.patch_subresource(subresource, &name, &patch::params(), &patch).await,
                None => api.patch(&name, &patch::params(), &patch).await,
            };
            match answer {
                Ok(mut written) => {
                    // It is remembered as the cache would have it.
                    patch::prune(&mut written.metadata);
                    return Ok(written);
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Err(Error::Gone),
                Err(kube::Error::Api(status)) if status.is_conflict() && tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(Error::kube(op, error)),
            }
            let now = api.get_opt(&name).await.map_err(|error| Error::kube(op, error))?;
            let Some(mut now) = now.filter(|now| now.metadata.uid == self.observed.cr.metadata.uid) else {
                return Err(Error::Gone);
            };
            patch::prune(&mut now.metadata);
            // The cache may lag for long, and each pass that believed it would end here.
            lock(&self.memory).replaced(self.observed.cr.metadata.resource_version.clone(), &now);
            if !patch::alike(&now, &self.observed.cr) {
                return Err(Error::Conflict);
            }
            self.observed.cr = now;
        }
    }
}
