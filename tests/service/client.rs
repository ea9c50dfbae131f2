//! A sidecar reduced to its stream: says what it is told to say, and waits for what it is told to expect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sidelock::core::access::Access;
use sidelock::core::group::{Retention, Timings};
use sidelock::core::node::{Config, Node};
use sidelock::wire::v1;
use sidelock::wire::v1::cell_client::CellClient;
use sidelock::world::clock::BootClock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Far longer than anything here takes, so only what never comes runs into it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cell of one node on a directory of its own.
pub struct Cell {
    pub node: Node,
    _dir: tempfile::TempDir,
}

pub async fn cell() -> Cell {
    cell_with(false).await
}

pub async fn cell_with(breaks_allowed: bool) -> Cell {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        node_id: 1,
        data_dir: dir.path().join("data"),
        grpc: any,
        http: any,
        peers: Vec::new(),
        join: None,
        advertise: None,
        alone: true,
        breaks_allowed,
        access: Access::default(),
        plaintext: false,
        timings: Timings {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        },
        retention: Retention::default(),
    };
    let node = Node::start(config, Arc::new(BootClock))
        .await
        .expect("a node");
    Cell { node, _dir: dir }
}

pub struct Client {
    sender: mpsc::Sender<v1::SidecarFrame>,
    frames: Streaming<v1::CoreFrame>,
    /// Parts of frames that nobody has asked for yet, in order.
    leaders: Vec<v1::Leader>,
    pub cluster_id: String,
    pub node: u64,
    pub attached: Vec<v1::Attached>,
    pub renewals: Vec<v1::RenewalReply>,
    pub replies: Vec<v1::OperationReply>,
    pub events: Vec<v1::event::Event>,
    queries: Vec<v1::QueryReply>,
    pub session: u64,
    pub generation: u32,
}

