//! What only the fake can do: faults on demand, on a paused clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use fake_apiserver::{ApiServer, Fate, Fault, Faults, Moment, Pending, Request, Verb, WatchFault};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, VersionMatch, WatchEvent, WatchParams,
};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_mins(10);

fn secret(name: &str) -> Secret {
    Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), ByteString(b"value".to_vec()))])),
        ..Secret::default()
    }
}

fn secrets(client: &fake_apiserver::Client) -> Api<Secret> {
    Api::namespaced(client.kube("default"), "default")
}

/// The same fault for each request with a verb, and one for the first event.
struct Always(Verb, Fault, WatchFault);

impl Faults for Always {
    fn request(&mut self, request: &Request) -> Fault {
        if request.verb == self.0 { self.1.clone() } else { Fault::default() }
    }

    fn event(&mut self, _: &Request, _: &str, _: &serde_json::Value) -> WatchFault {
        std::mem::take(&mut self.2)
    }
}

fn on_create(fate: Fate) -> Always {
    Always(Verb::Create, Fault::of(fate), WatchFault::Deliver)
}

fn on_an_event(fault: WatchFault) -> Always {
    Always(Verb::Create, Fault::default(), fault)
}

/// Whether a create fails, whether it took effect nevertheless, and after what time it was given up.
async fn create_under(fate: Fate) -> (Option<Result<Secret, kube::Error>>, bool) {
    let server = ApiServer::builder().start();
    server.set_faults(on_create(fate));
    let api = secrets(&server.client("a"));
    let answer = timeout(LONG, api.create(&PostParams::default(), &secret("s"))).await.ok();
    (answer, server.object("secrets", "default", "s").is_some())
}

#[tokio::test(start_paused = true)]
async fn a_fate_says_whether_a_request_takes_effect_and_what_its_sender_learns() {
    let (answer, written) = create_under(Fate::Serve).await;
    assert!(matches!(answer, Some(Ok(_))) && written);
    for (moment, takes_effect) in [(Moment::Before, false), (Moment::After, true)] {
        let (answer, written) = create_under(Fate::Break(moment)).await;
        assert!(matches!(answer, Some(Err(kube::Error::Service(_)))), "{answer:?}");
        assert_eq!(written, takes_effect);
        let (answer, written) = create_under(Fate::Hang(moment)).await;
        assert!(answer.is_none(), "{answer:?}");
        assert_eq!(written, takes_effect);
    }
    let (answer, written) = create_under(Fate::Truncate).await;
    assert!(matches!(answer, Some(Err(_))) && written, "{answer:?}");
    for (fate, takes_effect) in
        [(Fate::Refuse { status: 503, retry_after: Some(1) }, false), (Fate::ServeAndRefuse { status: 504 }, true)]
    {
        let (answer, written) = create_under(fate).await;
        let Some(Err(kube::Error::Api(status))) = answer else { panic!("{answer:?}") };
        assert!(matches!(status.code, 503 | 504), "{status:?}");
        assert_eq!(written, takes_effect);
    }
}

#[tokio::test(start_paused = true)]
async fn what_travels_arrives_though_its_sender_gave_up() {
    let server = ApiServer::builder().start();
    let slow = Fault { travel: Duration::from_secs(5), ..Fault::default() };
    server.set_faults(Always(Verb::Create, slow, WatchFault::Deliver));
    let api = secrets(&server.client("a"));
    let begun = Instant::now();
    let given_up = timeout(Duration::from_secs(1), api.create(&PostParams::default(), &secret("s"))).await;
    assert!(given_up.is_err());
    assert!(server.object("secrets", "default", "s").is_none());
    tokio::time::sleep_until(begun + Duration::from_secs(5) + Duration::from_millis(1)).await;
    assert!(server.object("secrets", "default", "s").is_some());
}

