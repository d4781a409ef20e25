//! Everything that runs during the demo, and how it comes and goes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kit::binaries::{self, Profile};
use kit::controlplane::{ControlPlane, Options};
use kit::install::{self, Installed};
use kit::run_dir::RunDir;
use kit::{Cluster, Operator, Simulator, simulator};

use super::remote::Remote;
use super::terminal::Terminal;

const RELEASE: &str = "secret-version-operator";
const SEED: &str = include_str!("../../../../simulator/seeds/demo.yaml");

/// Whose cluster it is.
enum Ground {
    /// Made for this demo, and gone with it.
    Ours(Box<ControlPlane>),
    /// A user's own: it is left as it was found.
    Theirs(Cluster),
}

/// The processes of the demo.
pub(super) struct Stage {
    // Killed in this order when dropped.
    operator: Option<Operator>,
    simulator: Simulator,
    ground: Ground,
    system: String,
    namespace: String,
    had_definitions: bool,
}

impl Stage {
    /// Builds or finds all binaries (silently: `make` has done so before), starts what is ours, and looks at a cluster that is not.
    pub(super) async fn prepare(kubeconfig: Option<&Path>, terminal: &Terminal) -> Result<Self> {
        binaries::path(RELEASE, Profile::Dev).await?;
        let ground = if let Some(kubeconfig) = kubeconfig {
            Ground::Theirs(Cluster::existing(kubeconfig).await?)
        } else {
            terminal.say("Starting a control plane: etcd, kube-apiserver, kube-controller-manager.");
            Ground::Ours(Box::new(ControlPlane::start(Options::default()).await?))
        };
        terminal.say("Starting the remote: abeja-simulator with the secrets of simulator/seeds/demo.yaml.");
        let run = Arc::clone(ground.cluster().run_dir());
        let simulator = Simulator::start(&run, SEED, simulator::Options::default()).await?;
        let mut stage = Self {
            operator: None,
            simulator,
            ground,
            system: "svo-system".to_owned(),
            namespace: "billing".to_owned(),
            had_definitions: false,
        };
        if kubeconfig.is_some() {
            stage.look_around().await?;
        }
        terminal.say(&format!("Logs of all of them: {}", run.path().display()));
        Ok(stage)
    }

    /// Chooses names in a cluster that is not ours, and refuses one where another operator would join in.
    async fn look_around(&mut self) -> Result<()> {
        let cluster = self.cluster();
        let label = format!("app.kubernetes.io/name={RELEASE}");
        let others = cluster.kubectl(&["get", "deployments", "-A", "-l", &label, "-o", "name"]).await?.ok()?;
        if !others.trim().is_empty() {
            bail!(
                "this cluster has a {RELEASE} already, which would act on the demo's resources too; take another cluster"
            );
        }
        let definitions = cluster.kubectl(&["get", "crd", "secretversions.secrets.abeja.io"]).await?;
        self.had_definitions = definitions.success();
        let name = format!("svo-demo-{:x}", std::process::id());
        (self.system, self.namespace) = (name.clone(), name);
        Ok(())
    }

    /// Installs the chart and starts the operator with the rights and arguments that the chart gives.
    pub(super) async fn set_up(&mut self, terminal: &Terminal) -> Result<()> {
        terminal.heading("Install");
        let cluster = self.cluster();
        let mut script = format!(
            "helm install {RELEASE} charts/{RELEASE} --hide-notes \\\n    --namespace {} --create-namespace \\\n    \
             --set replicaCount=0 --set log.format=text \\\n    \
             --set endpoints.allowInsecure=true --set 'endpoints.allowed={{{}}}'",
            self.system,
            self.simulator.url()
        );
        if let Ground::Theirs(_) = self.ground {
            let definitions = if self.had_definitions { " --set crds.install=false" } else { "" };
            let _ = write!(script, " \\\n    --set 'watchNamespaces={{{}}}'{definitions}", self.namespace);
        }
        self.run(terminal, &script).await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd/secretversions.secrets.abeja.io"];
        cluster.kubectl(&wait).await?.ok()?;
        if let Ground::Ours(plane) = &self.ground
            && let Some(process) = plane.controller_manager()
        {
            // It looks for new kinds only now and then, and the story does not wait for that.
            process.restart().await?;
        }
        let installed = install::installed(cluster, &self.system, RELEASE).await?;
        self.start_operator(terminal, &installed).await
    }

    async fn start_operator(&mut self, terminal: &Terminal, installed: &Installed) -> Result<()> {
        terminal.say("");
        terminal
            .say("A control plane without nodes runs no pods, and the simulator listens on this machine alone: hence");
        terminal.say("no replicas. The operator runs here, with the chart's ServiceAccount and the chart's arguments.");
        terminal.command(&format!("{RELEASE} run \\\n    {}", installed.args.join(" \\\n    ")));
        let operator = Operator::start(self.cluster().run_dir(), &installed.operator()).await?;
        terminal.output(&format!("ready; its log: {}", operator.process().log().display()));
        self.operator = Some(operator);
        Ok(())
    }

