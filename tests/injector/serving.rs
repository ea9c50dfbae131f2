//! The webhook over real sockets: TLS, deadlines, files that change, and a stop in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sidelock::injector::api_server::{ApiServer, AskError};
use sidelock::injector::certificate;
use sidelock::injector::server::{self, Config, Ends};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{pod, review, settings, version};

const NAME: &str = "sidelock-injector.sidelock.svc";
/// Far beyond anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate that vouches for itself, and its key, as PEM.
fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write_certificate(folder: &Path, name: &str) -> String {
    let (chain, key) = certificate(name);
    std::fs::write(folder.join("tls.crt"), &chain).expect("written");
    std::fs::write(folder.join("tls.key"), key).expect("written");
    chain
}

struct Webhook {
    address: SocketAddr,
    folder: TempDir,
    /// PEM, to trust.
    chain: String,
    ends: Ends,
    serving: JoinHandle<()>,
}

impl Webhook {
    async fn start(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let chain = write_certificate(folder.path(), NAME);
        let files = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        let [chain_file, key_file] = files;
        let mut config = Config {
            settings: settings(),
            certificate: certificate::certificate(chain_file, key_file).expect("a certificate"),
            authorities: None,
            api_server: None,
        };
        change(&mut config, folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ends = Ends::default();
        let serving = tokio::spawn(server::serve(config, vec![listener], ends.clone()));
        Self {
            address,
            folder,
            chain,
            ends,
            serving,
        }
    }

    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let chain = CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("PEM");
        roots.add(chain).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, socket).await
    }

    async fn client(&self) -> SendRequest<Full<Bytes>> {
        let stream = self.connect().await.expect("a connection");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        sender
    }

    /// Status and body of an answer.
    async fn call(&self, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        call(&mut self.client().await, method, path, body).await
    }

    async fn stop(self) {
        self.ends.closing.cancel();
        let ended = timeout(PATIENCE, self.serving).await;
        ended.expect("in time").expect("without a panic");
    }
}

async fn call(
    client: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    body: impl Into<Bytes>,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", NAME)
        .body(Full::new(body.into()))
        .expect("a request");
    client.ready().await.expect("an open connection");
    let answer = client.send_request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn a_review() -> String {
    review(&pod(Some("true")), "shop").to_string()
}

fn patch_of(answer: &Value) -> Vec<Value> {
    let patch = answer["response"]["patch"].as_str().expect("a patch");
    let patch = STANDARD.decode(patch).expect("base64");
    serde_json::from_slice(&patch).expect("a list")
}

#[tokio::test]
async fn reviews_are_answered_one_after_the_other() {
    let webhook = Webhook::start(|_, _| {}).await;
    let mut client = webhook.client().await;
    for _ in 0..3 {
        let (status, answer) = call(&mut client, "POST", "/inject?timeout=5s", a_review()).await;
        assert_eq!(status, 200);
        assert_eq!(answer["response"]["allowed"], true);
        assert!(!patch_of(&answer).is_empty());
    }
    assert_eq!(webhook.call("GET", "/livez", "").await.0, 200);
    assert_eq!(webhook.call("GET", "/readyz", "").await.0, 200);
    webhook.stop().await;
}

#[tokio::test]
async fn what_is_no_review_is_a_problem() {
    let webhook = Webhook::start(|_, _| {}).await;
    for (method, path, body, status, code) in [
        ("POST", "/inject", "{}".to_owned(), 400, "invalid-request"),
        ("POST", "/inject", String::new(), 400, "invalid-request"),
        (
            "POST",
            "/inject",
            "[".repeat(100_000),
            400,
            "invalid-request",
        ),
        ("POST", "/inject", " ".repeat(3 << 20), 413, "too-large"),
        ("GET", "/inject", String::new(), 405, "method-not-allowed"),
        ("GET", "/", String::new(), 404, "not-found"),
    ] {
        let (got, problem) = webhook.call(method, path, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)));
        assert_eq!(problem["status"], status);
    }
    // A pod that is not understood is none.
    let odd = review(&json!({"metadata": {}, "spec": 5}), "shop").to_string();
    let (status, answer) = webhook.call("POST", "/inject", odd).await;
    assert_eq!(status, 200);
    assert_eq!(answer["response"]["allowed"], true);
    webhook.stop().await;
}

