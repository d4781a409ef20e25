//! The chapters. Each waits for what it tells; one that waits in vain is an error.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::eventually;

use super::remote::{DB_PASSWORD, ORGANIZATION, PERSONAL_ACCESS_TOKEN, Remote, SMTP_RELAY, USER_ID};
use super::stage::Stage;
use super::terminal::Terminal;

const SOON: Duration = Duration::from_secs(30);

/// Tells the whole story.
pub(super) async fn tell(stage: &Stage, terminal: &Terminal) -> Result<()> {
    let teller = Teller { stage, terminal, ns: stage.namespace() };
    teller.connect().await?;
    teller.create().await?;
    teller.rotate().await?;
    teller.fail().await?;
    teller.heal().await?;
    teller.switch().await?;
    teller.follow().await?;
    teller.delete().await
}

struct Teller<'a> {
    stage: &'a Stage,
    terminal: &'a Terminal,
    ns: &'a str,
}

impl Teller<'_> {
    async fn connect(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("1. Connect a namespace to an organization");
        self.terminal.say("A connection says where the remote is, and which Secret holds the credential for it.");
        if self.stage.lacks_namespace() {
            self.run(&format!("kubectl create namespace {ns}")).await?;
        }
        self.run(&format!(
            "kubectl create secret generic abeja-user -n {ns} \\\n    --from-literal=userId={USER_ID} \\\n    \
             --from-literal=personalAccessToken={PERSONAL_ACCESS_TOKEN}"
        ))
        .await?;
        self.apply(&format!(
            "apiVersion: secrets.abeja.io/v1alpha1\nkind: AbejaConnection\nmetadata: {{name: demo}}\nspec:\n  \
             url: {url}\n  organizationId: \"{ORGANIZATION}\"\n  auth: {{user: {{secretRef: {{name: abeja-user}}}}}}",
            url = self.stage.remote_url()
        ))
        .await?;
        self.run(&format!("kubectl wait -n {ns} abejaconnection/demo --for=condition=Ready --timeout=30s")).await?;
        self.run(&format!("kubectl get abejaconnections -n {ns}")).await?;
        Ok(())
    }

    async fn create(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("2. A managed SecretVersion creates a version at the remote");
        self.terminal.say("The remote has one version of the secret db-password, made by somebody else:");
        for variable in self.stage.remote().variables() {
            self.terminal.command(&variable);
        }
        self.versions(DB_PASSWORD).await?;
        self.terminal.say("");
        self.terminal.say("A Secret of ours is to be the next one:");
        self.run(&format!("kubectl create secret generic db-admin -n {ns} --from-literal=password=first-password"))
            .await?;
        self.apply(&format!(
            "apiVersion: secrets.abeja.io/v1alpha1\nkind: SecretVersion\nmetadata: {{name: db-password}}\nspec:\n  \
             connectionRef: {{kind: AbejaConnection, name: demo}}\n  remoteRef: {{secretId: \"{DB_PASSWORD}\"}}\n  \
             valueFrom: {{secretKeyRef: {{name: db-admin, key: password}}}}\n  refreshInterval: 5s"
        ))
        .await?;
        self.ready("db-password").await?;
        self.get().await?;
        self.terminal.say("");
        self.terminal.say("At the remote there is one new version:");
        self.expect_versions(DB_PASSWORD, &[(1, "active"), (2, "active")]).await?;
        self.terminal.say("");
        self.terminal.say("The value that the remote serves is in a Secret of the same name, for pods to use:");
        self.value("db-password", "first-password").await
    }

    async fn rotate(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("3. The source changes: one new version");
        self.terminal.say("Secrets are watched, so the operator knows at once:");
        self.run(&format!(
            "kubectl patch secret db-admin -n {ns} -p '{{\"stringData\":{{\"password\":\"second-password\"}}}}'"
        ))
        .await?;
        self.reaches("db-password", "version", "3").await?;
        self.expect_versions(DB_PASSWORD, &[(1, "active"), (2, "active"), (3, "active")]).await?;
        self.value("db-password", "second-password").await
    }

    async fn fail(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("4. The credential goes wrong: conditions say so, the value stays");
        self.credential("no-longer-valid").await?;
        self.run(&format!("kubectl wait -n {ns} sv/db-password --for=condition=Ready=False --timeout=30s")).await?;
        self.get().await?;
        let conditions = r#"{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}"#;
        self.run(&format!("kubectl get sv db-password -n {ns} -o jsonpath='{conditions}'")).await?;
        self.run(&format!("kubectl get abejaconnections -n {ns}")).await?;
        self.run(&format!("kubectl events -n {ns} --for=sv/db-password")).await?;
        self.terminal.say("");
        self.terminal.say("The last good value is where it was:");
        self.value("db-password", "second-password").await
    }

    async fn heal(&self) -> Result<()> {
        self.terminal.heading("5. The credential is right again");
        self.credential(PERSONAL_ACCESS_TOKEN).await?;
        self.ready("db-password").await?;
        self.get().await?;
        self.terminal.say("");
        self.terminal.say("Nothing was created meanwhile:");
        self.expect_versions(DB_PASSWORD, &[(1, "active"), (2, "active"), (3, "active")]).await
    }

    async fn switch(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("6. The version is switched off and on");
        self.terminal.say("What is wanted of the version is a field of the resource:");
        for (state, status) in [("Inactive", "inactive"), ("Active", "active")] {
            self.run(&format!(
                "kubectl patch sv db-password -n {ns} --type=merge -p '{{\"spec\":{{\"state\":\"{state}\"}}}}'"
            ))
            .await?;
            self.reaches("db-password", "state", state).await?;
            self.expect_versions(DB_PASSWORD, &[(1, "active"), (2, "active"), (3, status)]).await?;
        }
        self.get().await
    }

    async fn follow(&self) -> Result<()> {
        self.terminal.heading("7. An observed SecretVersion follows what others make");
        self.terminal.say("Its value is a JSON object, and each key of the Secret takes one property of it:");
        self.apply(
            "apiVersion: secrets.abeja.io/v1alpha1\nkind: SecretVersion\nmetadata: {name: smtp}\nspec:\n  \
             connectionRef: {kind: AbejaConnection, name: demo}\n  remoteRef: {secretName: smtp-relay}\n  \
             versionRef: {latest: Active}\n  refreshInterval: 5s\n  target:\n    data:\n    \
             - {key: username, property: user}\n    - {key: password, property: pass}",
        )
        .await?;
        self.ready("smtp").await?;
        self.keys("smtp", "password: second-relay-password").await?;
        self.terminal.say("");
        self.terminal.say("Somebody makes a version, behind the operator's back:");
        let value = r#"{"user":"mailer","pass":"third-relay-password"}"#;
        self.terminal.command(&Remote::create_command(SMTP_RELAY, value));
        self.terminal.output(&self.stage.remote().create(SMTP_RELAY, value).await?);
        self.reaches("smtp", "version", "3").await?;
        self.keys("smtp", "password: third-relay-password").await?;
        self.get().await
    }

    async fn delete(&self) -> Result<()> {
        let ns = self.ns;
        self.terminal.heading("8. The resource goes, and with it the versions that it created");
        self.terminal.say("Version 1 was made by somebody else, and stays:");
        self.run(&format!("kubectl delete sv db-password -n {ns} --timeout=60s")).await?;
        self.expect_versions(DB_PASSWORD, &[(1, "active")]).await?;
        if self.stage.collects_garbage() {
            self.terminal.say("");
            self.terminal.say("Its Secret goes too (a cluster may need half a minute to know a new kind of owner):");
            self.run(&format!("kubectl wait -n {ns} secret/db-password --for=delete --timeout=120s")).await?;
        } else {
            self.terminal.say("");
            self.terminal
                .say("Its Secret stays here: KUBEBUILDER_ASSETS has no kube-controller-manager to collect it.");
        }
        self.terminal.say("");
        self.terminal.say("The source, which is the user's own, stays:");
        self.run(&format!("kubectl get secrets,sv -n {ns}")).await?;
        self.terminal.say("");
        Ok(())
    }

    async fn run(&self, script: &str) -> Result<String> {
        self.stage.run(self.terminal, script).await
    }

    async fn apply(&self, manifest: &str) -> Result<()> {
        self.run(&format!("kubectl apply -n {} -f - <<EOF\n{manifest}\nEOF", self.ns)).await?;
        Ok(())
    }

    async fn ready(&self, name: &str) -> Result<()> {
        self.run(&format!("kubectl wait -n {} sv/{name} --for=condition=Ready --timeout=60s", self.ns)).await?;
        Ok(())
    }

    /// Waits for a field of the status. The Secret is written before the status tells of it.
    async fn reaches(&self, name: &str, field: &str, value: &str) -> Result<()> {
        let ns = self.ns;
        let condition = format!("--for=jsonpath='{{.status.{field}}}'={value}");
        self.run(&format!("kubectl wait -n {ns} sv/{name} {condition} --timeout=30s")).await?;
        Ok(())
    }

    async fn get(&self) -> Result<()> {
        self.run(&format!("kubectl get sv -n {}", self.ns)).await?;
        Ok(())
    }

    async fn credential(&self, token: &str) -> Result<()> {
        let patch = format!("{{\"stringData\":{{\"personalAccessToken\":\"{token}\"}}}}");
        self.run(&format!("kubectl patch secret abeja-user -n {} -p '{patch}'", self.ns)).await?;
        Ok(())
    }

    async fn versions(&self, secret: &str) -> Result<String> {
        self.terminal.command(&Remote::list_command(secret));
        let versions = self.stage.remote().list(secret).await?;
        self.terminal.output(&versions);
        Ok(versions)
    }

    /// Shows the versions, which must be these, by number and status.
    async fn expect_versions(&self, secret: &str, expected: &[(u64, &str)]) -> Result<()> {
        let remote = self.stage.remote();
        eventually(SOON, "the remote has the versions that the story tells of", || async {
            let versions = remote.list(secret).await?;
            ensure!(versions.lines().count() == expected.len(), "it has {versions}");
            for (line, (number, status)) in versions.lines().zip(expected) {
                let begin = format!("{{\"version\":{number},\"status\":\"{status}\"");
                ensure!(line.starts_with(&begin), "it has {versions}");
            }
            Ok(())
        })
        .await?;
        self.versions(secret).await?;
        Ok(())
    }

    async fn value(&self, name: &str, expected: &str) -> Result<()> {
        let template = "{{.data.value | base64decode}}{{\"\\n\"}}";
        let value = self.run(&format!("kubectl get secret {name} -n {} -o go-template='{template}'", self.ns)).await?;
        ensure!(value.trim() == expected, "the Secret {name} holds another value than {expected}");
        Ok(())
    }

    async fn keys(&self, name: &str, expected: &str) -> Result<()> {
        let template = "{{range $k, $v := .data}}{{$k}}: {{$v | base64decode}}{{\"\\n\"}}{{end}}";
        let keys = self.run(&format!("kubectl get secret {name} -n {} -o go-template='{template}'", self.ns)).await?;
        ensure!(keys.lines().any(|line| line == expected), "the Secret {name} lacks the line {expected}");
        Ok(())
    }
}
