//! The listeners of a node: gRPC for sidecars and nodes, HTTP for operators.
//! In: listeners, services, who may call. Out: served calls until told to close.
//! Never: a caller without bounds: handshakes, heads, streams and connections have them.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tower::ServiceExt;

use super::access::Access;
use super::formation::Local;
use super::raft_service::{Groups, raft_server};
use super::service::{Shards, cell_server};
use super::storage::Storage;
use crate::tls::accept::{Accepting, Door, Guests};
use crate::tls::caller::Connection;

/// A dead caller is found out within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes in flight on one stream before its sender waits.
const WINDOW_BYTES: u32 = 4 << 20;
/// Calls under way on one connection: a sidecar has one, a node some for each group.
const STREAMS_MAX: u32 = 1_024;
/// Bytes of the head of a call.
const HEAD_BYTES_MAX: u32 = 16 << 10;
/// From the first byte of a request's head to its last.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Connections of operators, probes and scrapers at a time.
const OPERATORS_MAX: usize = 1_024;
/// Longest that a closing listener waits for calls under way.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// What gRPC serves.
pub(super) struct Cells {
    pub(super) groups: Groups,
    pub(super) shards: Shards,
    pub(super) storage: Storage,
    pub(super) local: Local,
}

/// The door of sidecars and nodes.
pub(super) fn grpc(listener: TcpListener, access: &Access) -> io::Result<Accepting> {
    Accepting::new(listener, door(access, access.guests(), "h2"))
}

/// The door of operators, probes and scrapers: the latter two have no certificates.
pub(super) fn http(listener: TcpListener, access: &Access) -> io::Result<Accepting> {
    Accepting::new(listener, door(access, Guests::Any, "http/1.1"))
}

fn door(access: &Access, guests: Guests, protocol: &'static str) -> Option<Door> {
    Some(Door {
        credentials: access.credentials.clone()?,
        guests,
        protocol,
    })
}

/// Serves gRPC until `closing`.
pub(super) async fn serve_grpc(
    accepting: Accepting,
    closing: CancellationToken,
    cells: Cells,
    access: Access,
) {
    let among_nodes = access.nodes_only();
    let raft = raft_server(cells.groups, cells.storage);
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .max_concurrent_streams(Some(STREAMS_MAX))
        .http2_max_header_list_size(Some(HEAD_BYTES_MAX))
        .add_service(InterceptedService::new(raft, among_nodes.clone()))
        .add_service(InterceptedService::new(cells.local.server(), among_nodes))
        .add_service(cell_server(cells.shards, access))
        .serve_with_incoming_shutdown(accepting.connections(), closing.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC ended");
    }
}

/// Serves HTTP until `closing`, and then what is under way for a moment.
pub(super) async fn serve_http(
    mut accepting: Accepting,
    closing: CancellationToken,
    router: Router,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            connection = accepting.next(), if connections.len() < OPERATORS_MAX => {
                let served = serve_one(connection, router.clone(), &graceful);
                connections.spawn(served);
            }
        }
    }
    drop(accepting);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("operators' connections were still open at the end");
    }
}

/// One connection, from its first request to its last.
fn serve_one(
    connection: Connection,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    let caller = connection.caller().clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(caller.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router.oneshot(request).await)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(connection), service);
    let served = graceful.watch(served);
    async move {
        if let Err(error) = served.await {
            tracing::debug!(%error, "an operator's connection broke");
        }
    }
}

fn answer<T>(answered: Result<T, Infallible>) -> T {
    match answered {
        Ok(answer) => answer,
    }
}
