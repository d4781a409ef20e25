//! Version `v1alpha1` of the resources.

#[allow(unreachable_pub, reason = "KubeSchema copies each struct into a function, where `pub` reaches nobody")]
mod connection;
mod rules;
#[allow(unreachable_pub, reason = "as above")]
mod secret_version;

pub use connection::*;
pub use secret_version::*;