    /// The cluster.
    pub(super) fn cluster(&self) -> &Cluster {
        self.ground.cluster()
    }

    /// Whether somebody collects garbage. Not where `KUBEBUILDER_ASSETS` has no controller manager.
    pub(super) fn collects_garbage(&self) -> bool {
        match &self.ground {
            Ground::Ours(plane) => plane.controller_manager().is_some(),
            Ground::Theirs(_) => true,
        }
    }

    /// Where the story takes place.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether that namespace is still to be made.
    pub(super) fn lacks_namespace(&self) -> bool {
        self.namespace != self.system
    }

    /// The remote.
    pub(super) fn remote(&self) -> Remote {
        Remote::new(self.simulator.url())
    }

    /// Its base URL.
    pub(super) fn remote_url(&self) -> &str {
        self.simulator.url()
    }

    /// The operator, once it has been started.
    pub(super) fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("the operator was not started")
    }

    /// Shows a command, runs it, shows what it printed. A command that fails is an error.
    pub(super) async fn run(&self, terminal: &Terminal, script: &str) -> Result<String> {
        terminal.command(script);
        let output = self.cluster().shell(&root(), script).await?;
        terminal.output(&output.stdout);
        terminal.output(&output.stderr);
        if !output.success() {
            bail!("the last command ended with code {}", output.status);
        }
        Ok(output.stdout)
    }

    /// Shows where to look. What went wrong is said at the very end.
    pub(super) fn explain(&self, terminal: &Terminal) {
        terminal.say("");
        terminal.problem("The story did not go as it should.");
        // The error of one that has ended shows its log already.
        if let Some(operator) = self.operator.as_ref().filter(|operator| operator.process().is_running()) {
            terminal.say(&operator.process().log_tail());
        }
        let run: &Arc<RunDir> = self.cluster().run_dir();
        run.keep();
    }

    /// Stops everything, and leaves a cluster that is not ours as it was found.
    pub(super) async fn tidy_up(&mut self, terminal: &Terminal) -> Result<()> {
        terminal.heading("End");
        if let Ground::Theirs(_) = self.ground {
            terminal.say(&format!("Removing the namespace {} and all that came with it.", self.namespace));
            self.leave().await.context(self.left_behind())?;
        }
        if let Some(operator) = self.operator.take().filter(|operator| operator.process().is_running()) {
            let code = operator.process().stop().await?;
            if code != 0 {
                bail!("the operator ended with code {code}; {}", operator.process().log_tail());
            }
        }
        terminal.say("Everything is stopped, nothing is left behind.");
        Ok(())
    }

    /// With the operator still running, so that resources end as they should.
    async fn leave(&self) -> Result<()> {
        const KINDS: &str = "secretversions.secrets.abeja.io,abejaconnections.secrets.abeja.io";
        let cluster = self.cluster();
        let namespace = ["-n", self.namespace.as_str()];
        let all = [&["delete", KINDS, "--all", "--timeout=60s"][..], &namespace].concat();
        let deleted = cluster.kubectl(&all).await?;
        if !deleted.success() {
            // Its remote is gone in a moment, and with it all that a finalizer could wait for.
            let names = [&["get", KINDS, "-o", "name"][..], &namespace].concat();
            for name in cluster.kubectl(&names).await?.stdout.lines() {
                let finalizers = r#"{"metadata":{"finalizers":null}}"#;
                let patch = [&["patch", name, "--type=merge", "-p", finalizers][..], &namespace].concat();
                let _ = cluster.kubectl(&patch).await?;
            }
        }
        cluster.helm(&["uninstall", RELEASE, "-n", &self.system, "--ignore-not-found"]).await?.ok()?;
        if !self.had_definitions {
            let names = ["secretversions", "abejaconnections", "clusterabejaconnections"];
            let names = names.map(|name| format!("crd/{name}.secrets.abeja.io"));
            let delete = ["delete", "--ignore-not-found", "--timeout=60s", &names[0], &names[1], &names[2]];
            cluster.kubectl(&delete).await?.ok()?;
        }
        let delete = ["delete", "namespace", &self.system, "--ignore-not-found", "--timeout=120s"];
        cluster.kubectl(&delete).await?.ok()?;
        Ok(())
    }

    /// What a user may find if tidying up did not come to its end.
    pub(super) fn left_behind(&self) -> String {
        match &self.ground {
            Ground::Ours(_) => "nothing outlives this process".to_owned(),
            Ground::Theirs(_) => format!(
                "the namespace {} may be left, cluster roles whose names begin with it, and the definitions of secrets.abeja.io",
                self.system
            ),
        }
    }
}

impl Ground {
    fn cluster(&self) -> &Cluster {
        match self {
            Self::Ours(plane) => plane.cluster(),
            Self::Theirs(cluster) => cluster,
        }
    }
}

/// The top of the repository, where `make` is typed.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