impl Client {
    /// Connects and waits until the node serves.
    pub async fn connect(cell: &Cell) -> Self {
        let mut client = loop {
            match Self::dial(cell).await {
                Ok(client) => break client,
                // It has not formed its cell yet.
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        while !client.leaders.last().is_some_and(|leader| leader.serving) {
            client.read().await.expect("a leader frame");
        }
        client
    }

    async fn dial(cell: &Cell) -> Result<Self, Status> {
        let address = format!("http://{}", cell.node.grpc_addr());
        let mut client = CellClient::connect(address).await.expect("a connection");
        let (sender, receiver) = mpsc::channel(1024);
        let response = client.session(ReceiverStream::new(receiver)).await?;
        let mut client = Self {
            sender,
            frames: response.into_inner(),
            leaders: Vec::new(),
            cluster_id: String::new(),
            node: 0,
            attached: Vec::new(),
            renewals: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            queries: Vec::new(),
            session: 0,
            generation: 0,
        };
        client.read().await?;
        assert_eq!(client.leaders.len(), 1, "the first frame says who leads");
        Ok(client)
    }

    /// Connects and opens the session of this key.
    pub async fn open(cell: &Cell, key: u8, ttl_ms: u32) -> (Self, v1::Attached) {
        let mut client = Self::connect(cell).await;
        let attached = client.attach(key, ttl_ms).await;
        (client, attached)
    }

    pub async fn attach(&mut self, key: u8, ttl_ms: u32) -> v1::Attached {
        self.send(v1::SidecarFrame {
            open: Some(v1::OpenSession {
                key: vec![key; 16],
                ttl_ms,
                identity: format!("test-{key}"),
                generation: 1,
                principal: String::new(),
            }),
            ..v1::SidecarFrame::default()
        })
        .await;
        while self.attached.is_empty() {
            self.read().await.expect("the answer to an open");
        }
        let attached = self.attached.remove(0);
        self.session = attached.session;
        self.generation = attached.generation;
        attached
    }

    /// Sends a frame, addressed rightly unless it says otherwise.
    pub async fn send(&self, mut frame: v1::SidecarFrame) {
        if frame.cluster_id.is_empty() {
            frame.cluster_id = self.cluster_id.clone();
        }
        if frame.to == 0 {
            frame.to = self.node;
        }
        self.sender
            .send(frame)
            .await
            .expect("the stream takes frames");
    }

    /// Reads one frame into the lists.
    pub async fn read(&mut self) -> Result<(), Status> {
        let frame = tokio::time::timeout(PATIENCE, self.frames.message())
            .await
            .expect("a frame in time")?;
        let frame = frame.ok_or_else(|| Status::ok("the core closed the stream"))?;
        assert!(!frame.cluster_id.is_empty());
        self.cluster_id = frame.cluster_id;
        self.node = frame.from;
        self.leaders.extend(frame.leader);
        self.attached.extend(frame.attached);
        self.renewals.extend(frame.renewals);
        self.replies.extend(frame.replies);
        let events = frame.events.into_iter();
        self.events
            .extend(events.map(|event| event.event.expect("set")));
        self.queries.extend(frame.queries);
        Ok(())
    }

    /// Reads until the stream ends, and says how.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.read().await {
                return status;
            }
        }
    }

    /// Closes this side of the stream, and waits until the core has closed the other.
    pub async fn leave(mut self) {
        let (nowhere, _) = mpsc::channel(1);
        self.sender = nowhere;
        assert_eq!(self.end().await.code(), tonic::Code::Ok);
    }

    pub fn operation(&self, seq: u64, operation: v1::operation::Operation) -> v1::Operation {
        v1::Operation {
            session: self.session,
            generation: self.generation,
            seq,
            acked: 0,
            traceparent: String::new(),
            operation: Some(operation),
        }
    }

    pub async fn operate(&self, operations: Vec<v1::Operation>) {
        self.send(v1::SidecarFrame {
            operations,
            ..v1::SidecarFrame::default()
        })
        .await;
    }

    pub async fn reply(&mut self, seq: u64) -> v1::operation_reply::Outcome {
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply.seq == seq) {
                return self.replies.remove(at).outcome.expect("set");
            }
            self.read().await.expect("a reply");
        }
    }

    /// Asks for an exclusive lock, and gives the reply.
    pub async fn acquire(
        &mut self,
        seq: u64,
        lock: &str,
        wait: bool,
    ) -> v1::operation_reply::Outcome {
        self.operate(vec![self.operation(seq, ask(seq, lock, wait))])
            .await;
        self.reply(seq).await
    }

    pub async fn release(&mut self, seq: u64, claim: u64) -> v1::operation_reply::Outcome {
        self.operate(vec![self.operation(seq, let_go(claim))]).await;
        self.reply(seq).await
    }

    pub async fn event(&mut self) -> v1::event::Event {
        while self.events.is_empty() {
            self.read().await.expect("an event");
        }
        self.events.remove(0)
    }

    pub async fn renew(&mut self, number: u64) -> v1::renewal_reply::Outcome {
        let renewal = v1::Renewal {
            session: self.session,
            generation: self.generation,
            number,
            heard: 0,
        };
        self.send(v1::SidecarFrame {
            renewals: vec![renewal],
            ..v1::SidecarFrame::default()
        })
        .await;
        while self.renewals.is_empty() {
            self.read().await.expect("the answer to a renewal");
        }
        let reply = self.renewals.remove(0);
        assert_eq!((reply.session, reply.number), (self.session, number));
        reply.outcome.expect("set")
    }

    /// Sends a query; the answer comes by [`Client::answer`].
    pub async fn query(&mut self, linearizable: bool, query: v1::query::Query) -> u64 {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        self.send(v1::SidecarFrame {
            queries: vec![v1::Query {
                id,
                linearizable,
                query: Some(query),
            }],
            ..v1::SidecarFrame::default()
        })
        .await;
        id
    }

    pub async fn answer(&mut self, id: u64) -> v1::QueryReply {
        loop {
            if let Some(at) = self.queries.iter().position(|reply| reply.id == id) {
                return self.queries.remove(at);
            }
            self.read().await.expect("an answer");
        }
    }
}

/// An exclusive claim on one lock, with an owner of its own.
pub fn ask(seq: u64, lock: &str, wait: bool) -> v1::operation::Operation {
    v1::operation::Operation::Acquire(v1::Acquire {
        claim_id: format!("claim-{seq}"),
        owner: format!("owner-{seq}"),
        locks: vec![v1::Want {
            name: lock.into(),
            mode: v1::Mode::Exclusive.into(),
            permits: 0,
            limit: 0,
        }],
        wait,
        ..v1::Acquire::default()
    })
}

pub fn let_go(claim: u64) -> v1::operation::Operation {
    v1::operation::Operation::Release(v1::Release {
        claim,
        cause: v1::EndCause::Released.into(),
        waited_ms: 0,
        held_ms: 1,
    })
}
