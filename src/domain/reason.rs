//! The closed set of reasons that conditions and events give. `docs/troubleshooting.md` has an entry for each.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a condition is as it is: one CamelCase word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// Every reason, for the test that compares them with the docs.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word as it stands in conditions.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// Everything is as the spec says.
    Synced,
    /// Work is under way.
    Progressing,
    /// Acting is switched off by `spec.suspend`.
    Suspended,
    /// No target is asked for.
    NoTarget,
    /// The connection does not exist, or is not open to this namespace and secret.
    ConnectionNotFound,
    /// The connection exists and cannot be used yet.
    ConnectionNotReady,
    /// The connection is being deleted.
    ConnectionDeleting,
    /// The connection's URL is not among the operator's allowed endpoints.
    EndpointNotAllowed,
    /// The connection's credential is missing or incomplete.
    CredentialNotFound,
    /// The connection's certificates are missing or unreadable.
    CaBundleInvalid,
    /// The connection allows reading only.
    ReadOnly,
    /// Another organization than the connection's was named through a cluster connection.
    OrganizationNotAllowed,
    /// No remote secret has the name.
    SecretNotFound,
    /// Several remote secrets have the name.
    AmbiguousName,
    /// The credential may not list secrets, so a name cannot be looked up.
    NameResolutionDenied,
    /// The connection now names another place than the one recorded.
    PlaceChanged,
    /// Another resource manages the remote secret.
    SecretClaimed,
    /// The source Secret does not exist.
    SourceNotFound,
    /// The source Secret lacks the key.
    SourceKeyNotFound,
    /// The source's value is empty.
    SourceEmpty,
    /// The source Secret may not be used as a source.
    SourceRefused,
    /// The source's value is too large for the remote.
    SourceTooLarge,
    /// Secrets are not watched, so changes cannot be followed.
    SecretsNotWatched,
    /// The operator's rights do not allow what is needed.
    KubernetesDenied,
    /// The apiserver did not do what was asked.
    KubernetesUnavailable,
    /// Creates come faster than they may be tried, whether the source asks for them or the remote refuses them.
    CreateRateLimited,
    /// A create's outcome is being found out.
    ResolvingCreate,
    /// Versions exist that could be the outcome of a create, and nothing can tell which.
    AmbiguousCreate,
    /// Several attempts ended without an outcome that can be seen.
    CreateUnresolved,
    /// The remote refused to create the version.
    CreateRejected,
    /// The remote serves other bytes than were sent.
    ValueAltered,
    /// The status that recorded what was done is gone.
    StatusLost,
    /// What was written to status did not come back as it was sent.
    NotPersisted,
    /// The recorded digest was made with a key that is gone, and the remote does not serve the value.
    DigestUnknown,
    /// The remote's list lacks a version that should be there.
    ListIncomplete,
    /// The version that was created is gone at the remote.
    VersionGone,
    /// The version that is referred to does not exist.
    VersionNotFound,
    /// No version of the secret is active.
    NoActiveVersion,
    /// The remote did not serve a value, or one that is not base64.
    ValueNotServed,
    /// The value is not a JSON object or array.
    ValueNotJson,
    /// The JSON value lacks the property, or it is null.
    PropertyNotFound,
    /// A Secret of that name exists and is not ours.
    TargetNotOwned,
    /// The Secret to merge into does not exist.
    TargetNotFound,
    /// A key is held by another field manager.
    TargetConflict,
    /// The Secret cannot be written as it is asked for.
    TargetInvalid,
    /// The remote does not accept the credential.
    Unauthorized,
    /// The credential may not do this at the remote.
    Forbidden,
    /// The remote does not know the secret.
    NotFound,
    /// The remote refused the request as it stands.
    BadRequest,
    /// The remote's state does not allow the request.
    RemoteConflict,
    /// The remote asked for patience.
    Throttled,
    /// The remote could not be reached, or failed.
    RemoteUnavailable,
    /// The remote's answer could not be understood.
    MalformedAnswer,
    /// The resource cannot be read: it does not fit the schema.
    InvalidResource,
    /// A promise of the operator or of a library was broken.
    InternalError,
    /// A version was created.
    VersionCreated,
    /// A version with the same value was found and is used.
    VersionReferenced,
    /// A create whose answer was lost was found.
    VersionRecovered,
    /// A version was activated.
    VersionActivated,
    /// A version was deactivated.
    VersionDeactivated,
    /// A version was deleted.
    VersionDeleted,
    /// The version was found, not created here, so it is not deactivated.
    NotCreatedHere,
    /// A version is kept because another resource serves it.
    VersionInUse,
    /// The record of created versions grew too long, and the oldest left it.
    HistoryTruncated,
    /// Versions were left at the remote when the resource went.
    VersionsRetained,
    /// Somebody else made a newer version.
    ForeignVersion,
    /// A version that looks like a late outcome of an earlier create appeared.
    LateVersion,
    /// The target Secret was written.
    TargetWritten,
    /// A Secret that is no longer the target was removed.
    TargetRemoved,
}
