//! Certificates: the ones that are trusted, and the ones that must not be.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secret_version_operator::remote::{Client, ClientConfig, Error, Values};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::script::{Act, Script, json};
use crate::support::{ORGANIZATION, SECRET, config, value, version};

/// A certificate with its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

/// Signs certificates.
struct Ca {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, host: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn self_signed(host: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "itself");
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Serves one version over TLS. Gives its URL, and what came through a finished handshake: the protocol that was agreed
/// on, and the request's bytes.
async fn serve(identity: &Identity) -> (String, mpsc::UnboundedReceiver<(Option<Vec<u8>>, Vec<u8>)>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    // Offers what the client must not take: over HTTP/2 requests can be refused in ways that libraries answer by
    // sending them again.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                let mut request = vec![0; 4096];
                let Ok(length) = stream.read(&mut request).await else { return };
                request.truncate(length);
                let _ = sender.send((protocol, request));
                let _ = stream.write_all(&json(200, &version("1"))).await;
            });
        }
    });
    (url, receiver)
}

fn trusting(url: &str, ca: Option<&Ca>) -> Client {
    let ca_bundle = ca.map(|ca| ca.certificate.clone().into_bytes());
    let timeout = Duration::from_secs(2);
    Client::new(ClientConfig { ca_bundle, timeout, allow_insecure: false, ..config(url) }).unwrap()
}

#[tokio::test]
async fn a_certificate_of_an_added_ca_is_trusted() {
    let ca = Ca::new("first");
    let (url, mut received) = serve(&ca.sign("127.0.0.1", |_| {})).await;
    let client = trusting(&url, Some(&ca));
    client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap();
    client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap();
    for method in ["GET", "POST"] {
        let (protocol, request) = received.recv().await.unwrap();
        assert_ne!(protocol.as_deref(), Some(&b"h2"[..]));
        assert!(request.starts_with(method.as_bytes()));
        assert!(String::from_utf8_lossy(&request).contains(" HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_bundle_of_several_certificates_is_read_whole() {
    let (first, second) = (Ca::new("first"), Ca::new("second"));
    let (url, _received) = serve(&second.sign("127.0.0.1", |_| {})).await;
    let bundle = Ca { certificate: format!("# notes\n{}\n{}", first.certificate, second.certificate), ..first };
    let client = trusting(&url, Some(&bundle));
    client.get_version(ORGANIZATION, SECRET, "1", Values::Include).await.unwrap();
}

#[tokio::test]
async fn what_is_not_trusted_gets_nothing() {
    let (ca, other) = (Ca::new("first"), Ca::new("second"));
    let day = |year| rcgen::date_time_ymd(year, 1, 1);
    let good = || ca.sign("127.0.0.1", |_| {});
    let table = [
        ("its certificate is from an unknown issuer", good(), None),
        ("its certificate is from an unknown issuer", good(), Some(&other)),
        ("its certificate is from an unknown issuer", self_signed("127.0.0.1"), None),
        ("its certificate is from an unknown issuer", self_signed("127.0.0.1"), Some(&ca)),
        ("its certificate is for another host", ca.sign("remote.example", |_| {}), Some(&ca)),
        ("its certificate is for another host", ca.sign("127.0.0.2", |_| {}), Some(&ca)),
        (
            "its certificate is expired",
            ca.sign("127.0.0.1", |params| (params.not_before, params.not_after) = (day(2000), day(2001))),
            Some(&ca),
        ),
        ("its certificate is not valid yet", ca.sign("127.0.0.1", |params| params.not_before = day(4000)), Some(&ca)),
    ];
    for (cause, identity, trusted) in table {
        let (url, mut received) = serve(&identity).await;
        let client = trusting(&url, trusted);
        let failed = client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
        assert_eq!(failed, Error::Tls { op: "create_version", cause });
        assert!(failed.not_connected());
        // The other end saw no finished handshake, and so no request.
        assert!(received.try_recv().is_err(), "{cause}");
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing() {
    let script = Script::start(vec![Act::Send(json(200, &version("1")))]).await;
    let client = trusting(&script.url.replace("http://", "https://"), None);
    let failed = client.create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
    // Its silence ends with the time for connecting, before anything but a handshake was sent.
    assert!(failed.not_connected(), "{failed}");
    assert_eq!(script.received().len(), 0);
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let failed = trusting(&url, None).create_version(ORGANIZATION, SECRET, &value()).await.unwrap_err();
    assert_eq!(failed, Error::Connect { op: "create_version", cause: "it took too long" });
    assert!(failed.not_connected());
}
