//! A real control plane: etcd, kube-apiserver and kube-controller-manager as
//! separate processes on the loopback interface.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::assets::{self, Assets, Binary};
use crate::audit::{self, Audit, AuditLog, Mark};
use crate::cluster::Cluster;
use crate::etcd::Etcd;
use crate::kubeconfig;
use crate::pki::Pki;
use crate::ports::{self, random_hex};
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::wait::eventually;

/// How often ports are chosen anew when another process was faster.
const TRIES: usize = 5;

/// Up in 3 s on two idle cores; many times that on busy ones.
const READY_TIMEOUT: Duration = Duration::from_mins(2);

/// A controller manager with these does all that a cluster without nodes needs.
const CONTROLLERS: &str = "--controllers=garbage-collector-controller,namespace-controller,\
    serviceaccount-controller";

/// What can be chosen about a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the apiserver writes an audit log. Benchmarks may do without.
    pub audit: bool,
    /// More arguments of kube-apiserver; they win over the kit's own.
    pub apiserver_args: Vec<String>,
    /// More arguments of etcd; they win over the kit's own.
    pub etcd_args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { audit: true, apiserver_args: Vec::new(), etcd_args: Vec::new() }
    }
}

/// A running control plane: a [`Cluster`] whose processes can be stopped,
/// killed, paused and restarted one by one. Dropped, all are killed.
///
/// A killed or stopped process is started again with `start` or `restart`,
/// followed by [`ControlPlane::wait_ready`].
#[derive(Debug)]
pub struct ControlPlane {
    // Killed in this order when dropped: none sees its server go first.
    controller_manager: Option<Process>,
    apiserver: Process,
    etcd: Process,
    store: Etcd,
    audit_log: Option<AuditLog>,
    cluster: Cluster,
}

impl ControlPlane {
    /// Finds or builds the binaries, starts the processes, waits until they are
    /// ready.
    pub async fn start(options: Options) -> Result<Self> {
        let assets = spawn_blocking(|| assets::resolve(&Binary::ALL)).await??;
        for _ in 0..TRIES {
            let started = Self::launch(&assets, &options)?;
            let Err(error) = started.become_ready().await else {
                return Ok(started);
            };
            if !started.found_port_taken() {
                started.run_dir().keep();
                return Err(error);
            }
        }
        bail!("the chosen ports were taken by others {TRIES} times")
    }

