//! Hop 4: one stream to each core node, kept warm; only the one that serves is sent operations.
//! In: frames the desk has gathered, taken the moment the stream can carry one. Out: decoded frames.
//! Never: a frame taken before the one before it was written, so that each holds all that gathered.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream};
use rand::Rng;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;

use super::codec;
use super::driver::Driver;
use super::session::StreamRef;
use crate::table::id::ShardId;
use crate::tls::connect::Connector;
use crate::wire::v1;
use crate::wire::v1::cell_client::CellClient;

/// A node that takes longer to accept a connection is as good as gone.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A node that takes longer to accept a stream is as good as gone.
const ACCEPT_WITHIN: Duration = Duration::from_secs(2);
/// A silent peer is asked for a sign of life so often. Each sidecar asks each node, so this is most of what
/// idle sidecars cost: with ten thousand of them twenty thousand pings a second.
pub const PING_EVERY: Duration = Duration::from_millis(1_500);
/// A peer that does not answer within this is given up.
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Between two attempts, at most: full jitter below it, so that a fleet does not return in step.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Bound of one received frame: an attach lists all that a session holds, some 60 bytes each.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Room for a burst of replies without waiting for window updates.
const WINDOW_BYTES: u32 = 8 << 20;

/// A node that others tell of may be one that is about to be reached: by another name, or through a proxy.
const LEARNT_AFTER: Duration = Duration::from_secs(1);

/// How nodes are reached.
#[derive(Debug, Clone)]
pub struct Way {
    /// With or without TLS.
    pub connector: Connector,
    /// A token to be shown; its file is read anew for each stream, since tokens are replaced.
    pub token_file: Option<PathBuf>,
}

/// Keeps a stream to one node up for as long as that is called.
pub async fn keep(driver: Arc<Driver>, node: usize, address: String) {
    let mut pause = PAUSE_FIRST;
    let mut told = false;
    while driver.nodes().keeps(node) {
        let mut heard = false;
        match run_stream(&driver, node, &address, &mut heard).await {
            Ok(()) => tracing::debug!(address, "a core node ended its stream"),
            // Once for each outage: what is wrong stays wrong for a while.
            Err(error) if heard || !told => {
                told = true;
                tracing::info!(
                    address,
                    error = with_causes(&error),
                    "no stream to a core node"
                );
            }
            Err(error) => tracing::debug!(address, %error, "no stream to a core node"),
        }
        pause = if heard {
            PAUSE_FIRST
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
        let jittered = pause.mul_f64(rand::rng().random_range(0.0..1.0));
        tokio::time::sleep(jittered).await;
    }
}

/// The same for a node that others tell of.
pub async fn keep_learnt(driver: Arc<Driver>, node: usize, address: String) {
    tokio::time::sleep(LEARNT_AFTER).await;
    if driver.nodes().keeps(node) {
        tracing::info!(address, "a core node that was not configured");
        keep(driver, node, address).await;
    }
}

/// One stream from its connection to its end, which is an error more often than not. `heard` tells whether
/// the node has said anything before: then the next attempt need not wait.
async fn run_stream(
    driver: &Arc<Driver>,
    node: usize,
    address: &str,
    heard: &mut bool,
) -> Result<(), StreamError> {
    let way = &driver.way;
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_WITHIN)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect_with_connector(way.connector.clone())
        .await?;
    let mut client = CellClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let stream = driver.new_stream(node);
    let peer = Arc::new(AtomicU64::new(0));
    let outgoing = Outgoing {
        driver: Arc::clone(driver),
        stream,
        peer: Arc::clone(&peer),
    };
    let mut request = Request::new(outgoing.frames());
    if let Some(path) = &way.token_file {
        let token = bearer(path).await?;
        request.metadata_mut().insert("authorization", token);
    }
    let accepted = tokio::time::timeout(ACCEPT_WITHIN, client.session(request)).await;
    let mut incoming = accepted.map_err(|_| StreamError::Silent)??.into_inner();
    let _up = Up::new(driver, stream);
    while let Some(frame) = incoming.message().await? {
        driver.check_cell(&frame.cluster_id)?;
        if peer.swap(frame.from, Ordering::Relaxed) != frame.from {
            driver.nodes().met(node, frame.from);
        }
        if let Some(members) = &frame.members {
            driver.learn(members);
        }
        if let Some(credentials) = way.connector.credentials()
            && !frame.trust_bundle.is_empty()
        {
            credentials.hear(&frame.trust_bundle)?;
        }
        driver.hear(stream, codec::decode(frame)?);
        *heard = true;
    }
    Ok(())
}

/// An error with all that lies behind it: of a certificate that is not trusted, say, the transport tells only there.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// What stands in the header; it must not be seen in logs.
async fn bearer(path: &Path) -> Result<AsciiMetadataValue, StreamError> {
    let unreadable = |why: &dyn std::fmt::Display| StreamError::Token {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let token = tokio::fs::read_to_string(path).await;
    let token = token.map_err(|error| unreadable(&error))?;
    let value = AsciiMetadataValue::try_from(format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| unreadable(&"it is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why a stream ended, or did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No connection.
    #[error("transport: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The node ended it.
    #[error("the node says: {0}")]
    Status(#[from] tonic::Status),
    /// It did not accept the stream in time.
    #[error("the node does not answer")]
    Silent,
    /// It belongs to another cell than the first node that answered.
    #[error("the node belongs to the cell {theirs:?}, but this sidecar to {ours:?}")]
    AnotherCell {
        /// The cell of the first node that answered.
        ours: String,
        /// The cell of this one.
        theirs: String,
    },
    /// There is no token to be shown.
    #[error("{}: {why}", path.display())]
    Token {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It names authorities that are none.
    #[error(transparent)]
    Authorities(#[from] crate::tls::TlsError),
    /// It sent nonsense.
    #[error(transparent)]
    Malformed(#[from] crate::wire::convert::ConvertError),
}

/// Tells the desk that a stream stands, and at its end, however that comes, that it is gone.
struct Up<'a> {
    driver: &'a Driver,
    stream: StreamRef,
}

impl<'a> Up<'a> {
    fn new(driver: &'a Driver, stream: StreamRef) -> Self {
        tracing::debug!(node = stream.node, "a stream stands");
        driver.stream_up(stream);
        Self { driver, stream }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        tracing::debug!(node = self.stream.node, "a stream is gone");
        self.driver.nodes().lost(self.stream.node);
        self.driver.stream_down(self.stream);
    }
}

/// What the transport sends: it asks for the next frame when it has written the last.
struct Outgoing {
    driver: Arc<Driver>,
    stream: StreamRef,
    /// Raft id of the node, once it has said so.
    peer: Arc<AtomicU64>,
}

impl Outgoing {
    /// The frames, without an end.
    fn frames(self) -> impl Stream<Item = v1::SidecarFrame> + Send + 'static {
        stream::unfold(self, |outgoing| async {
            let frame = outgoing.next().await;
            Some((frame, outgoing))
        })
    }

    async fn next(&self) -> v1::SidecarFrame {
        loop {
            poll_fn(|context| self.poll_ready(context)).await;
            // The requests that other connections have read already go along: no delay, but fewer frames.
            tokio::task::yield_now().await;
            if let Some(frame) = self.driver.take_frame(self.stream) {
                let to = self.peer.load(Ordering::Relaxed);
                return codec::encode(&frame, self.driver.cell(), ShardId(0), to);
            }
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        // Register first: what comes between the look and the registration would wake nobody.
        self.driver.register(self.stream.node, context.waker());
        if self.driver.has_frame(self.stream) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
