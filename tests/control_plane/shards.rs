//! Several processes on one cluster, and a change of their number while resources change: each remote secret is served by one of them
//! at any time.

use std::fs;

use kit::Operator;
use secret_version_operator::api::v1alpha1::SecretVersion;
use secret_version_operator::domain::place::Place;
use secret_version_operator::domain::shard::Shard;
use serde_json::json;

use crate::scene::{Remote, Scene};
use crate::world::ORGANIZATION;

/// Short enough to wait for, long enough for a busy machine.
const VALUES: [&str; 4] = [
    "log.format=text",
    "leaderElection.leaseDuration=6s",
    "leaderElection.renewDeadline=4s",
    "leaderElection.retryPeriod=1s",
];

/// How many remote secrets are made at most until every shard has some.
const MOST: usize = 60;

/// Resources and their remote secrets.
struct Fleet<'a> {
    managed: Vec<(String, Remote<'a>)>,
    observed: Vec<(String, Remote<'a>)>,
}

impl<'a> Fleet<'a> {
    /// Managed resources, by id and by name, and observed ones: of each kind one at least in every shard of two and of three.
    async fn create(scene: &'a Scene) -> Self {
        let mut fleet = Self { managed: Vec::new(), observed: Vec::new() };
        let cover = |all: &[(String, Remote<'_>)]| {
            let shards = [2, 3].into_iter().flat_map(|of| (0..of).map(move |index| shard(index, of)));
            shards.into_iter().all(|shard| all.iter().any(|(_, remote)| shard.owns(&place(scene, remote))))
        };
        scene.secret("source", &[("key", b"canary-1")]).await;
        while !cover(&fleet.managed) {
            let name = format!("managed-{}", fleet.managed.len());
            assert!(fleet.managed.len() < MOST);
            let named = format!("{}-{name}", scene.namespace);
            let remote = scene.remote_named(&named).await;
            let by_name = json!({"remoteRef": {"secretName": named, "secretId": null}});
            let spec = if fleet.managed.len().is_multiple_of(2) { json!({}) } else { by_name };
            scene.managed(&name, &remote, spec).await;
            fleet.managed.push((name, remote));
        }
        while !cover(&fleet.observed) {
            let name = format!("observed-{}", fleet.observed.len());
            assert!(fleet.observed.len() < MOST);
            let remote = scene.remote_named(&format!("{}-{name}", scene.namespace)).await;
            remote.make(b"canary-1").await;
            scene.observed(&name, &remote, json!({"latest": "Active"}), json!({"refreshInterval": "5s"})).await;
            fleet.observed.push((name, remote));
        }
        fleet
    }

    /// Changes everything, and waits for those whose remote secret is one of these.
    async fn change(&self, scene: &Scene, number: i64, waited_for: impl Fn(&Place) -> bool) {
        let value = format!("canary-{number}");
        for (_, remote) in &self.observed {
            remote.make(value.as_bytes()).await;
        }
        scene.secret("source", &[("key", value.as_bytes())]).await;
        self.serve(scene, number, waited_for).await;
    }

    async fn serve(&self, scene: &Scene, number: i64, waited_for: impl Fn(&Place) -> bool) {
        for (name, remote) in self.all() {
            if waited_for(&place(scene, remote)) {
                scene.serves(name, number).await;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &(String, Remote<'a>)> {
        self.managed.iter().chain(&self.observed)
    }
}

fn shard(index: u16, of: u16) -> Shard {
    format!("{index}/{of}").parse().unwrap()
}

fn place(scene: &Scene, remote: &Remote<'_>) -> Place {
    Place {
        url: scene.world.simulator.url().to_owned(),
        organization_id: ORGANIZATION.to_owned(),
        secret_id: remote.id.clone(),
    }
}

/// Something that a process did for a resource, or looked at for it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deed {
    at: String,
    by: (u16, u16),
    resource: String,
    what: String,
}

/// What a process tells of its deeds. To look a name up is open to whoever speaks for the resource: it leads to the owner.
fn deeds(operator: &Operator, by: (u16, u16)) -> Vec<Deed> {
    let log = fs::read_to_string(operator.process().log()).unwrap();
    let lines = log.lines().filter(|line| line.contains("reconcile{kind=\"SecretVersion\""));
    let acts = lines.filter_map(|line| {
        let what = line.split_once(": do effect=").or_else(|| line.split_once(": look what="))?.1;
        let resource = line.split_once("name=\"")?.1.split('"').next()?;
        let at = line.split_whitespace().next()?;
        let deed = Deed { at: at.to_owned(), by, resource: resource.to_owned(), what: what.to_owned() };
        (!what.starts_with("Name(")).then_some(deed)
    });
    acts.collect()
}

#[tokio::test]
async fn each_remote_secret_is_served_by_one_process_at_any_time() {
    let (scene, second) = Scene::divided("shards", 2, &VALUES).await;
    let world = &scene.world;
    let fleet = Fleet::create(&scene).await;
    fleet.serve(&scene, 1, |_| true).await;
    fleet.change(&scene, 2, |_| true).await;

    // Three instead of two, in a world that does not stand still.
    let three = world.divide_anew(3, &VALUES).await;
    fleet.change(&scene, 3, |_| true).await;
    assert_eq!(world.operator.process().stop().await.unwrap(), 0);
    fleet.change(&scene, 4, |place| shard(1, 2).owns(place)).await;
    assert_eq!(second[0].process().stop().await.unwrap(), 0);
    fleet.serve(&scene, 4, |_| true).await;
    fleet.change(&scene, 5, |_| true).await;

    // And back. One ends without a word.
    world.operator.process().start().unwrap();
    second[0].process().start().unwrap();
    fleet.change(&scene, 6, |_| true).await;
    three[0].process().kill().unwrap();
    for operator in &three[1..] {
        assert_eq!(operator.process().stop().await.unwrap(), 0);
    }
    fleet.change(&scene, 7, |_| true).await;

    for (name, remote) in &fleet.managed {
        assert_eq!(remote.posts().await, 7, "{name} has a version for each change");
        let values: Vec<_> = remote.versions().await.into_iter().map(|version| version.value).collect();
        let expected: Vec<_> = (1..=7).map(|number| format!("canary-{number}").into_bytes()).collect();
        assert_eq!(values, expected, "{name}");
        let cr = scene.get::<SecretVersion>(name).await.unwrap();
        assert_eq!(cr.status.unwrap().history.len(), 7, "{name}");
    }

    let mut all = deeds(&world.operator, (0, 2));
    all.extend(deeds(&second[0], (1, 2)));
    for (operator, index) in three.iter().zip(0..) {
        all.extend(deeds(operator, (index, 3)));
    }
    all.sort_unstable();
    for (name, remote) in fleet.all() {
        let of_this = all.iter().filter(|deed| deed.resource == *name);
        for deed in of_this {
            assert!(shard(deed.by.0, deed.by.1).owns(&place(&scene, remote)), "{deed:?}");
        }
    }
    let mut divisions: Vec<u16> = all.iter().map(|deed| deed.by.1).collect();
    divisions.dedup();
    assert_eq!(divisions, [2, 3, 2], "no two divisions act at once");
    let mut actors: Vec<(u16, u16)> = all.iter().map(|deed| deed.by).collect();
    actors.sort_unstable();
    actors.dedup();
    assert_eq!(actors, [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], "everybody had something to do");
    scene.end().await;
}