    /// The control plane that all tests of this process share, each in a
    /// [namespace](Cluster::namespace) of its own. It ends with the process.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                // Every test gets the one error: none tries again for minutes.
                Self::start(Options::default()).await.map_err(|error| format!("{error:#}"))
            })
            .await
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    /// Stops all processes, the apiserver before its store: without it the
    /// apiserver would wait for etcd, and keep its port.
    pub async fn stop(self) -> Result<()> {
        if let Some(process) = &self.controller_manager {
            process.stop().await?;
        }
        self.apiserver.stop().await?;
        self.etcd.stop().await?;
        Ok(())
    }

    /// The store's process.
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// The store itself.
    pub fn store(&self) -> &Etcd {
        &self.store
    }

    /// The API.
    pub fn apiserver(&self) -> &Process {
        &self.apiserver
    }

    /// The controllers; `None` where `KUBEBUILDER_ASSETS` has no binary of it.
    /// Tests of garbage collection and of the deletion of namespaces then say
    /// that they were skipped.
    ///
    /// It looks for new kinds every 30 s: the first deletion of an owner of a kind
    /// that was just installed is seen late, unless the process is restarted.
    pub fn controller_manager(&self) -> Option<&Process> {
        self.controller_manager.as_ref()
    }

    /// The cluster without its processes.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waits until the apiserver says that it is ready and the `default`
    /// namespace exists, with its ServiceAccount where a controller manager runs.
    /// Fails at once when the apiserver or etcd ends.
    pub async fn wait_ready(&self) -> Result<()> {
        let result = self.ready().await;
        if result.is_err() {
            self.run_dir().keep();
        }
        result
    }

    /// All requests that have completed since the start.
    pub fn audit(&self) -> Result<Audit> {
        self.audit_since(Mark::default())
    }

    /// A place in the audit log, for [`ControlPlane::audit_since`].
    pub fn audit_mark(&self) -> Result<Mark> {
        self.audit_log()?.mark()
    }

    /// All requests that have completed since `mark`.
    pub fn audit_since(&self, mark: Mark) -> Result<Audit> {
        self.audit_log()?.since(mark)
    }

    fn audit_log(&self) -> Result<&AuditLog> {
        self.audit_log.as_ref().ok_or_else(|| anyhow!("this control plane was started without an audit log"))
    }

    fn launch(assets: &Assets, options: &Options) -> Result<Self> {
        let run = RunDir::create()?;
        let etcd_url = format!("http://127.0.0.1:{}", ports::free()?);
        let mut command = etcd_command(assets, &run, &etcd_url)?;
        command.args(&options.etcd_args);
        let etcd = Process::new("etcd", command, &run)?;

        let port = ports::free()?;
        let server = format!("https://127.0.0.1:{port}");
        let pki = Pki::generate()?;
        let (admin, manager) = (random_hex::<16>()?, random_hex::<16>()?);
        // Two names in one group, so that the audit log tells them apart.
        let tokens = format!(
            "{admin},kit:admin,1,system:masters\n\
             {manager},kit:controller-manager,2,system:masters\n"
        );
        let audit_log = options.audit.then(|| AuditLog::new(run.path().join("audit.log")));
        let mut command = apiserver_command(assets, &run, &pki, &tokens)?;
        command.arg(format!("--etcd-servers={etcd_url}"));
        command.arg(format!("--secure-port={port}"));
        if let Some(log) = &audit_log {
            let policy = run.write("audit-policy.yaml", audit::POLICY.as_bytes())?;
            command.arg(flag("--audit-policy-file", &policy));
            command.arg(flag("--audit-log-path", log.path()));
            // Megabytes before the log is rotated: marks point into one file.
            command.arg("--audit-log-maxsize=100000");
        }
        command.args(&options.apiserver_args);
        let apiserver = Process::new("kube-apiserver", command, &run)?;

        let config = kubeconfig::with_token(&server, &pki.ca, &manager);
        let config = run.write("controller-manager.json", config.to_string().as_bytes())?;
        let controller_manager = assets
            .get(Binary::KubeControllerManager)
            .map(|path| {
                let command = controller_manager_command(path, &config);
                Process::new("kube-controller-manager", command, &run)
            })
            .transpose()?;

        let config = kubeconfig::with_token(&server, &pki.ca, &admin);
        let config = run.write("admin.json", config.to_string().as_bytes())?;
        etcd.start()?;
        // It waits for its store by itself.
        apiserver.start()?;
        let (store, cluster) = (Etcd::new(etcd_url), Cluster::new(assets.clone(), config, run));
        Ok(Self { controller_manager, apiserver, etcd, store, audit_log, cluster })
    }

    async fn become_ready(&self) -> Result<()> {
        self.api_ready().await?;
        if let Some(process) = &self.controller_manager {
            // Started earlier, it would give up on an apiserver that is slow.
            process.start()?;
        }
        self.ready().await
    }

    async fn api_ready(&self) -> Result<()> {
        let ready = eventually(READY_TIMEOUT, "kube-apiserver is ready", || async {
            self.kubectl(&["get", "--raw", "/readyz"]).await?.ok()?;
            let get = ["get", "namespace", "default", "-o", "name"];
            self.kubectl(&get).await?.ok()
        });
        self.etcd.unless_it_ends(self.apiserver.unless_it_ends(ready)).await?;
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        self.api_ready().await?;
        let Some(process) = self.controller_manager.as_ref().filter(|it| it.is_running()) else {
            return Ok(());
        };
        let what = "the default ServiceAccount exists";
        let ready = eventually(READY_TIMEOUT, what, || async {
            let get = ["get", "serviceaccount", "default", "-n", "default"];
            self.kubectl(&get).await?.ok()
        });
        process.unless_it_ends(ready).await?;
        Ok(())
    }

    fn found_port_taken(&self) -> bool {
        self.etcd.found_port_taken() || self.apiserver.found_port_taken()
    }
}

impl Deref for ControlPlane {
    type Target = Cluster;

    /// A control plane is a cluster whose processes we hold as well.
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

fn etcd_command(assets: &Assets, run: &Arc<RunDir>, url: &str) -> Result<Command> {
    let peer = format!("http://127.0.0.1:{}", ports::free()?);
    let mut command = Command::new(assets.path(Binary::Etcd)?);
    command
        .arg("--name=default")
        .arg(flag("--data-dir", &run.data().join("etcd")))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        // The data need not survive a loss of power, only of the process.
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    Ok(command)
}

fn apiserver_command(assets: &Assets, run: &Arc<RunDir>, pki: &Pki, tokens: &str) -> Result<Command> {
    let tokens = run.write("tokens.csv", tokens.as_bytes())?;
    let certificate = run.write("serving.crt", pki.serving_certificate.as_bytes())?;
    let key = run.write("serving.key", pki.serving_key.as_bytes())?;
    let signing = run.write("service-account.key", pki.service_account_key.as_bytes())?;
    let verifying = run.write("service-account.pub", pki.service_account_public_key.as_bytes())?;
    let mut command = Command::new(assets.path(Binary::KubeApiserver)?);
    command
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=127.0.0.1")
        // The `kubernetes` Service may not point at loopback, and nobody uses it.
        .arg("--endpoint-reconciler-type=none")
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg(flag("--tls-cert-file", &certificate))
        .arg(flag("--tls-private-key-file", &key))
        .arg(flag("--token-auth-file", &tokens))
        .arg("--authorization-mode=RBAC")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("--service-account-key-file", &verifying))
        .arg(flag("--service-account-signing-key-file", &signing))
        // Else a shutdown waits a minute for watches, which never end on their own.
        .arg("--shutdown-watch-termination-grace-period=2s")
        // It waits for ServiceAccounts before it admits pods, of which none run.
        .arg("--disable-admission-plugins=ServiceAccount");
    Ok(command)
}

fn controller_manager_command(path: &Path, config: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .arg(flag("--kubeconfig", config))
        .arg("--leader-elect=false")
        // It need not serve: its end and its log tell how it does.
        .arg("--secure-port=0")
        .arg(CONTROLLERS);
    command
}

fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push("=");
    flag.push(path);
    flag
}