/// The API server waits for 5 s.
#[tokio::test]
async fn a_review_that_does_not_arrive_is_answered_in_time() {
    let webhook = Webhook::start(|_, _| {}).await;
    let mut stream = webhook.connect().await.expect("a connection");
    let head = "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 12];
    let read = timeout(Duration::from_secs(5), stream.read_exact(&mut answer));
    read.await.expect("in time").expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
    webhook.stop().await;
}

#[tokio::test]
async fn slow_heads_and_plaintext_are_cut_off() {
    let webhook = Webhook::start(|_, _| {}).await;
    let mut slow = webhook.connect().await.expect("a connection");
    slow.write_all(b"POST /inject HT").await.expect("sent");
    let mut silent = TcpStream::connect(webhook.address).await.expect("a socket");
    let mut plain = TcpStream::connect(webhook.address).await.expect("a socket");
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    let ends = async {
        let mut text = Vec::new();
        // Closed with or without an alert of TLS; what counts is that it ends, and says nothing.
        drop(plain.read_to_end(&mut text).await);
        assert!(!text.starts_with(b"HTTP"));
        drop(silent.read_to_end(&mut text).await);
        text.clear();
        drop(slow.read_to_end(&mut text).await);
        assert!(!text.starts_with(b"HTTP/1.1 2"));
    };
    timeout(PATIENCE, ends).await.expect("in time");
    webhook.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_callers() {
    let mut webhook = Webhook::start(|_, _| {}).await;
    let mut old = webhook.client().await;
    webhook.chain = write_certificate(webhook.folder.path(), NAME);
    let shown = async {
        while webhook.connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, shown).await.expect("in time");
    // Nobody is cut off.
    assert_eq!(call(&mut old, "POST", "/inject", a_review()).await.0, 200);

    // Half a rotation: the former pair stays in use.
    let (_, other_key) = certificate(NAME);
    std::fs::write(webhook.folder.path().join("tls.key"), other_key).expect("written");
    assert_eq!(webhook.call("POST", "/inject", a_review()).await.0, 200);
    webhook.stop().await;
}

#[tokio::test]
async fn new_authorities_are_given_to_new_pods() {
    let (first, _) = certificate("first");
    let (second, _) = certificate("second");
    let webhook = Webhook::start(|config, folder| {
        let path = folder.join("ca.pem");
        std::fs::write(&path, &first).expect("written");
        config.authorities = Some(certificate::authorities(path).expect("authorities"));
    })
    .await;
    let given = async || {
        let (_, answer) = webhook.call("POST", "/inject", a_review()).await;
        let patch = patch_of(&answer);
        let mut added = patch.iter().filter_map(|change| {
            let path = change["path"].as_str()?;
            path.ends_with("/sidelock.dev~1ca")
                .then(|| change["value"].clone())
        });
        added.next().expect("authorities")
    };
    assert_eq!(given().await, json!(first));
    std::fs::write(webhook.folder.path().join("ca.pem"), &second).expect("written");
    let changed = async {
        while given().await != json!(second) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, changed).await.expect("in time");
    webhook.stop().await;
}

#[test]
fn files_that_do_not_do_are_told_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write_certificate(folder.path(), NAME);
    let (_, other_key) = certificate(NAME);
    std::fs::write(path("other.key"), other_key).expect("written");
    std::fs::write(path("empty"), "").expect("written");
    for (chain, key) in [
        ("tls.crt", "other.key"),
        ("tls.crt", "empty"),
        ("empty", "tls.key"),
        ("tls.key", "tls.key"),
        ("tls.crt", "missing"),
    ] {
        let certificate = certificate::certificate(path(chain), path(key));
        certificate.expect_err("no pair");
    }
    certificate::authorities(path("empty")).expect_err("no authorities");
    certificate::authorities(path("tls.crt")).expect("authorities");
}

