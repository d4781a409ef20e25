//! Version `v1alpha1` of the resources.

mod connection;
mod secret_version;

pub use connection::*;
pub use secret_version::*;
