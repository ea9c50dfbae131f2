//! A sidecar that does nothing but live: a stream to every core node, and lean renewals over the leader's.
//! In: the nodes' addresses. Out: counts of what the core acknowledged. Never: more than an idle sidecar sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use sidelock::wire::v1::cell_client::CellClient;
use sidelock::wire::v1::{CoreFrame, OpenSession, Renewal, SidecarFrame, renewal_reply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// As a sidecar's defaults.
pub const TTL: Duration = Duration::from_secs(10);
/// Likewise; how often a silent connection is asked for a sign of life.
pub const PING_EVERY: Duration = sidelock::sidecar::link::PING_EVERY;

/// What all sessions together have seen.
#[derive(Debug, Default)]
pub struct Counts {
    pub attached: AtomicU64,
    pub acknowledged: AtomicU64,
    /// Streams that ended, and sessions that the core did not know any more.
    pub lost: AtomicU64,
}

/// A session; its streams end with it.
pub struct Session {
    _streams: JoinSet<()>,
}

impl Session {
    /// Connects to all nodes. It opens as soon as one of them says that it serves.
    pub async fn open(
        cores: &[String],
        (number, ping): (usize, Duration),
        counts: Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let key: [u8; 16] = rand::rng().random();
        let mut streams = JoinSet::new();
        for core in cores {
            let stream = Stream::connect(core, (number, ping), key).await?;
            let counts = Arc::clone(&counts);
            streams.spawn(async move {
                if stream.live(&counts).await.is_err() {
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { _streams: streams })
    }
}

/// The stream to one node.
struct Stream {
    frames: mpsc::Sender<SidecarFrame>,
    incoming: Streaming<CoreFrame>,
    number: usize,
    key: [u8; 16],
    /// Once attached, and the number of the last renewal.
    session: Option<(u64, u32)>,
    last: u64,
    heard: u64,
}

impl Stream {
    async fn connect(
        core: &str,
        (number, ping): (usize, Duration),
        key: [u8; 16],
    ) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{core}"))?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ping)
            // Beside ten thousand others on one machine, an answer may be late.
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .connect()
            .await?;
        let (frames, outgoing) = mpsc::channel(4);
        let mut client = CellClient::new(channel);
        let asked = client.session(ReceiverStream::new(outgoing));
        Ok(Self {
            frames,
            incoming: asked.await?.into_inner(),
            number,
            key,
            session: None,
            last: 0,
            heard: 0,
        })
    }

    /// Hears until the stream ends, which it should not.
    async fn live(mut self, counts: &Counts) -> anyhow::Result<()> {
        let mut renew = tokio::time::interval(TTL / 3);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = self.incoming.message() => {
                    let frame = frame?.context("the node ended the stream")?;
                    self.hear(frame, counts).await?;
                }
                _ = renew.tick(), if self.session.is_some() => self.renew().await?,
            }
        }
    }

    async fn hear(&mut self, frame: CoreFrame, counts: &Counts) -> anyhow::Result<()> {
        if let Some(attached) = frame.attached {
            self.session = Some((attached.session, attached.generation));
            self.last = attached.renewal;
            self.heard = attached.renewal;
            counts.attached.fetch_add(1, Ordering::Relaxed);
        }
        let serves = frame.leader.is_some_and(|leader| leader.serving);
        if serves && self.session.is_none() {
            self.send(SidecarFrame {
                open: Some(self.opening()?),
                ..SidecarFrame::default()
            })
            .await?;
        }
        for reply in frame.renewals {
            match reply.outcome {
                Some(renewal_reply::Outcome::RenewedTtlMs(_)) => {
                    self.heard = self.heard.max(reply.number);
                    counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // An election: the next node to serve is asked.
                Some(renewal_reply::Outcome::NotLeader(_)) => self.session = None,
                _ => anyhow::bail!("the session is gone"),
            }
        }
        Ok(())
    }

    fn opening(&self) -> anyhow::Result<OpenSession> {
        Ok(OpenSession {
            key: self.key.to_vec(),
            ttl_ms: u32::try_from(TTL.as_millis())?,
            identity: format!("idle-{}", self.number),
            generation: 1,
        })
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let Some((session, generation)) = self.session else {
            return Ok(());
        };
        self.last += 1;
        let renewal = Renewal {
            session,
            generation,
            number: self.last,
            heard: self.heard,
        };
        self.send(SidecarFrame {
            renewals: vec![renewal],
            ..SidecarFrame::default()
        })
        .await
    }

    async fn send(&self, frame: SidecarFrame) -> anyhow::Result<()> {
        self.frames
            .send(frame)
            .await
            .context("the stream has ended")
    }
}
