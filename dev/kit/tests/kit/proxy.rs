//! The proxy in front of a real apiserver: what it passes, holds, drops and counts.

use std::fs;
use std::time::Duration;

use kit::cluster::Namespace;
use kit::proxy::{Action, Moment, Proxy, Rule};
use kit::{ControlPlane, eventually};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

const SOON: Duration = Duration::from_mins(1);

/// A client with the token of the kubeconfig that the proxy gives, as the operator has it.
struct Caller {
    proxy: Proxy,
    namespace: Namespace,
    client: Client,
    token: String,
}

impl Caller {
    async fn new(prefix: &str) -> Self {
        let plane = ControlPlane::shared().await.unwrap();
        let namespace = plane.namespace(prefix).await.unwrap();
        let proxy = Proxy::start(plane).await.unwrap();
        let account = account(plane, &namespace).await;
        let kubeconfig = proxy.kubeconfig(&account).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(kubeconfig).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"], json!({ "server": proxy.url() }));
        let token = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { proxy, namespace, client, token }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Response> {
        let url = format!("{}/api/v1/namespaces/{}/configmaps{path}", self.proxy.url(), self.namespace);
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await
    }

    async fn create(&self, name: &str) -> reqwest::Result<Response> {
        self.ask(Method::POST, "", Some(config_map(name))).await
    }

    async fn exists(&self, name: &str) -> bool {
        let status = self.ask(Method::GET, &format!("/{name}"), None).await.unwrap().status();
        assert!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&status), "{status}");
        status == StatusCode::OK
    }
}

/// A ServiceAccount that may do everything with `ConfigMaps` of its namespace, and nothing else.
async fn account(plane: &ControlPlane, namespace: &str) -> std::path::PathBuf {
    for command in [
        &["create", "serviceaccount", "caller"][..],
        &["create", "role", "caller", "--verb=*", "--resource=configmaps"],
        &["create", "rolebinding", "caller", "--role=caller", &format!("--serviceaccount={namespace}:caller")],
    ] {
        plane.kubectl(&[command, &["-n", namespace]].concat()).await.unwrap().ok().unwrap();
    }
    plane.kubeconfig_for_service_account(namespace, "caller").await.unwrap()
}

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[tokio::test]
async fn identity_answers_and_refusals_pass_unchanged() {
    let caller = Caller::new("proxy-passes").await;
    assert_eq!(caller.create("a").await.unwrap().status(), StatusCode::CREATED);
    let object: Value = caller.ask(Method::GET, "/a", None).await.unwrap().json().await.unwrap();
    assert_eq!(object["metadata"]["name"], "a");
    let url = format!("{}/api/v1/namespaces/{}/secrets", caller.proxy.url(), caller.namespace);
    let refused = caller.client.get(url).bearer_auth(&caller.token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let refused: Value = refused.json().await.unwrap();
    assert!(refused["message"].as_str().unwrap().contains(":caller\""), "{refused}");

    assert_eq!(caller.proxy.count("create", "configmaps"), 1);
    assert_eq!(caller.proxy.count("get", "configmaps"), 1);
    assert_eq!(caller.proxy.count("list", "secrets"), 1);
    assert_eq!(caller.proxy.writes(), 1);
}

#[tokio::test]
async fn a_watch_tells_of_each_event_while_it_goes_on() {
    let caller = Caller::new("proxy-watch").await;
    let mut watch = caller.ask(Method::GET, "?watch=true", None).await.unwrap();
    for name in ["first", "second"] {
        caller.create(name).await.unwrap();
        let mut seen = String::new();
        while !seen.contains(&format!("\"name\":\"{name}\"")) {
            let chunk = timeout(SOON, watch.chunk()).await.unwrap().unwrap().unwrap();
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
    assert_eq!(caller.proxy.count("watch", "configmaps"), 1);
}

#[tokio::test]
async fn a_client_that_dies_before_leaves_no_effect() {
    let caller = Caller::new("proxy-before").await;
    let mut rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Hold(Moment::Before));
    {
        let create = caller.create("a");
        tokio::pin!(create);
        let held = tokio::select! {
            held = rule.hit() => held.unwrap(),
            answer = &mut create => panic!("answered: {answer:?}"),
        };
        assert!(!caller.exists("a").await);
        assert_eq!(held.request().verb, "create");
        held.cut();
        create.await.unwrap_err();
    }
    assert!(!caller.exists("a").await);
    // The rule meant one request.
    assert_eq!(caller.create("a").await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_client_that_dies_after_leaves_the_effect() {
    let caller = Caller::new("proxy-after").await;
    let mut rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Hold(Moment::After));
    {
        let create = caller.create("a");
        tokio::pin!(create);
        let held = tokio::select! {
            held = rule.hit() => held.unwrap(),
            answer = &mut create => panic!("answered: {answer:?}"),
        };
        assert!(caller.exists("a").await);
        held.cut();
        create.await.unwrap_err();
    }
    assert_eq!(caller.create("a").await.unwrap().status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_client_that_gives_up_is_no_reason_to_go_on() {
    let caller = Caller::new("proxy-outlives").await;
    let mut rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Hold(Moment::Before));
    let (create, held) = tokio::join!(timeout(Duration::from_secs(1), caller.create("a")), rule.hit());
    create.unwrap_err();
    // The client is gone, and so is what it asked for.
    held.unwrap().cut();
    let mut rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Drop(Moment::After));
    caller.create("b").await.unwrap_err();
    rule.hit().await.unwrap();
    assert!(caller.exists("b").await);
    assert!(!caller.exists("a").await);
}

#[tokio::test]
async fn a_held_request_goes_on_when_it_is_let() {
    let caller = Caller::new("proxy-release").await;
    for (name, moment) in [("a", Moment::Before), ("b", Moment::After)] {
        let mut rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Hold(moment));
        let (created, ()) = tokio::join!(caller.create(name), async { rule.hit().await.unwrap().release() });
        assert_eq!(created.unwrap().status(), StatusCode::CREATED);
        assert!(rule.try_hit().is_none());
    }
}

#[tokio::test]
async fn rules_count_and_choose() {
    let caller = Caller::new("proxy-rules").await;
    let status = |status| Action::Answer { moment: Moment::Before, status, retry_after: Some(7) };
    let second = Rule::on("get", "configmaps").namespace(&caller.namespace).name("x").nth(2).times(2);
    let mut rule = caller.proxy.add(second, status(429));
    let body = |request: &kit::proxy::Request| request.body.windows(6).any(|window| window == b"marked");
    let _marked = caller.proxy.add(Rule::on("create", "configmaps").when(body).always(), Action::Drop(Moment::Before));

    let mut codes = Vec::new();
    for _ in 0..4 {
        let answer = caller.ask(Method::GET, "/x", None).await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers()["retry-after"], "7");
        }
        codes.push(answer.status().as_u16());
    }
    assert_eq!(codes, [404, 429, 429, 404]);
    rule.hit().await.unwrap();
    assert!(!caller.exists("y").await);

    caller.create("marked-1").await.unwrap_err();
    caller.create("marked-2").await.unwrap_err();
    caller.create("plain").await.unwrap();
    caller.proxy.clear();
    caller.create("marked-1").await.unwrap();
    assert!(caller.exists("marked-1").await && caller.exists("plain").await && !caller.exists("marked-2").await);
}

