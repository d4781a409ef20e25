//! Bytes beside bytes and digests: what a pass was served and what the source holds, beside what the resource records. The
//! rules see what came of it, never a byte.

use crate::domain::observed::{Sight, Source};
use crate::remote::ServedValue;
use crate::secret::{Comparison, SecretBytes};

use super::pass::Pass;

impl Pass<'_> {
    /// Compares the source and every listed version with what the resource records.
    pub(super) fn compare(&mut self) {
        let Some(place) = self.place() else { return };
        let status = self.observed.cr.status.clone().unwrap_or_default();
        let keyring = &self.ctx.keyring;
        let beside = |digest: Option<&str>, bytes: &SecretBytes| match digest.map(|d| keyring.compare(d, &place, bytes))
        {
            None | Some(Comparison::Different) => Sight::Different,
            Some(Comparison::Equal) => Sight::Equal,
            Some(Comparison::Unknown) => Sight::Unknown,
        };
        let intent = status.create.as_ref();
        if let Some((bytes, object)) = &self.source {
            self.observed.seen.source = Some(Source::Bytes {
                object: object.clone(),
                digest: keyring.digest(&place, bytes),
                is_last: beside(status.digest.as_deref(), bytes),
                is_intent: beside(intent.map(|i| i.digest.as_str()), bytes),
            });
        }
        let source = self.source.as_ref().map(|(bytes, _)| bytes);
        for version in self.observed.seen.all_mut() {
            if let Some(ServedValue::Bytes(bytes)) = self.values.get(&version.id) {
                version.digest = Some(keyring.digest(&place, bytes));
                version.is_source = match source {
                    Some(source) if source == bytes => Sight::Equal,
                    Some(_) => Sight::Different,
                    None => Sight::Unknown,
                };
                version.is_intent = beside(intent.map(|i| i.digest.as_str()), bytes);
                let earlier = intent.into_iter().flat_map(|i| &i.earlier);
                let mut earlier = earlier.map(|e| beside(Some(&e.digest), bytes));
                version.is_earlier =
                    if earlier.any(|sight| sight == Sight::Equal) { Sight::Equal } else { Sight::Different };
            } else {
                version.digest = None;
                (version.is_source, version.is_intent, version.is_earlier) =
                    (Sight::Unknown, Sight::Unknown, Sight::Unknown);
            }
        }
    }
}
