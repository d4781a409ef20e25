//! Two hundred resources at rest: what they cost, and that the apiserver is left alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kit::controlplane::Options;
use kit::{ControlPlane, eventually, metrics};
use kube::api::ListParams;
use reqwest::Method;
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::reason::Reason;
use serde_json::{Value, json};

use crate::subject::{REFRESH, Subject, is_ready};
use crate::world::{ORGANIZATION, SOON, World};

const MANAGED: usize = 100;
const OBSERVED: usize = 100;

/// How long nothing may be written, at least.
const WINDOW: Duration = Duration::from_secs(30);

/// Applies requests at once, as an impatient tool would.
const AT_ONCE: usize = 16;

/// A resource that follows a version which somebody else made: by id, by number, or the newest active one.
async fn observed(world: &World<'_>, index: usize) -> Result<(String, Value)> {
    let name = format!("observed-{index}");
    let secret = world.remote_secret(&name).await?;
    let edit = json!({ "create": { "organization_id": ORGANIZATION, "secret_id": secret, "value": "a-value" } });
    let version = world.simulator.control(Method::POST, "/versions", Some(&edit)).await?;
    let reference = match index % 3 {
        0 => json!({ "id": version["id"] }),
        1 => json!({ "number": 1 }),
        _ => json!({ "latest": "Active" }),
    };
    let resource = json!({
        "apiVersion": "secrets.abeja.io/v1alpha1", "kind": "SecretVersion", "metadata": { "name": name },
        "spec": {
            "connectionRef": { "kind": "AbejaConnection", "name": "remote" },
            "remoteRef": { "secretId": secret },
            "versionRef": reference,
            "refreshInterval": REFRESH,
        },
    });
    Ok((secret, resource))
}

/// Requests for a change that the apiserver has counted since its start, whoever sent them, Leases apart.
async fn counted_writes(plane: &ControlPlane) -> Result<f64> {
    let page = plane.metrics().await?;
    let sum = |labels: &[(&str, &str)]| metrics::sum(&page, "apiserver_request_total", labels);
    Ok(["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"]
        .into_iter()
        .map(|verb| sum(&[("verb", verb)]) - sum(&[("verb", verb), ("resource", "leases")]))
        .sum())
}

/// Watches a stretch of time, and three refreshes of everything, in which nothing may be written.
async fn expect_silence(world: &World<'_>, plane: &ControlPlane, secrets: &[String], window: Duration, when: &str) {
    let mark = plane.audit_mark().unwrap();
    let (before, proxied) = (counted_writes(plane).await.unwrap(), world.proxy.writes());
    let calls = world.journal.total();
    let began = Instant::now();
    // Not only time must pass: things must happen in it.
    let (refreshed, ()) = tokio::join!(world.all_refreshed(secrets, 3), tokio::time::sleep(window));
    refreshed.unwrap();
    let (after, calls) = (counted_writes(plane).await.unwrap(), world.journal.total() - calls);
    println!(
        "{when}: {} writes in {:.0} s by the apiserver's own count, {} through the proxy, beside Leases; {calls} remote calls",
        after - before,
        began.elapsed().as_secs_f32(),
        world.proxy.writes() - proxied,
    );
    // A look costs a page for a hundred secrets; one may have been under way, and the connection is probed now and then.
    let looks = began.elapsed().as_secs() / 5 + 2;
    let pages = (MANAGED + OBSERVED).div_ceil(100) as u64;
    assert!(calls as u64 <= looks * pages + 2, "{when}: {calls} remote calls for {looks} looks of {pages} pages");
    let written = plane.audit_since(mark).unwrap().writes().filter(|event| event.resource != "leases");
    assert!((after - before).abs() < 0.5, "{when}: {:#?}", written.events());
    assert_eq!(world.proxy.writes(), proxied, "{when}");
}

/// Waits until all resources are ready. Not by `kubectl wait`, which asks for one after the other at a limited pace.
async fn wait_ready(world: &World<'_>) {
    let ready = eventually(SOON, "all resources are ready", async || {
        let all = world.api::<SecretVersion>().list(&ListParams::default()).await?.items;
        let ready = all.iter().filter(|cr| is_ready(cr)).count();
        ensure!(ready == MANAGED + OBSERVED, "{ready} are");
        Ok(())
    });
    ready.await.unwrap();
}

/// Waits until people were told of each resource that it is ready, which is the last that they are told.
async fn wait_told(world: &World<'_>) {
    let told = eventually(SOON, "people are told of all resources", async || {
        let synced = ListParams::default().fields(&format!("reason={}", Reason::Synced.as_str()));
        let told = world.api::<Event>().list(&synced).await?.items.len();
        ensure!(told > MANAGED + OBSERVED, "of {told}, and the connection");
        Ok(())
    });
    told.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_resources_at_rest_write_nothing() {
    // One of its own: its counts are then of this test alone.
    let plane = &ControlPlane::start(Options::default()).await.unwrap();
    let world = &World::start_steady(plane, "quiet").await.unwrap();
    let empty = world.memory("VmRSS:").unwrap();

    let mut secrets = Vec::new();
    let (mut sources, mut resources) = (Vec::new(), Vec::new());
    for _ in 0..MANAGED {
        let mut subject = Subject::new(world).await.unwrap();
        sources.push(subject.source_manifest());
        resources.push(subject.manifest());
        secrets.push(subject.secret_id);
    }
    for index in 0..OBSERVED {
        let (secret, resource) = observed(world, index).await.unwrap();
        resources.push(resource);
        secrets.push(secret);
    }
    let create = stream::iter(sources).map(|source| world.create::<Secret>(source)).buffer_unordered(AT_ONCE);
    create.try_collect::<Vec<()>>().await.unwrap();
    let mark = plane.audit_mark().unwrap();
    let began = Instant::now();
    let create = stream::iter(resources).map(|sv| world.create::<SecretVersion>(sv)).buffer_unordered(AT_ONCE);
    create.try_collect::<Vec<()>>().await.unwrap();
    wait_ready(world).await;
    println!(
        "{MANAGED} managed and {OBSERVED} observed resources are ready after {:.1} s",
        began.elapsed().as_secs_f32()
    );
    // What was begun may end, and what was done may be told.
    world.all_refreshed(&secrets, 1).await.unwrap();
    wait_told(world).await;

    // Managed: finalizer, intent, Secret, status. Observed: Secret, status. Events and the connection apart.
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for event in world.writes_since(mark).unwrap().events() {
        let slash = if event.subresource.is_empty() { "" } else { "/" };
        *writes.entry(format!("{} {}{slash}{}", event.verb, event.resource, event.subresource)).or_default() += 1;
    }
    println!("to get there the operator wrote {writes:?}");
    assert_eq!(writes["patch secretversions"], MANAGED);
    assert_eq!(writes["patch secretversions/status"], 2 * MANAGED + OBSERVED);
    assert_eq!(writes["create secrets"], MANAGED + OBSERVED);

    expect_silence(world, plane, &secrets, WINDOW, "at rest").await;
    let (resident, peak) = (world.memory("VmRSS:").unwrap(), world.memory("VmHWM:").unwrap());
    println!(
        "resident memory of the operator: {empty} KiB without resources, {resident} KiB with all (peak {peak} KiB)"
    );

    world.kill().unwrap();
    world.clear_lease().await.unwrap();
    world.operator.process().start().unwrap();
    expect_silence(world, plane, &secrets, Duration::ZERO, "over a restart").await;
    wait_ready(world).await;
    world.is_clean().await.unwrap();
}
