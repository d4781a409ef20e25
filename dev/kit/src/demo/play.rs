//! What to try once the story is told.

use anyhow::Result;

use super::remote::{Remote, SMTP_RELAY};
use super::stage::Stage;
use super::terminal::Terminal;

/// Says how to play on.
pub(super) fn explain(stage: &Stage, terminal: &Terminal) -> Result<()> {
    let (cluster, ns) = (stage.cluster(), stage.namespace());
    let kubectl = cluster.assets().path(kit::assets::Binary::Kubectl)?;
    let bin = kubectl.parent().unwrap_or(kubectl).display();
    terminal.heading("Play on: everything stays up until Ctrl-C");
    terminal.say("In another terminal:");
    terminal.command(&format!("export KUBECONFIG={} PATH={bin}:$PATH", cluster.kubeconfig_admin().display()));
    terminal.say("\nThen, for example:");
    let value = r#"{"user":"mailer","pass":"yours"}"#;
    for (what, command) in [
        ("what there is", format!("kubectl get abeja -n {ns} -o wide; kubectl describe sv smtp -n {ns}")),
        ("what can be said in a SecretVersion", "kubectl explain sv.spec --recursive".to_owned()),
        ("the examples of the repository", "ls examples/".to_owned()),
        (
            "delete a Secret: it is back at once",
            format!("kubectl delete secret smtp -n {ns}; kubectl get secret smtp -n {ns} -w"),
        ),
        (
            "make a version at the remote: it is followed within 5 s",
            format!("{}\n{}", stage.remote().variables().join("\n"), Remote::create_command(SMTP_RELAY, value)),
        ),
        (
            "let the remote fail: the value stays, the condition tells",
            format!(
                "curl -s {0}/_control/faults -d '{{\"match\": {{}}, \"action\": {{\"status\": {{\"code\": 503}}}}}}'\n\
                 curl -s -X DELETE {0}/_control/faults",
                stage.remote_url()
            ),
        ),
        ("what the operator says", format!("tail -f {}", stage.operator()?.process().log().display())),
    ] {
        terminal.say(&format!("\n# {what}"));
        terminal.say(&command);
    }
    Ok(())
}
