//! Asks the API server which version of Kubernetes it is.
//! In: where it is, the service account's token and authorities. Out: a version.
//! Never: anything else of the cluster, or an answer from somebody whom the authorities do not vouch for.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;

use super::version::Version;
use crate::tls::pem;

/// The name that its certificate always has.
const NAME: &str = "kubernetes.default.svc";
/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Bytes of an answer; a version takes some four hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// For one question, from the connection to the end of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After a failure, so long before the next question; then twice as long, up to the most.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(30);

/// An API server, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    /// Its address or name.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// PEM file with whom to trust.
    pub authorities: PathBuf,
    /// File with the token to show.
    pub token: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Reading a file, connecting, or the handshake.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// What was sent is not what was expected.
    #[error("{0}")]
    Answer(String),
    /// It took too long.
    #[error("no answer within {ANSWER_WITHIN:?}")]
    Late,
}

impl ApiServer {
    /// The one of the cluster that this process runs in, which each pod is told of.
    pub fn in_cluster() -> Self {
        let told = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let port = told("KUBERNETES_SERVICE_PORT").and_then(|text| text.parse().ok());
        Self {
            host: told("KUBERNETES_SERVICE_HOST").unwrap_or_else(|| NAME.to_owned()),
            port: port.unwrap_or(443),
            authorities: format!("{ACCOUNT}/ca.crt").into(),
            token: format!("{ACCOUNT}/token").into(),
        }
    }

    /// Asks until there is an answer.
    pub async fn learn(&self, version: &watch::Sender<Option<Version>>) {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.ask().await {
                Ok(answer) => {
                    tracing::info!(kubernetes = %answer, "the API server has told its version");
                    version.send_replace(Some(answer));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "no pod gets a sidecar until the version of Kubernetes is known");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self) -> Result<Version, AskError> {
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.version());
        answer.await.unwrap_or(Err(AskError::Late))
    }

    async fn version(&self) -> Result<Version, AskError> {
        let token = tokio::fs::read_to_string(&self.token).await;
        let token = token.map_err(|error| failed(self.token.display(), error))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| AskError::Answer("the token is not text".to_owned()))?;
        bearer.set_sensitive(true);
        let request = Request::get("/version")
            .header(HOST, NAME)
            .header(AUTHORIZATION, bearer)
            .body(Empty::<Bytes>::new())
            .map_err(|error| AskError::Answer(error.to_string()))?;
        let where_to = format!("{}:{}", self.host, self.port);
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await;
        let socket = socket.map_err(|error| failed(&where_to, error))?;
        let name =
            ServerName::try_from(NAME).map_err(|error| failed(NAME, io::Error::other(error)))?;
        let stream = TlsConnector::from(self.trust().await?).connect(name, socket);
        let stream = stream.await.map_err(|error| failed(&where_to, error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&where_to, io::Error::other(error)))?;
        let answer = async {
            let answer = sender.send_request(request).await;
            read(answer.map_err(|error| failed(&where_to, io::Error::other(error)))?).await
        };
        // The answer is there, or not, when the connection has nothing more to do.
        let driven = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the API server ended");
            }
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            () = driven => Err(AskError::Late),
        }
    }

    async fn trust(&self) -> Result<Arc<ClientConfig>, AskError> {
        let shown = self.authorities.display().to_string();
        let text = tokio::fs::read(&self.authorities).await;
        let text = text.map_err(|error| failed(&shown, error))?;
        let wrong = |error: String| AskError::Answer(format!("{shown}: {error}"));
        let authorities = pem::certificates(&text).map_err(wrong)?;
        let roots = pem::roots(&authorities).map_err(|error| wrong(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(pem::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

async fn read(answer: Response<hyper::body::Incoming>) -> Result<Version, AskError> {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| AskError::Answer(format!("its answer: {error}")))?;
    if !status.is_success() {
        return Err(AskError::Answer(format!("the API server answers {status}")));
    }
    Version::of_answer(&body.to_bytes()).map_err(|error| AskError::Answer(error.to_string()))
}

fn failed(what: impl std::fmt::Display, error: io::Error) -> AskError {
    AskError::Io(what.to_string(), error)
}
