//! The wire contract of our resources. Doc comments here are user documentation: `kubectl explain` shows them.

mod crds;
pub mod v1alpha1;

pub use crds::{crd_yaml, crds, crds_yaml};

/// API group of every resource of ours.
pub const GROUP: &str = "secrets.abeja.io";

/// Finalizer of a managed `SecretVersion` with a clean-up duty, and of a connection that such resources use.
pub const FINALIZER: &str = "secrets.abeja.io/cleanup";

/// Annotation on any resource of ours: a new value forces a sync past every cache, and is echoed in status.
pub const RECONCILE_REQUESTED_AT: &str = "secrets.abeja.io/reconcile-requested-at";

/// Annotation on a Secret: the name of the `SecretVersion` that may take it over.
pub const ADOPT: &str = "secrets.abeja.io/adopt";
