//! A sidecar that does nothing but live: a stream to every core node, and lean renewals over the leader's.
//! In: the nodes' addresses, certificates if they want some. Out: counts of what the core acknowledged, and whether a
//! safe deadline ever passed. Never: more than an idle sidecar sends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use sidelock::tls::connect::Connector;
use sidelock::wire::v1::cell_client::CellClient;
use sidelock::wire::v1::{CoreFrame, OpenSession, Renewal, SidecarFrame, renewal_reply};
use sidelock::world::clock::{BootClock, Clock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// As a sidecar's defaults.
pub const TTL: Duration = Duration::from_secs(10);
const LEASE_MS: u64 = 10_000;
const MARGIN_MS: u64 = 100;
/// Likewise; how often a silent connection is asked for a sign of life.
pub const PING_EVERY: Duration = sidelock::sidecar::link::PING_EVERY;

/// What all sessions together have seen.
#[derive(Debug, Default)]
pub struct Counts {
    pub attached: AtomicU64,
    pub acknowledged: AtomicU64,
    /// Streams that ended, and sessions that the core did not know any more.
    pub lost: AtomicU64,
    /// Times that a safe deadline passed before the next renewal was acknowledged.
    pub jeopardies: AtomicU64,
    sessions: Mutex<Vec<Arc<Safety>>>,
}

impl Counts {
    /// Looks for deadlines that have passed; to be called now and then.
    pub fn look(&self) {
        let now = now_ms();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let late = sessions
            .iter()
            .filter(|session| session.passed(now))
            .count();
        self.jeopardies.fetch_add(late as u64, Ordering::Relaxed);
    }
}

/// Until when a session is safe, over all its streams.
#[derive(Debug, Default)]
struct Safety {
    /// In milliseconds since boot; 0 before it is open, and after it was late once.
    until_ms: AtomicU64,
}

impl Safety {
    /// Acknowledged: safe from the send on, as a sidecar counts it. True if that came too late.
    fn renewed(&self, sent_ms: u64) -> bool {
        let until = sent_ms + LEASE_MS - LEASE_MS / 100 - MARGIN_MS;
        let former = self.until_ms.fetch_max(until, Ordering::Relaxed);
        former != 0 && now_ms() > former
    }

    fn passed(&self, now_ms: u64) -> bool {
        let until = self.until_ms.load(Ordering::Relaxed);
        let passed = until != 0 && now_ms > until;
        if passed {
            self.until_ms.store(0, Ordering::Relaxed);
        }
        passed
    }
}

fn now_ms() -> u64 {
    u64::try_from(BootClock.now().since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// How a node is reached.
#[derive(Debug, Clone)]
pub struct Way {
    /// How often a silent connection is asked for a sign of life.
    pub ping: Duration,
    pub connector: Connector,
}

/// The place among these nodes of the one that serves, if one does now.
pub async fn serving(cores: &[String], way: &Way) -> Option<usize> {
    for (place, core) in cores.iter().enumerate() {
        let Ok(mut stream) = Stream::connect(core, 0, way, [0; 16], Arc::default()).await else {
            continue;
        };
        let first = stream.incoming.message().await.ok().flatten();
        if first
            .and_then(|frame| frame.leader)
            .is_some_and(|leader| leader.serving)
        {
            return Some(place);
        }
    }
    None
}

/// A session; its streams end with it.
pub struct Session {
    _streams: JoinSet<()>,
}

impl Session {
    /// Connects to all nodes. It opens as soon as one of them says that it serves.
    pub async fn open(
        cores: &[String],
        number: usize,
        way: &Way,
        counts: Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let key: [u8; 16] = rand::rng().random();
        let safety = Arc::new(Safety::default());
        {
            let sessions = counts.sessions.lock();
            let mut sessions = sessions.unwrap_or_else(PoisonError::into_inner);
            sessions.push(Arc::clone(&safety));
        }
        let mut streams = JoinSet::new();
        for core in cores {
            let stream = Stream::connect(core, number, way, key, Arc::clone(&safety)).await?;
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
    safety: Arc<Safety>,
    /// When what is not answered yet was sent, by the number of the renewal; 0 is the open.
    sent: BTreeMap<u64, u64>,
}

impl Stream {
    async fn connect(
        core: &str,
        number: usize,
        way: &Way,
        key: [u8; 16],
        safety: Arc<Safety>,
    ) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{core}"))?
            .http2_keep_alive_interval(way.ping)
            // Beside ten thousand others on one machine, an answer may be late.
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .connect_with_connector(way.connector.clone())
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
            safety,
            sent: BTreeMap::new(),
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
            // The lease runs from the first open; found again after an election, it is not renewed by that.
            let opened = self.sent.remove(&0);
            if let Some(sent) = opened.filter(|_| attached.renewal == 0) {
                self.renewed(sent, counts);
            }
        }
        let serves = frame.leader.is_some_and(|leader| leader.serving);
        if serves && self.session.is_none() {
            self.sent = BTreeMap::from([(0, now_ms())]);
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
                    if let Some(sent) = self.sent.remove(&reply.number) {
                        self.renewed(sent, counts);
                    }
                    counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // An election: the next node to serve is asked.
                Some(renewal_reply::Outcome::NotLeader(_)) => self.session = None,
                _ => anyhow::bail!("the session is gone"),
            }
        }
        Ok(())
    }

    fn renewed(&self, sent_ms: u64, counts: &Counts) {
        if self.safety.renewed(sent_ms) {
            counts.jeopardies.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn opening(&self) -> anyhow::Result<OpenSession> {
        Ok(OpenSession {
            key: self.key.to_vec(),
            ttl_ms: u32::try_from(TTL.as_millis())?,
            identity: format!("idle-{}", self.number),
            generation: 1,
            principal: String::new(),
        })
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        let Some((session, generation)) = self.session else {
            return Ok(());
        };
        self.last += 1;
        self.sent.insert(self.last, now_ms());
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
