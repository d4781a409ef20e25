//! What befalls whole namespaces and definitions: torn down in any order, deleted and made again, older or newer than the
//! operator.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kit::{ControlPlane, install};
use serde_json::{Value, json};

use crate::runs_of;
use crate::table::{Figures, Run, Table, run_of};
use crate::tenant::{Part, Tenant, plane_apart};
use crate::world::{SOON, World};

/// Namespaces at the same time.
const AT_ONCE: usize = 24;

/// The definition of the resources.
const DEFINITION: &str = "secretversions.secrets.abeja.io";

/// Every order of the parts.
fn orders() -> Vec<Vec<Part>> {
    fn extend(begun: &[Part], all: &mut Vec<Vec<Part>>) {
        let left: Vec<Part> = Part::ALL.into_iter().filter(|part| !begun.contains(part)).collect();
        if left.is_empty() {
            all.push(begun.to_vec());
        }
        for part in left {
            extend(&[begun, &[part]].concat(), all);
        }
    }
    let mut all = Vec::new();
    extend(&[], &mut all);
    all
}

/// The parts go in this order, then the namespace; nothing waits for anything.
async fn torn_down(world: &World<'_>, order: &[Part]) -> Result<Figures> {
    let tenant = Tenant::new(world, "teardown", "Delete").await?;
    for part in order {
        tenant.delete(*part).await?;
    }
    tenant.delete_namespace().await?;
    tenant.is_gone(SOON).await.with_context(|| format!("{order:?}"))?;
    let left = tenant.at_remote().await?;
    ensure!(left.is_empty(), "{order:?}: {} versions are left at the remote", left.len());
    Ok(Figures { changes: 1, versions: tenant.calls("delete_version").await?.len(), posts: 1 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_a_namespace_goes_in_whatever_order_its_parts_go() {
    let plane = &*plane_apart().await;
    let world = &World::start_everywhere(plane, "everywhere").await.unwrap();
    let times = runs_of(5);
    // A sample where a few must do: the first part to go is each one twice at least.
    let step = if times == 1 { 11 } else { 1 };
    let orders: Vec<Vec<Part>> = orders().into_iter().step_by(step).collect();
    let mut all: Vec<Run<'_>> = Vec::new();
    for _ in 0..times {
        all.extend(orders.iter().map(|order| run_of(format!("{:?} first", order[0]), torn_down(world, order))));
        all.push(run_of("all at once", torn_down(world, &[])));
    }
    let mut table = Table::of(AT_ONCE, all).await;
    let name = "credential gone, operator begun anew";
    table.order([name.to_owned()]);
    for _ in 0..times {
        table.enter(name, let_go(world).await);
    }
    table.conclude("Row 27: a namespace and its parts are deleted");
    world.is_clean().await.unwrap();
}

/// Nobody knows the credential any more: the resource says what is in its way, and how to let it go.
async fn let_go(world: &World<'_>) -> Result<Figures> {
    let tenant = Tenant::new(world, "teardown", "Delete").await?;
    world.kill()?;
    tenant.delete(Part::Credential).await?;
    tenant.delete_namespace().await?;
    world.clear_lease().await?;
    world.operator.process().start()?;
    tenant.says("CredentialNotFound", "set spec.deletionPolicy to Retain").await?;
    tenant.edit(&json!({ "spec": { "deletionPolicy": "Retain" } })).await?;
    tenant.is_gone(SOON).await?;
    ensure!(tenant.at_remote().await? == ["active"], "it was to stay at the remote");
    // No Event can be written into a namespace that is being deleted.
    let log = std::fs::read_to_string(world.operator.process().log())?;
    let told = log.lines().any(|line| line.contains(&*tenant.namespace) && line.contains("left at the remote because"));
    ensure!(told, "the log does not tell of the version that stays");
    Ok(Figures { changes: 1, versions: 1, posts: 1 })
}

/// While the operator is away resources are deleted; it comes back and does what each one's policy says, and no more.
async fn deleted_in_absence(world: &World<'_>) -> Result<Figures> {
    let tenants = tenants(world, "absence").await?;
    world.operator.process().stop().await?;
    for tenant in &tenants {
        tenant.delete(Part::Resource).await?;
    }
    for tenant in &tenants {
        ensure!(tenant.at_remote().await? == ["active"], "something was done in the operator's absence");
    }
    world.operator.process().start()?;
    by_policy(&tenants).await?;
    Ok(Figures { changes: tenants.len(), versions: tenants.len(), posts: tenants.len() })
}

/// One tenant for each policy.
async fn tenants<'a>(world: &'a World<'a>, prefix: &str) -> Result<Vec<Tenant<'a>>> {
    try_join_all(["Delete", "Deactivate", "Retain"].map(|policy| Tenant::new(world, prefix, policy))).await
}

/// Removes tenants as long as their remote is there: another test's operator would wait for it in vain.
pub(crate) async fn leave(tenants: &[Tenant<'_>]) -> Result<()> {
    for tenant in tenants {
        tenant.delete_namespace().await?;
    }
    for tenant in tenants {
        tenant.is_gone(SOON).await?;
    }
    Ok(())
}

/// Waits until the resources are gone, and holds the remote to what their policies say.
pub(crate) async fn by_policy(tenants: &[Tenant<'_>]) -> Result<()> {
    let expected: [&[&str]; 3] = [&[], &["inactive"], &["active"]];
    for (tenant, expected) in tenants.iter().zip(expected) {
        let gone = kit::eventually(SOON, "the resource is gone", async || {
            // Without its definition the resource is not found, either.
            let cr = tenant.resource().await?;
            ensure!(cr.is_none(), "{}", serde_json::to_string(&cr.map(|cr| cr.status))?);
            Ok(())
        });
        gone.await?;
        ensure!(tenant.at_remote().await? == expected, "{:?} where {expected:?} was to be", tenant.at_remote().await?);
    }
    Ok(())
}

/// The definition goes, and with it all resources, by their policies; it comes back, and so do they.
async fn definition_gone(world: &World<'_>, plane: &ControlPlane) -> Result<Figures> {
    let tenants = tenants(world, "definition").await?;
    plane.kubectl(&["delete", "crd", DEFINITION, "--timeout=120s"]).await?.ok()?;
    by_policy(&tenants).await?;
    install::crds(plane).await?;
    for tenant in &tenants {
        tenant.apply().await?;
        tenant.ready(1).await?;
    }
    // What was deleted is made again, and so is what cannot be served because it is inactive; what stayed is found.
    let made: Vec<usize> = try_join_all(
        tenants.iter().map(async |tenant| Ok::<_, anyhow::Error>(tenant.calls("create_version").await?.len())),
    )
    .await?;
    ensure!(made == [2, 2, 1], "{made:?} creates by policy");
    let figures = Figures { changes: 6, versions: 5, posts: made.iter().sum() };
    let deletes = tenants[1].calls("delete_version").await?.len() + tenants[2].calls("delete_version").await?.len();
    ensure!(deletes == 0, "{deletes} versions were deleted against a policy");
    leave(&tenants).await?;
    Ok(figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_definitions_deleted_and_resources_deleted_in_absence() {
    let plane = &*plane_apart().await;
    let world = &World::start_everywhere(plane, "everywhere").await.unwrap();
    let mut table = Table::default();
    for _ in 0..runs_of(20) {
        for (name, outcome) in [
            ("resources deleted in the operator's absence", deleted_in_absence(world).await),
            ("definition deleted and made again", definition_gone(world, plane).await),
        ] {
            table.order((!table.has(name)).then(|| name.to_owned()));
            table.enter(name, outcome);
        }
    }
    table.conclude("Row 28: deletions that the operator did not see coming");
    world.is_clean().await.unwrap();
}

/// Edits the definition in the cluster, as the one who installed it would.
pub(crate) async fn edit_definition(plane: &ControlPlane, edit: impl FnOnce(&mut Value)) -> Result<()> {
    let definition = plane.kubectl(&["get", "crd", DEFINITION, "-o", "json"]).await?.ok()?;
    let mut definition: Value = serde_json::from_str(&definition)?;
    definition["metadata"] = json!({ "name": DEFINITION });
    definition["status"] = Value::Null;
    edit(&mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]);
    let apply = ["apply", "--server-side", "-f", "-"];
    plane.kubectl_with_input(&apply, &definition.to_string()).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_older_than_the_operator_lets_nothing_be_created_or_deleted() {
    let plane = &*plane_apart().await;
    let world = &World::start_everywhere(plane, "everywhere").await.unwrap();
    let tenant = Tenant::new(world, "older", "Delete").await.unwrap();
    edit_definition(plane, |schema| drop(schema["status"]["properties"].as_object_mut().unwrap().remove("create")))
        .await
        .unwrap();
    tenant.change(1).await.unwrap();
    tenant.says("NotPersisted", "install the definitions").await.unwrap();
    world.refreshes(&tenant.secret_id, 2).await.unwrap();
    assert_eq!(tenant.calls("create_version").await.unwrap().len(), 1, "nothing was sent without a durable intent");
    assert!(tenant.calls("delete_version").await.unwrap().is_empty());
    install::crds(plane).await.unwrap();
    tenant.ready(2).await.unwrap();
    assert_eq!(tenant.calls("create_version").await.unwrap().len(), 2);
    assert_eq!(tenant.at_remote().await.unwrap(), ["active", "active"]);
    leave(&[tenant]).await.unwrap();
    world.is_clean().await.unwrap();
}
