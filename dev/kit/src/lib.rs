//! Starts and stops real processes for the demo, the tests and the benchmarks:
//! a control plane, the simulator and the operator.
//!
//! This crate owns where binaries come from, how processes live and die, and
//! how the cluster is asked from outside. It knows nothing of what the operator
//! does, and must not depend on the operator's crate: whoever uses it asserts.
//!
//! | module | owns |
//! | --- | --- |
//! | [`assets`] | the control plane's binaries: a user's, the cache's, or built |
//! | [`go`] | the Go toolchain and what is built with it |
//! | [`python`] | virtual environments in the cache |
//! | [`binaries`] | the workspace's own binaries |
//! | [`cache`] | one build at a time, never half-written |
//! | [`supervisor`] | a child that never outlives its parent |
//! | [`process`] | a named process that can be stopped, killed, paused, restarted |
//! | [`run_dir`] | one folder of logs and data per run |
//! | [`controlplane`] | etcd, kube-apiserver, kube-controller-manager |
//! | [`etcd`] | the store, asked and troubled directly |
//! | [`cluster`] | kubectl, helm and kubeconfigs of any cluster |
//! | [`install`] | the chart, so that the operator has its rights and no others |
//! | [`kubeconfig`] | files that name a cluster and a user |
//! | [`metrics`] | sums over a page of metrics |
//! | [`audit`] | who asked the apiserver for what |
//! | [`proxy`] | faults between a client and the apiserver |
//! | [`simulator`], [`operator`] | the two processes under test |
//! | [`wait`] | conditions awaited, never slept for |
//!
//! Four environment variables change what it does: `KUBEBUILDER_ASSETS`
//! ([`assets`]), `XDG_CACHE_HOME` ([`cache`]), `SVO_BIN_DIR` ([`binaries`]) and
//! `KIT_KEEP_LOGS` ([`run_dir`]).

pub mod assets;
pub mod audit;
pub mod binaries;
pub mod cache;
pub mod cluster;
pub mod controlplane;
pub mod etcd;
pub mod go;
mod http;
pub mod install;
pub mod kubeconfig;
pub mod metrics;
pub mod operator;
mod pki;
mod ports;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod python;
pub mod run_dir;
pub mod simulator;
pub mod supervisor;
pub mod wait;

pub use cluster::{Cluster, Output};
pub use controlplane::ControlPlane;
pub use operator::Operator;
pub use proxy::Proxy;
pub use simulator::Simulator;
pub use wait::eventually;
