//! How the apiserver is found.

use std::path::PathBuf;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// What the command line said about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterAccess {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
}

/// Why no way to the apiserver was found.
#[derive(Debug, thiserror::Error)]
pub enum ClusterAccessError {
    /// A kubeconfig was asked for, and cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a pod's ServiceAccount.
    #[error("no cluster found: name one with --kubeconfig or KUBECONFIG, or run in a pod with a ServiceAccount")]
    Infer(#[from] InferConfigError),
}

impl ClusterAccess {
    /// Reads the kubeconfig that was named; else the one of `KUBECONFIG` or the home directory; else what a pod has.
    ///
    /// A context that was asked for is never replaced by another way in: acting on the wrong cluster is worse than not
    /// starting.
    pub async fn load(&self) -> Result<kube::Config, ClusterAccessError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => {
                let kubeconfig = Kubeconfig::read_from(path)?;
                kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?
            }
            (None, Some(_)) => kube::Config::from_kubeconfig(&options).await?,
            (None, None) => kube::Config::infer().await?,
        };
        Ok(config)
    }
}
