//! The control plane's binaries: a user's own, the cache's, or built here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Lock};
use crate::go::{self, Go};
use crate::progress::say;

/// Names the folder of binaries that a user has already, as in other projects.
pub const ASSETS_ENV: &str = "KUBEBUILDER_ASSETS";

/// Built from its own module; the others are pinned by `dev/controlplane/go.mod`.
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";

/// Without a stamped version `kubectl version` fails, and clients that look at
/// the server's version misjudge it.
const LDFLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=37";

/// One of the five binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binary {
    /// The store.
    Etcd,
    /// The API.
    KubeApiserver,
    /// Garbage collection, deletion of namespaces, default `ServiceAccounts`.
    KubeControllerManager,
    /// The user's client.
    Kubectl,
    /// Installs charts.
    Helm,
}

impl Binary {
    /// In the order of their builds, in which each finds the packages that it
    /// shares with an earlier one compiled.
    pub const ALL: [Self; 5] =
        [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl, Self::Helm];

    /// The name of the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    /// Measured on two cores, after those before it, with nothing cached.
    const fn build_time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Etcd => 40,
            Self::KubeApiserver => 210,
            Self::KubeControllerManager => 75,
            Self::Kubectl => 20,
            Self::Helm => 90,
        })
    }

    /// Whether a control plane can do without: a user's folder rarely has these
    /// two, and is not made to wait for a build.
    const fn is_optional(self) -> bool {
        matches!(self, Self::KubeControllerManager | Self::Helm)
    }
}

/// Where each binary is.
#[derive(Debug, Clone)]
pub struct Assets {
    found: BTreeMap<Binary, PathBuf>,
}

impl Assets {
    /// The path of a binary, or an error that says why there is none.
    pub fn path(&self, binary: Binary) -> Result<&Path> {
        self.get(binary).with_context(|| {
            format!(
                "no {name}: the folder that {ASSETS_ENV} names has none, and neither has the cache; \
                 run without {ASSETS_ENV} once, and it is built",
                name = binary.name()
            )
        })
    }

    /// The path of a binary, unless it is absent. Only kube-controller-manager
    /// and helm can be, and only where `KUBEBUILDER_ASSETS` is set.
    pub fn get(&self, binary: Binary) -> Option<&Path> {
        self.found.get(&binary).map(PathBuf::as_path)
    }
}

/// Finds the binaries in `wanted`, and builds those that are missing: minutes the
/// first time, which standard error tells about. Blocks.
///
/// Where `KUBEBUILDER_ASSETS` is set, its folder comes first and the cache
/// second; kube-controller-manager and helm are then taken from either or
/// reported as absent, never built.
pub fn resolve(wanted: &[Binary]) -> Result<Assets> {
    let theirs = std::env::var_os(ASSETS_ENV).filter(|value| !value.is_empty()).map(PathBuf::from);
    let source = Source::read()?;
    let folder = source.folder()?;
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for &binary in wanted {
        let own = folder.join(binary.name());
        let candidates = theirs.iter().map(|dir| dir.join(binary.name()));
        if let Some(path) = candidates.chain([own]).find(|path| path.is_file()) {
            found.insert(binary, path);
        } else if theirs.is_none() || !binary.is_optional() {
            missing.push(binary);
        }
    }
    if !missing.is_empty() {
        found.extend(source.build(&folder, &missing)?);
    }
    Ok(Assets { found })
}

/// What the binaries are built from.
struct Source {
    module: PathBuf,
    go_mod: String,
    key: String,
}

impl Source {
    fn read() -> Result<Self> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane");
        let read = |file: &str| {
            fs::read_to_string(module.join(file)).with_context(|| format!("cannot read dev/controlplane/{file}"))
        };
        let go_mod = read("go.mod")?;
        let mut inputs = vec![
            go_mod.clone(),
            read("go.sum")?,
            HELM.to_owned(),
            LDFLAGS.to_owned(),
            // A home folder may be shared by unlike machines.
            std::env::consts::OS.to_owned(),
            std::env::consts::ARCH.to_owned(),
        ];
        for binary in Binary::ALL {
            if binary != Binary::Helm {
                inputs.push(read(&format!("cmd/{}/main.go", binary.name()))?);
            }
        }
        let key = cache::key(inputs.iter().map(String::as_bytes));
        Ok(Self { module, go_mod, key })
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(cache::root()?.join(format!("controlplane-{}", self.key)).join("bin"))
    }

    fn build(&self, folder: &Path, missing: &[Binary]) -> Result<impl Iterator<Item = (Binary, PathBuf)>> {
        announce(folder, missing);
        let lock = cache::lock(folder)?;
        let go = Go::at_least(go::required(&self.go_mod)?)?;
        let mut built = Vec::new();
        for &binary in missing {
            built.push((binary, self.build_one(&go, &lock, folder, binary)?));
        }
        say("the control plane's binaries are ready");
        Ok(built.into_iter())
    }

    fn build_one(&self, go: &Go, lock: &Lock, folder: &Path, binary: Binary) -> Result<PathBuf> {
        cache::file(lock, folder, binary.name(), |path| {
            let partial = path.parent().context("a path in the cache")?;
            let mut command = go.command(&self.module);
            if binary == Binary::Helm {
                command.env("GOBIN", partial);
                command.args(["install", "-v", "-ldflags", "-s -w", HELM]);
            } else {
                command.args(["build", "-v", "-ldflags", LDFLAGS, "-o"]);
                command.arg(path);
                command.arg(format!("./cmd/{}", binary.name()));
            }
            let log = partial.join("build.log");
            go::build(binary.name(), binary.build_time(), &command, &log)?;
            if !path.is_file() {
                bail!("go made no {}", binary.name());
            }
            Ok(())
        })
    }
}

fn announce(folder: &Path, missing: &[Binary]) {
    let names: Vec<_> = missing.iter().map(|binary| binary.name()).collect();
    let time: Duration = missing.iter().map(|binary| binary.build_time()).sum();
    say(format!(
        "The control plane for tests and demo is built once from its Go modules: {names}.\n\
         This takes about {minutes} minutes on two cores, downloads about 350 MB of sources and \
         toolchain,\nand uses about 6 GB of disk, nearly all of it Go's own caches. It can be \
         interrupted at any moment.\nThe binaries are kept in {folder}.",
        names = names.join(", "),
        minutes = time.as_secs().div_ceil(60),
        folder = folder.display()
    ));
}