#[tokio::test]
async fn a_delay_is_a_delay_and_the_end_of_the_proxy_cuts_what_is_open() {
    let caller = Caller::new("proxy-delay").await;
    let wait = Duration::from_millis(300);
    let _rule = caller.proxy.add(Rule::on("create", "configmaps"), Action::Delay(wait));
    let start = std::time::Instant::now();
    caller.create("a").await.unwrap();
    assert!(start.elapsed() >= wait);

    let mut watch = caller.ask(Method::GET, "?watch=true", None).await.unwrap();
    let url = caller.proxy.url().to_owned();
    let Caller { proxy, client, .. } = caller;
    drop(proxy);
    let ended = timeout(SOON, async { while let Ok(Some(_)) = watch.chunk().await {} });
    ended.await.unwrap();
    eventually(SOON, "nobody listens", || async {
        anyhow::ensure!(client.get(&url).send().await.is_err(), "somebody does");
        Ok(())
    })
    .await
    .unwrap();
}

/// A watch of all `ConfigMaps`, and what it has told so far.
struct Told {
    answer: Response,
    text: String,
}

impl Told {
    async fn begin(caller: &Caller) -> Self {
        let answer = caller.ask(Method::GET, "?watch=true", None).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Self { answer, text: String::new() }
    }

    fn knows(&self, name: &str) -> bool {
        self.text.contains(&format!("\"name\":\"{name}\""))
    }

