//! The operator under the chart's rights, through the proxy: what the tests of crashes stand on.

use std::time::Duration;

use kit::proxy::{Action, Moment, Proxy, Rule};
use kit::{ControlPlane, Operator, install};
use tokio::time::timeout;

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_operator_is_killed_at_a_request_of_our_choice() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.namespace("killed").await.unwrap();
    let watch = format!("watchNamespaces={{{namespace}}}");
    let installed = install::chart(plane, &namespace, &[&watch]).await.unwrap();
    let proxy = Proxy::start(plane).await.unwrap();
    let mut options = installed.operator();
    options.kubeconfig = proxy.kubeconfig(&installed.kubeconfig).unwrap();
    let lease = ["get", "lease", "operator", "-n", &*namespace, "-o", "name"];

    for (moment, there) in [(Moment::Before, false), (Moment::After, true)] {
        let mut rule = proxy.add(Rule::on("create", "leases").namespace(&namespace), Action::Hold(moment));
        let operator = Operator::launch(plane.run_dir(), &options).await.unwrap();
        let held = timeout(SOON, rule.hit()).await.unwrap().unwrap();
        operator.process().kill().unwrap();
        held.cut();
        assert_eq!(plane.kubectl(&lease).await.unwrap().success(), there, "{moment:?}");
    }

    // The Lease that was made without anybody knowing runs out, and the next one leads.
    let operator = Operator::start(plane.run_dir(), &options).await.unwrap();
    kit::eventually(SOON, "it leads and watches", || async {
        let watches = proxy.count("watch", "secretversions");
        anyhow::ensure!(watches == 1, "{watches} watches");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(proxy.count("create", "leases"), 2);
    assert_eq!(operator.process().stop().await.unwrap(), 0, "{}", operator.process().log_tail());
}
