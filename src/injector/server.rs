//! The webhook on its listener: TLS, HTTP/1.1, an answer to each review in time.
//! In: bound listeners, settings, files that are followed. Out: answers until told to close.
//! Never: an answer later than the API server waits, or a connection without bounds.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::future;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, info};

use super::api_server::ApiServer;
use super::certificate::{Authorities, Certificate};
use super::decide::{Decision, decide};
use super::line::{Line, Turns};
use super::problem::{Kind, Problem};
use super::review::{self, Request as Review};
use super::settings::{Settings, Trust};
use super::version::Version;
use crate::world::accepting::{Bounds, accept};

/// From a review's head to its answer: the API server waits for 5 s, some of which the network takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Bytes of a review: etcd takes no pod of more than 1.5 MiB.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections at a time. An API server keeps 25 idle ones, and has up to 200 reviews under way.
const CONNECTIONS_MAX: usize = 512;
/// For a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// After the listeners are closed, reviews under way have so long.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);

/// What a webhook is made of.
#[derive(Debug)]
pub struct Config {
    /// The same for every pod, but for what the next three tell.
    pub settings: Settings,
    /// Our side of TLS.
    pub certificate: Certificate,
    /// Takes the place of `settings.trust` when it changes.
    pub authorities: Option<Authorities>,
    /// Is asked for `settings.kubernetes`.
    pub api_server: Option<ApiServer>,
}

/// When to stop.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// Not ready any more, so that nobody comes anew.
    pub leaving: CancellationToken,
    /// No new connection; what is under way ends.
    pub closing: CancellationToken,
}

/// What the handlers share.
struct Shared {
    settings: Settings,
    authorities: Option<Authorities>,
    kubernetes: watch::Receiver<Option<Version>>,
    leaving: CancellationToken,
}

/// Serves until `closing`, and then what is under way for a moment.
pub async fn serve(config: Config, listeners: Vec<TcpListener>, ends: Ends) {
    let kubernetes = watch::Sender::new(config.settings.kubernetes);
    let shared = Arc::new(Shared {
        settings: config.settings,
        authorities: config.authorities,
        kubernetes: kubernetes.subscribe(),
        leaving: ends.leaving,
    });
    let certificate = &config.certificate;
    let bounds = Bounds {
        most: CONNECTIONS_MAX / listeners.len().max(1),
        grace: CLOSE_WITHIN,
    };
    let router = router(Arc::clone(&shared));
    let accepting = future::join_all(listeners.into_iter().map(|listener| {
        accept(listener, bounds, ends.closing.clone(), |socket| {
            // The one of now; its predecessors live on in the connections that they have begun.
            let tls = certificate.now();
            drive(socket, tls, router.clone(), ends.closing.clone())
        })
    }));
    let following = async {
        let authorities = async {
            if let Some(authorities) = &shared.authorities {
                authorities.follow().await;
            }
        };
        let learning = async {
            if let Some(api_server) = &config.api_server {
                api_server.learn(&kubernetes).await;
            }
        };
        tokio::join!(certificate.follow(), authorities, learning)
    };
    tokio::select! {
        _ = accepting => {}
        _ = following => {}
    }
}

/// All routes.
fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/inject", post(inject))
        .route(
            "/livez",
            get(async || axum::Json(json!({"status": "live"}))),
        )
        .route("/readyz", get(readyz))
        .fallback(async |uri: Uri| {
            Problem::new(Kind::NotFound, format_args!("there is no {}", uri.path()))
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            let detail = format!("{} has another method", uri.path());
            Problem::new(Kind::MethodNotAllowed, detail)
        })
        .with_state(shared)
}

/// Ready once it knows whether it may inject at all; pods must not go without a sidecar for our ignorance.
async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    if shared.leaving.is_cancelled() {
        return Err(Problem::new(Kind::NotReady, "this injector is stopping"));
    }
    if shared.kubernetes.borrow().is_none() {
        let detail = "the version of Kubernetes is not known yet";
        return Err(Problem::new(Kind::NotReady, detail));
    }
    Ok(axum::Json(json!({"status": "ready"})).into_response())
}

async fn inject(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(ANSWER_WITHIN, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a review has at most {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        Ok(Err(error)) => return Err(Problem::new(Kind::InvalidRequest, error)),
        Err(_elapsed) => {
            let detail = format!("a review has to arrive within {ANSWER_WITHIN:?}");
            return Err(Problem::new(Kind::Timeout, detail));
        }
    };
    // From here on nothing is waited for.
    let review = Review::read(&body).map_err(|error| Problem::new(Kind::InvalidRequest, error))?;
    let decision = decide(&review, &shared.settings());
    log(&review, &decision);
    let answer = review::answer(&review.uid, &decision.patch, &decision.warnings);
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

impl Shared {
    /// As they are now.
    fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        settings.kubernetes = *self.kubernetes.borrow();
        if let Some(authorities) = &self.authorities {
            settings.trust = Some(Trust::Text(authorities.now().to_string()));
        }
        settings
    }
}

fn log(review: &Review, decision: &Decision) {
    let metadata = &review.object["metadata"];
    let name = metadata["name"].as_str();
    info!(
        uid = review.uid.as_str(),
        namespace = review.namespace.as_deref().unwrap_or_default(),
        pod = name.or(metadata["generateName"].as_str()).unwrap_or_default(),
        outcome = ?decision.outcome,
        warnings = ?decision.warnings,
        "reviewed a pod"
    );
}

/// One connection, from the handshake to its end.
async fn drive(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    router: Router,
    closing: CancellationToken,
) {
    let handshake = TlsAcceptor::from(tls).accept(socket);
    let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "a handshake failed"),
        Err(_elapsed) => return debug!("a handshake took too long"),
    };
    let turns = Turns::default();
    let line = Line::new(stream, turns.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let turn = turns.begin();
        // A router is always ready.
        let answer = Service::<Request>::call(&mut router.clone(), request.map(Body::new));
        async move {
            let answer: Result<Response, Infallible> = answer.await;
            drop(turn);
            answer
        }
    });
    let connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(line), service);
    let mut connection = pin!(connection);
    let mut told = false;
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            () = closing.cancelled(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection ended early");
    }
}
