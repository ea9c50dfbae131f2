//! Stands before every route: who may call, what they accept; and after it: mode, problem, count.
//! In: a request and the route it matched. Out: its answer, complete.
//! Never: an answer without `Sidelock-Mode`, a refusal that is not a problem, a panic that escapes.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::metrics;
use super::problem::{Code, Problem};
use super::request;
use super::router::Face;
use super::spans::RequestTrace;
use crate::sidecar::handle::SidecarMode;
use crate::telemetry::traces::Trail;

/// In every answer: what the sidecar can do at the moment.
pub(super) const SIDELOCK_MODE: HeaderName = HeaderName::from_static("sidelock-mode");

/// What a route answers with, so that an unacceptable answer is refused before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Produces {
    Json,
    Events,
    JsonOrEvents,
    /// Pages and texts for any client.
    Anything,
}

/// The layer of one route.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) face: Arc<Face>,
    pub(super) route: &'static str,
    pub(super) produces: Produces,
    /// Whether any `Host` will do, as for probes from outside.
    pub(super) any_host: bool,
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner,
            gate: self.clone(),
        }
    }
}

/// A route behind its gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<Request> for Gated<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !self.gate.lacks_token(request.headers()) {
            return self.pass(request, false);
        }
        // The token may have been replaced a moment ago: its file is read before anybody is refused.
        let mut again = self.clone();
        Box::pin(async move {
            again.gate.look_at_token().await;
            let lacks_token = again.gate.lacks_token(request.headers());
            again.pass(request, lacks_token).await
        })
    }
}

impl<S> Gated<S>
where
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    fn pass(
        &mut self,
        mut request: Request,
        lacks_token: bool,
    ) -> BoxFuture<'static, Result<Response, Infallible>> {
        let gate = self.gate.clone();
        let asked = Asked::of(&request);
        if let Err(problem) = gate.admit(&request, lacks_token) {
            let response = gate.finish(&asked, problem.into_response());
            return Box::pin(std::future::ready(Ok(response)));
        }
        let trail = RequestTrace::begin(&mut request, gate.route);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(Ok(response)) => response.into_response(),
                Ok(Err(never)) => match never {},
                // The panic hook has told the log where.
                Err(_panic) => {
                    Problem::new(Code::Internal, "a bug: this request made the sidecar panic")
                        .into_response()
                }
            };
            let response = gate.finish(&asked, response);
            answered(&trail, &response);
            Ok(response)
        })
    }
}

/// Notes the answer in the span of the request.
fn answered(trail: &Trail, response: &Response) {
    let status = response.status();
    trail.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        trail.fail("");
    }
}

/// What of the request its answer may have to repeat.
struct Asked {
    method: Method,
    uri: Uri,
    trace_id: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            trace_id: request::given_trace_id(request.headers()).map(str::to_owned),
        }
    }
}

impl Gate {
    fn admit(&self, request: &Request, lacks_token: bool) -> Result<(), Problem> {
        if !self.any_host {
            check_host(&self.face.hosts, request)?;
            check_origin(&self.face.hosts, request.headers())?;
        }
        if lacks_token {
            let text =
                "send the header `Authorization: Bearer TOKEN` with the token of this sidecar";
            let problem = Problem::new(Code::Unauthorized, text);
            return Err(problem.header(header::WWW_AUTHENTICATE, "Bearer"));
        }
        let accepts = |media_type| request::quality(request.headers(), media_type) > 0;
        let (acceptable, offer) = match self.produces {
            Produces::Anything => (true, ""),
            // Clients made from the document accept just problems where an answer has no body.
            Produces::Json => (
                accepts("application/json")
                    || request::names(request.headers(), "application/problem+json"),
                "application/json",
            ),
            Produces::Events => (accepts("text/event-stream"), "text/event-stream"),
            Produces::JsonOrEvents => (
                accepts("application/json") || accepts("text/event-stream"),
                "application/json or text/event-stream",
            ),
        };
        if acceptable {
            return Ok(());
        }
        Err(Problem::new(
            Code::NotAcceptable,
            format!("the answer is {offer}"),
        ))
    }

    /// Whether a token is wanted and not shown. Probes show none: kubelet has no secrets.
    fn lacks_token(&self, headers: &HeaderMap) -> bool {
        let free = self.any_host || ["/livez", "/readyz"].contains(&self.route);
        let Some(token) = self.face.token.as_ref().filter(|_| !free) else {
            return false;
        };
        let shown = headers.get(header::AUTHORIZATION);
        !shown.is_some_and(|shown| token.now().is_shown_by(shown.as_bytes()))
    }

    async fn look_at_token(&self) {
        if let Some(token) = &self.face.token
            && let Err(error) = token.look().await
        {
            tracing::debug!(%error, "the token stays as it was");
        }
    }

    fn finish(&self, asked: &Asked, mut response: Response) -> Response {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let made;
            let trace_id = match (problem.trace_id(), &asked.trace_id) {
                (Some(own), _) => own,
                (None, Some(given)) => given,
                (None, None) => {
                    made = request::random_hex();
                    &made
                }
            };
            response = problem.render(asked.uri.path(), trace_id);
        }
        let mode = response.headers().get(SIDELOCK_MODE);
        if mode.is_none() {
            let mode = self.face.sidecar.current_mode();
            response
                .headers_mut()
                .insert(SIDELOCK_MODE, mode_value(mode));
        }
        let instruments = self.face.sidecar.instruments();
        metrics::answered(instruments, self.route, &asked.method, response.status());
        response
    }
}

/// The value of `Sidelock-Mode`.
pub(super) fn mode_value(mode: SidecarMode) -> HeaderValue {
    HeaderValue::from_static(mode.word())
}

/// A page in a browser must not reach this by a name that its author has pointed to loopback.
fn check_host(allowed: &[String], request: &Request) -> Result<(), Problem> {
    let headers: &HeaderMap = request.headers();
    let mut named = false;
    let hosts = headers
        .get_all(header::HOST)
        .iter()
        .map(HeaderValue::as_bytes);
    let authority = request
        .uri()
        .authority()
        .map(|name| name.as_str().as_bytes());
    for host in hosts.chain(authority) {
        named = true;
        let host = std::str::from_utf8(host).unwrap_or("");
        if !is_local(host) && !allowed.iter().any(|name| name == host) {
            return Err(Problem::new(
                Code::Forbidden,
                "the header `Host` must be localhost, 127.0.0.1 or [::1], with any port",
            ));
        }
    }
    if named || request.version() < Version::HTTP_11 {
        return Ok(());
    }
    Err(Problem::invalid("the header `Host` is missing"))
}

/// Nor may it ask for what needs no answer that it can read, such as a drain. Other clients than browsers
/// send no `Origin`.
fn check_origin(allowed: &[String], headers: &HeaderMap) -> Result<(), Problem> {
    for origin in headers.get_all(header::ORIGIN) {
        let origin = std::str::from_utf8(origin.as_bytes()).unwrap_or("");
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if !is_local(host) && !allowed.iter().any(|name| name == host) {
            return Err(Problem::new(
                Code::Forbidden,
                "a page from elsewhere may not ask: the header `Origin` must name a local address",
            ));
        }
    }
    Ok(())
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    // `[::1]` alone also ends in `:` and digits-and-bracket, so it stays whole above.
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}
