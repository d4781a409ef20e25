//! The servers over real sockets on the loopback.

use tokio::task::JoinHandle;

use super::*;
use crate::config::BindAddress;
use crate::ops::health::Role;
use crate::ops::metrics::Metrics;
use crate::ops::telemetry::LogLevelHandle;

const ANY: &str = "127.0.0.1:0";

struct Running {
    health: Health,
    servers: JoinHandle<()>,
    shutdown: CancellationToken,
    metrics_url: String,
    health_url: String,
    /// Keeps the level changeable.
    _filter: Box<dyn std::any::Any>,
}

async fn bind(metrics: &str, health: &str) -> Result<(Servers, Health, Box<dyn std::any::Any>), ServeError> {
    let (level, layer) = LogLevelHandle::detached();
    let state = Health::new();
    let (metrics, health) = (metrics.parse().unwrap(), health.parse().unwrap());
    let servers = Servers::bind(metrics, health, Metrics::new(), state.clone(), level).await?;
    Ok((servers, state, Box::new(layer)))
}

async fn running(metrics: &str, health: &str) -> Running {
    let (servers, health, filter) = bind(metrics, health).await.unwrap();
    let url = |address: Option<SocketAddr>| address.map(|a| format!("http://{a}")).unwrap_or_default();
    let (metrics_url, health_url) = (url(servers.metrics_address()), url(servers.health_address()));
    let shutdown = CancellationToken::new();
    let servers = tokio::spawn(servers.run(shutdown.clone()));
    Running { health, servers, shutdown, metrics_url, health_url, _filter: filter }
}

fn client() -> reqwest::Client {
    // As main does; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(url: String) -> (u16, String) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let running = running(ANY, ANY).await;
    let url = |path: &str| format!("{}{path}", running.health_url);
    assert_eq!(get(url("/livez")).await, (200, "ok".to_owned()));
    let (status, text) = get(url("/readyz")).await;
    assert_eq!(status, 503);
    assert!(text.contains("[-]crds failed") && text.contains("[-]lease failed"), "{text}");
    running.health.set_role(Role::Standby);
    assert_eq!(get(url("/readyz")).await, (200, "ok".to_owned()));
    let (status, text) = get(url("/readyz?verbose")).await;
    assert_eq!(status, 200);
    assert_eq!(
        text,
        "[+]crds ok: not needed on standby\n[+]lease ok: standby\n[+]caches ok: not needed on standby\nreadyz check passed\n"
    );
    assert_eq!(get(url("/metrics")).await.0, 404, "metrics have an address of their own here");
    assert_eq!(get(format!("{}/metrics", running.metrics_url)).await.0, 200);
    assert_eq!(get(format!("{}/log-level", running.metrics_url)).await.0, 404);
}

#[tokio::test]
async fn metrics_have_their_content_type() {
    let running = running(ANY, "0").await;
    assert_eq!(running.health_url, "");
    let answer = client().get(format!("{}/metrics", running.metrics_url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
    assert!(answer.text().await.unwrap().contains("secret_version_operator_leader 0"));
}

#[tokio::test]
async fn one_address_serves_both() {
    // A port that was free a moment ago: port 0 would give two.
    let port = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let running = running(&address, &address).await;
    assert_eq!(running.metrics_url, running.health_url);
    assert_eq!(get(format!("http://{address}/metrics")).await.0, 200);
    assert_eq!(get(format!("http://{address}/livez")).await.0, 200);
}

#[tokio::test]
async fn the_log_level_is_shown_and_changed() {
    let running = running("0", ANY).await;
    let url = format!("{}/log-level", running.health_url);
    let put = async |body: String| {
        let answer = client().put(&url).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get(url.clone()).await, (200, "info\n".to_owned()));
    assert_eq!(put("debug".to_owned()).await, (200, "debug\n".to_owned()));
    assert_eq!(get(url.clone()).await, (200, "debug\n".to_owned()));
    let (status, text) = put("loud".to_owned()).await;
    assert_eq!(status, 400);
    assert!(text.contains("\"loud\" is not a log level"), "{text}");
    assert_eq!(put("x".repeat(MAX_BODY + 1)).await.0, 413);
    assert_eq!(get(url.clone()).await, (200, "debug\n".to_owned()));
}

#[test]
fn who_is_on_this_machine() {
    for (peer, expected) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("10.0.0.1:1", false),
        ("[::ffff:10.0.0.1]:1", false),
        ("[2001:db8::1]:1", false),
    ] {
        assert_eq!(is_local(peer.parse().unwrap()), expected, "{peer}");
    }
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_the_flag() {
    let taken = TcpListener::bind(ANY).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = bind("0", &address).await.map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("--health-probe-bind-address"), "{text}");
}

#[tokio::test]
async fn shutdown_ends_it_though_a_caller_holds_on() {
    let running = running(ANY, ANY).await;
    // A connection that asks nothing.
    let address = running.health_url.strip_prefix("http://").unwrap().to_owned();
    let _idle = tokio::net::TcpStream::connect(&address).await.unwrap();
    running.shutdown.cancel();
    timeout(DRAIN * 2, running.servers).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}

#[test]
fn ports() {
    assert_eq!(port(BindAddress::Disabled), None);
    assert_eq!(port(BindAddress::AnyAddress(8080)), Some(8080));
}
