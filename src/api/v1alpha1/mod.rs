//! Version `v1alpha1` of the resources.

mod connection;
mod rules;
mod secret_version;

pub use connection::*;
pub use secret_version::*;