#[tokio::test]
async fn it_leaves_before_it_closes() {
    let webhook = Webhook::start(|_, _| {}).await;
    let mut client = webhook.client().await;
    webhook.ends.leaving.cancel();
    assert_eq!(call(&mut client, "GET", "/readyz", "").await.0, 503);
    assert_eq!(call(&mut client, "GET", "/livez", "").await.0, 200);
    // Who has not heard yet is served.
    assert_eq!(webhook.call("POST", "/inject", a_review()).await.0, 200);
    let address = webhook.address;
    webhook.stop().await;
    TcpStream::connect(address).await.expect_err("closed");
    let idle = timeout(PATIENCE, client.ready()).await.expect("in time");
    idle.expect_err("closed");
}

/// An API server that gives these answers, one to each caller, and then none; it wants the token `abc`.
async fn api_server(folder: &Path, answers: Vec<&'static str>) -> ApiServer {
    let (chain, key) = certificate("kubernetes.default.svc");
    std::fs::write(folder.join("ca.crt"), &chain).expect("written");
    std::fs::write(folder.join("token"), "abc\n").expect("written");
    let chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        for answer in answers {
            let (socket, _) = listener.accept().await.expect("a caller");
            let Ok(mut stream) = acceptor.accept(socket).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            assert!(head.starts_with("get /version http/1.1\r\n"), "{head}");
            assert!(head.contains("\r\nauthorization: bearer abc\r\n"), "{head}");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            stream.shutdown().await.expect("ended");
        }
    });
    ApiServer {
        host: "127.0.0.1".to_owned(),
        port,
        authorities: folder.join("ca.crt"),
        token: folder.join("token"),
    }
}

const VERSION: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
                       {\"major\": \"1\", \"minor\": \"33\", \"gitVersion\": \"v1.33.1\"}";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}";
const NONSENSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn the_api_server_tells_its_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let api_server = api_server(folder.path(), vec![VERSION, FORBIDDEN, NONSENSE]).await;
    assert_eq!(api_server.ask().await.expect("an answer"), version("1.33"));
    let refused = api_server.ask().await.expect_err("refused");
    assert!(refused.to_string().contains("403"), "{refused}");
    let nonsense = api_server.ask().await.expect_err("no version");
    assert!(matches!(nonsense, AskError::Answer(_)), "{nonsense}");
}

#[tokio::test]
async fn only_the_api_server_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let api_server = api_server(folder.path(), vec![VERSION]).await;
    let (other, _) = certificate("kubernetes.default.svc");
    std::fs::write(folder.path().join("ca.crt"), other).expect("written");
    let error = api_server.ask().await.expect_err("another authority");
    assert!(matches!(error, AskError::Io(..)), "{error}");
}

#[tokio::test]
async fn nobody_is_sent_here_until_the_version_is_known() {
    let account = tempfile::tempdir().expect("a folder");
    let api_server = api_server(account.path(), vec![FORBIDDEN, VERSION]).await;
    let webhook = Webhook::start(|config, _| {
        config.settings.kubernetes = None;
        config.api_server = Some(api_server);
    })
    .await;
    // The first answer is a refusal, and it is asked again a second later.
    assert_eq!(webhook.call("GET", "/readyz", "").await.0, 503);
    let (_, answer) = webhook.call("POST", "/inject", a_review()).await;
    let warning = answer["response"]["warnings"][0]
        .as_str()
        .expect("a warning");
    assert!(warning.contains("not known yet"), "{warning}");
    let ready = async {
        while webhook.call("GET", "/readyz", "").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.expect("in time");
    let (_, answer) = webhook.call("POST", "/inject", a_review()).await;
    assert!(!patch_of(&answer).is_empty());
    webhook.stop().await;
}