    async fn until(&mut self, name: &str) {
        while !self.knows(name) {
            let chunk = timeout(SOON, self.answer.chunk()).await.unwrap().unwrap().unwrap();
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// Reads to the end, and gives whether that was a clean one.
    async fn end(&mut self) -> bool {
        loop {
            match timeout(SOON, self.answer.chunk()).await.unwrap() {
                Ok(Some(chunk)) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Whether it says nothing while the apiserver answers others.
    async fn is_silent(&mut self, caller: &Caller) -> bool {
        let others = async {
            for _ in 0..20 {
                caller.exists("none").await;
            }
        };
        tokio::select! {
            () = others => true,
            _ = self.answer.chunk() => false,
        }
    }
}

#[tokio::test]
async fn events_that_are_held_arrive_in_order_when_they_are_let() {
    let caller = Caller::new("proxy-freeze").await;
    let mut open = Told::begin(&caller).await;
    caller.create("before").await.unwrap();
    open.until("before").await;
    let watches = caller.proxy.watches("configmaps");
    watches.freeze();
    // One that is begun later holds back, too.
    let mut later = Told::begin(&caller).await;
    assert_eq!(watches.open(), 2);
    for name in ["first", "second"] {
        caller.create(name).await.unwrap();
    }
    assert!(open.is_silent(&caller).await && later.is_silent(&caller).await);
    watches.thaw();
    for told in [&mut open, &mut later] {
        told.until("second").await;
        assert!(told.text.find("\"first\"") < told.text.find("\"second\""));
    }
}

#[tokio::test]
async fn a_lag_moves_every_event() {
    let caller = Caller::new("proxy-lag").await;
    let mut told = Told::begin(&caller).await;
    let lag = Duration::from_millis(500);
    caller.proxy.watches("configmaps").lag(lag);
    let start = std::time::Instant::now();
    caller.create("a").await.unwrap();
    told.until("a").await;
    assert!(start.elapsed() >= lag);
    // Of another resource it is no concern.
    caller.proxy.watches("secrets").freeze();
    caller.proxy.watches("configmaps").lag(Duration::ZERO);
    caller.create("b").await.unwrap();
    told.until("b").await;
}

#[tokio::test]
async fn a_watch_ends_in_the_way_that_is_asked_for() {
    let caller = Caller::new("proxy-ends").await;
    let watches = caller.proxy.watches("configmaps");
    let mut told = Told::begin(&caller).await;
    watches.cut();
    assert!(!told.end().await);
    let mut told = Told::begin(&caller).await;
    watches.end();
    assert!(told.end().await);

    let mut told = Told::begin(&caller).await;
    watches.freeze();
    caller.create("unseen").await.unwrap();
    watches.expire();
    watches.thaw();
    assert!(told.end().await);
    let last: Value = serde_json::from_str(told.text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(!told.knows("unseen"));

    let mut told = Told::begin(&caller).await;
    // What there was is told first.
    told.until("unseen").await;
    watches.blackhole();
    caller.create("swallowed").await.unwrap();
    assert!(told.is_silent(&caller).await);
    // The next one is sound.
    Told::begin(&caller).await.until("swallowed").await;
    drop(told);
    eventually(SOON, "no watch is open", || async {
        anyhow::ensure!(watches.open() == 0, "{} are", watches.open());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn lists_are_cut_into_pages_and_replayed() {
    let caller = Caller::new("proxy-lists").await;
    for name in ["a", "b", "c"] {
        caller.create(name).await.unwrap();
    }
    let list = async |query: &str| {
        let answer = caller.ask(Method::GET, query, None).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (_, whole) = list("").await;
    let _expired = caller.proxy.add(
        Rule::on("list", "configmaps").when(kit::proxy::Request::is_continued),
        Action::Answer { moment: Moment::Before, status: 410, retry_after: None },
    );
    let _pages = caller.proxy.add(Rule::on("list", "configmaps").always(), Action::PageSize(2));
    let (_, first) = list("?limit=500").await;
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = format!("?limit=500&continue={}", first["metadata"]["continue"].as_str().unwrap());
    assert_eq!(list(&next).await.0, StatusCode::GONE);
    let (status, rest) = list(&next).await;
    let rest: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((status, rest["items"].as_array().unwrap().len()), (StatusCode::OK, 1));

    caller.proxy.clear();
    caller.create("d").await.unwrap();
    let _replay = caller.proxy.add(Rule::on("list", "configmaps"), Action::Replay(whole.clone()));
    assert_eq!(list("").await, (StatusCode::OK, whole.clone()));
    assert_ne!(list("").await.1, whole);
}

#[tokio::test]
async fn every_second_write_is_refused_and_one_takes_effect_all_the_same() {
    let caller = Caller::new("proxy-writes").await;
    let refuse = |moment| Action::Answer { moment, status: 409, retry_after: None };
    let _rule = caller.proxy.add(Rule::on_writes().every(2).times(2), refuse(Moment::Before));
    let mut codes = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        codes.push(caller.create(name).await.unwrap().status().as_u16());
    }
    assert_eq!(codes, [409, 201, 409, 201, 201]);
    let _rule = caller.proxy.add(Rule::on_writes(), refuse(Moment::After));
    assert_eq!(caller.create("f").await.unwrap().status(), StatusCode::CONFLICT);
    assert!(caller.exists("f").await && !caller.exists("c").await);
}