#[tokio::test(start_paused = true)]
async fn who_is_severed_is_not_answered_and_only_what_travelled_may_arrive() {
    for (pending, arrives) in [(Pending::Arrive, true), (Pending::Lost, false)] {
        let server = ApiServer::builder().start();
        let slow = Fault { travel: Duration::from_secs(5), ..Fault::default() };
        server.set_faults(Always(Verb::Create, slow, WatchFault::Deliver));
        let (one, other) = (server.client("one"), server.client("other"));
        let api = secrets(&one);
        let sent = tokio::spawn({
            let api = api.clone();
            async move { api.create(&PostParams::default(), &secret("s")).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        one.sever(pending);
        assert!(timeout(LONG, sent).await.is_err(), "it is never answered");
        assert_eq!(server.object("secrets", "default", "s").is_some(), arrives);
        assert!(timeout(LONG, api.list(&ListParams::default())).await.is_err(), "nor is what comes later");
        assert!(secrets(&other).get_opt("s").await.unwrap().is_some() == arrives);
        one.restore();
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), usize::from(arrives));
    }
}

fn watch(client: &fake_apiserver::Client) -> BoxStream<'static, Event<Secret>> {
    let events = watcher::watcher(secrets(client), watcher::Config::default()).default_backoff();
    events.filter_map(|event| std::future::ready(event.ok())).boxed()
}

/// The next event in words; `None` where none comes.
async fn next(events: &mut BoxStream<'static, Event<Secret>>) -> Option<String> {
    let event = timeout(Duration::from_secs(100), events.next()).await.ok()??;
    let name = |secret: Secret| secret.metadata.name.unwrap();
    Some(match event {
        Event::Init => "init".to_owned(),
        Event::InitApply(secret) => format!("init {}", name(secret)),
        Event::InitDone => "done".to_owned(),
        Event::Apply(secret) => format!("apply {}", name(secret)),
        Event::Delete(secret) => format!("delete {}", name(secret)),
    })
}

async fn begun(client: &fake_apiserver::Client) -> BoxStream<'static, Event<Secret>> {
    let mut events = watch(client);
    assert_eq!(next(&mut events).await.as_deref(), Some("init"));
    assert_eq!(next(&mut events).await.as_deref(), Some("done"));
    // The watch itself is begun when the stream is polled again.
    assert_eq!(next(&mut events).await, None);
    events
}

fn asked(server: &ApiServer, verb: Verb) -> usize {
    server.journal().iter().filter(|entry| entry.request.verb == verb).count()
}

