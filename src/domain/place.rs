//! Where a remote secret lives. A record or an intent of another place is never acted on.

use std::fmt;

/// One remote secret: endpoint, organization and secret id together.
///
/// Everything that is recorded about versions is bound to the place it was seen in, because ids of one place say
/// nothing about another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Base URL of the remote, without a trailing slash.
    pub url: String,
    /// Organization id.
    pub organization_id: String,
    /// Secret id.
    pub secret_id: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.url, self.organization_id, self.secret_id)
    }
}
