//! Accepts connections and speaks HTTP/1.1 on each until it is told to stop.
//! In: bound listeners, a router. Out: answers. Never: a connection without bounds, or one that
//! outlives the shutdown by more than its grace.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::debug;

use super::line::{Busy, Line, Watched};
use crate::config::limits;
use crate::world::accepting::{Bounds, Listens, accept};

/// Where apps connect.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// In a request that stands for one whose head was refused: the status.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedHead(pub(super) u16);

/// Serves until `shutdown` completes; then requests under way have `limits::SHUTDOWN_GRACE`, and
/// streams and waiting requests end.
pub async fn serve(listeners: Vec<Listener>, router: Router, shutdown: impl Future<Output = ()>) {
    let closing = CancellationToken::new();
    let bounds = Bounds {
        most: limits::CONNECTIONS_MAX / listeners.len().max(1),
        grace: limits::SHUTDOWN_GRACE,
    };
    let mut ports = JoinSet::new();
    for listener in listeners {
        let (router, ending) = (router.clone(), closing.clone());
        let drive = move |socket| {
            let (router, closing) = (router.clone(), ending.clone());
            async move {
                match socket {
                    Socket::Tcp(socket) => drive(socket, router, closing).await,
                    Socket::Unix(socket) => drive(socket, router, closing).await,
                }
            }
        };
        ports.spawn(accept(listener, bounds, closing.clone(), drive));
    }
    shutdown.await;
    closing.cancel();
    while ports.join_next().await.is_some() {}
}

/// A connection of an app.
#[derive(Debug)]
pub enum Socket {
    /// To a TCP port.
    Tcp(TcpStream),
    /// To a Unix socket.
    Unix(UnixStream),
}

impl Listens for Listener {
    type Socket = Socket;

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Listens::accept(listener).await.map(Socket::Tcp),
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

async fn drive<S>(socket: S, mut router: Router, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let line = Arc::new(Line::new(closing.clone()));
    let watched = Watched::new(socket, line.clone());
    let inner = router.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = line.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(line.clone());
        let answer = inner_call(&mut inner.clone(), request);
        // Boxed: hyper gives the socket back only if its future can move.
        Box::pin(async move {
            let response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _busy: busy }))
        })
    });
    let mut connection = http1::Builder::new()
        .max_header_size(limits::HEAD_BYTES_MAX)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(watched), service);
    let mut told = false;
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break outcome,
            () = closing.cancelled(), if !told => {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection ended early");
    }
    let watched = connection.into_parts().io.into_inner();
    let last = match watched.refused() {
        Some(status) => refusal(&mut router, status).await,
        None => Vec::new(),
    };
    let finished = tokio::time::timeout(limits::LINGER_TIMEOUT, watched.finish(&last)).await;
    if let Ok(Err(error)) = finished {
        debug!(%error, "a connection was gone before it was closed");
    }
}

fn inner_call(
    router: &mut Router,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> + use<> {
    // A router is always ready.
    Service::<Request>::call(router, request)
}

/// The whole answer to a request whose head no handler has seen.
async fn refusal(router: &mut Router, status: u16) -> Vec<u8> {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(
        header::HOST,
        axum::http::HeaderValue::from_static("localhost"),
    );
    request.extensions_mut().insert(RefusedHead(status));
    let response = match inner_call(router, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            debug!(%error, "a refusal has no body");
            Bytes::new()
        }
    };
    let reason = parts.status.canonical_reason().unwrap_or("");
    let mut answer = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        if name == header::CONTENT_LENGTH {
            continue;
        }
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    let end = format!(
        "content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    answer.extend_from_slice(end.as_bytes());
    answer.extend_from_slice(&body);
    answer
}

/// An answer's body; the connection is busy until it is dropped.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
