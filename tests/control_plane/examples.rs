//! Every example that we show is one that the apiserver takes: the manifests of `examples/`, and every YAML block of README.md and
//! docs/ that has an apiVersion.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kit::{Cluster, ControlPlane, install};
use serde::Deserialize;

/// A manifest, and where it stands.
struct Example {
    at: String,
    text: String,
}

#[tokio::test]
async fn every_example_is_admitted() {
    let control_plane = ControlPlane::shared().await.unwrap();
    install::crds(control_plane).await.unwrap();
    let examples = examples();
    assert!(examples.iter().any(|example| example.at.starts_with("examples/")));
    make_namespaces(control_plane, &examples).await;
    for Example { at, text } in examples {
        let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = control_plane.kubectl_with_input(&apply, &text).await.unwrap();
        assert!(output.success(), "{at}: {}", output.stderr);
    }
}

fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut examples = Vec::new();
    for file in files(&root.join("examples"), "yaml") {
        let text = fs::read_to_string(&file).unwrap();
        examples.push(Example { at: relative(root, &file), text });
    }
    let readme = Some(root.join("README.md")).filter(|file| file.exists());
    for file in files(&root.join("docs"), "md").into_iter().chain(readme) {
        for (line, text) in yaml_blocks(&fs::read_to_string(&file).unwrap()) {
            if text.lines().any(|line| line.starts_with("apiVersion:")) {
                examples.push(Example { at: format!("{}:{line}", relative(root, &file)), text });
            }
        }
    }
    examples
}

/// The fenced blocks of YAML, each with the number of its first line.
fn yaml_blocks(markdown: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if matches!(line.trim_end(), "```yaml" | "```yml") {
            let block: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push((number + 2, block.join("\n")));
        }
    }
    blocks
}

/// The files below a folder, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap().display().to_string()
}

/// A dry run makes no namespace, and needs those that the examples name.
async fn make_namespaces(cluster: &Cluster, examples: &[Example]) {
    let mut names = BTreeSet::new();
    for Example { at, text } in examples {
        let documents: Vec<Manifest> =
            serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{at}: {error}"));
        names.extend(documents.into_iter().filter_map(|document| document.metadata.namespace));
    }
    for name in names {
        let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        cluster.kubectl_apply(&namespace).await.unwrap();
    }
}

#[derive(Deserialize)]
struct Manifest {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: Option<String>,
}