#[tokio::test(start_paused = true)]
async fn held_watches_fall_behind_and_catch_up_in_order() {
    let server = ApiServer::builder().start();
    let (operator, user) = (server.client("operator"), server.client("user"));
    let mut events = begun(&operator).await;
    operator.hold_watches();
    let api = secrets(&user);
    api.create(&PostParams::default(), &secret("a")).await.unwrap();
    api.create(&PostParams::default(), &secret("b")).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut events).await, None);
    operator.release_watches();
    for expected in ["apply a", "apply b", "delete a"] {
        assert_eq!(next(&mut events).await.as_deref(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_watch_goes_on_where_it_was_and_an_old_one_lists_anew() {
    let server = ApiServer::builder().start();
    let (operator, user) = (server.client("operator"), server.client("user"));
    let mut events = begun(&operator).await;
    let api = secrets(&user);
    operator.hold_watches();
    api.create(&PostParams::default(), &secret("a")).await.unwrap();
    operator.cut_watches();
    operator.release_watches();
    assert_eq!(next(&mut events).await.as_deref(), Some("apply a"));
    assert_eq!((asked(&server, Verb::List), asked(&server, Verb::Watch)), (1, 2));

    operator.hold_watches();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &secret("b")).await.unwrap();
    operator.cut_watches();
    server.compact();
    operator.release_watches();
    for expected in ["init", "init b", "done"] {
        assert_eq!(next(&mut events).await.as_deref(), Some(expected), "what happened meanwhile is not told");
    }
    assert_eq!(asked(&server, Verb::List), 2);
}

#[tokio::test(start_paused = true)]
async fn events_are_delayed_broken_off_or_expired() {
    for (fault, expected) in [
        (WatchFault::Deliver, vec!["apply a"]),
        (WatchFault::Delay(Duration::from_secs(30)), vec!["apply a"]),
        (WatchFault::Expire, vec!["init", "init a", "done"]),
    ] {
        let server = ApiServer::builder().start();
        let mut events = begun(&server.client("operator")).await;
        server.set_faults(on_an_event(fault));
        secrets(&server.client("user")).create(&PostParams::default(), &secret("a")).await.unwrap();
        let begun = Instant::now();
        for expected in expected {
            assert_eq!(next(&mut events).await.as_deref(), Some(expected), "{fault:?}");
        }
        let waited = begun.elapsed() >= Duration::from_secs(30);
        assert_eq!(waited, matches!(fault, WatchFault::Delay(_)), "{:?}", begun.elapsed());
    }
    for fault in [WatchFault::End, WatchFault::Break] {
        let server = ApiServer::builder().start();
        let mut events = begun(&server.client("operator")).await;
        server.set_faults(on_an_event(fault));
        secrets(&server.client("user")).create(&PostParams::default(), &secret("a")).await.unwrap();
        assert_eq!(next(&mut events).await.as_deref(), Some("apply a"), "{fault:?}");
        assert_eq!((asked(&server, Verb::List), asked(&server, Verb::Watch)), (1, 2), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_gone() {
    let server = ApiServer::builder().start();
    let client = server.client("one");
    let api = secrets(&client);
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &secret(name)).await.unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    let (token, old) = (first.metadata.continue_.unwrap(), first.metadata.resource_version.unwrap());
    api.delete("a", &DeleteParams::default()).await.unwrap();
    server.compact();
    let next = ListParams::default().limit(2).continue_token(&token);
    let exactly = ListParams::default().at(&old).matching(VersionMatch::Exact);
    for params in [next, exactly] {
        let Err(kube::Error::Api(status)) = api.list(&params).await else { panic!("it is told as if it were known") };
        assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    }
    let mut events = api.watch(&WatchParams::default(), &old).await.unwrap().boxed();
    let Some(Ok(WatchEvent::Error(status))) = events.next().await else { panic!("it is told as if it were known") };
    assert_eq!(status.code, 410);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_is_carried_by_bookmarks_over_timeouts_and_forgotten_history() {
    let server = ApiServer::builder().start();
    let mut events = begun(&server.client("operator")).await;
    let namespaces: Api<Namespace> = Api::all(server.client("user").kube("default"));
    for number in 0..20 {
        let label = Patch::Merge(json!({"metadata": {"labels": {"number": number.to_string()}}}));
        namespaces.patch("default", &PatchParams::default(), &label).await.unwrap();
        assert_eq!(next(&mut events).await, None);
        server.compact();
    }
    assert!(asked(&server, Verb::Watch) > 3, "timeouts end watches");
    assert_eq!(asked(&server, Verb::List), 1, "and none has to list anew");
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_who_asked_for_what_and_what_was_written() {
    let server = ApiServer::builder().start();
    let api = secrets(&server.client("one"));
    api.create(&PostParams::default(), &secret("a")).await.unwrap();
    assert!(api.create(&PostParams::default(), &secret("a")).await.is_err());
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({}))).await.unwrap();
    let told: Vec<_> = server
        .journal()
        .into_iter()
        .map(|entry| (entry.request.client.clone(), entry.request.verb, entry.status, entry.wrote.is_some()))
        .collect();
    let one = |verb, status, wrote| ("one".to_owned(), verb, Some(status), wrote);
    assert_eq!(told, [one(Verb::Create, 201, true), one(Verb::Create, 409, false), one(Verb::Patch, 200, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_same_story_is_told_the_same_way() {
    let story = || async {
        let server = ApiServer::builder().start();
        let api = secrets(&server.client("one"));
        for name in ["c", "a", "b"] {
            api.create(&PostParams::default(), &secret(name)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        api.delete("a", &DeleteParams::default()).await.unwrap();
        server.objects("secrets")
    };
    let (one, other) = (story().await, story().await);
    assert_eq!(one, other);
    assert_eq!(one.len(), 2);
}
