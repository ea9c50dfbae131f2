//! A one-node cell, sidecars, and a wire that can be cut and mended.
//! In: nothing. Out: drivers to call. Never: a fixed port, or a wait without a bound.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sidelock::core::access::Access;
use sidelock::core::group::{Retention, Timings};
use sidelock::core::node::{Config as NodeConfig, Node};
use sidelock::sidecar::driver::{Config, Driver};
use sidelock::sidecar::handle::{
    ClaimAnswer, ClaimAsk, ClaimError, ClaimEventKind, ClaimView, Sidecar, Trace,
};
use sidelock::table::command::{Mode, Want};
use sidelock::table::id::{ClaimId, LockName};
use sidelock::world::clock::{BootClock, SharedClock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Nothing in these tests takes longer; on a busy machine most take a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A one-node cell.
pub struct Cell {
    pub node: Node,
    _data: tempfile::TempDir,
}

impl Cell {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = NodeConfig {
            node_id: 1,
            data_dir: data.path().to_owned(),
            grpc: loopback,
            http: loopback,
            peers: Vec::new(),
            join: None,
            advertise: None,
            alone: true,
            breaks_allowed: true,
            access: Access::default(),
            plaintext: false,
            timings: Timings::default(),
            retention: Retention::default(),
        };
        let node = Node::start(config, clock()).await.expect("a node");
        Self { node, _data: data }
    }

    /// A sidecar with a direct wire.
    pub fn sidecar(&self, name: &str) -> Arc<Driver> {
        let address = self.node.grpc_addr().to_string();
        Driver::start(Config::new(vec![address], name.to_owned()), clock())
    }

    /// A sidecar behind a wire that can be cut. Its session lives for `ttl`.
    pub async fn behind_wire(&self, ttl: Duration) -> (Arc<Driver>, Wire) {
        let wire = Wire::to(self.node.grpc_addr()).await;
        let config = Config {
            session_ttl: ttl,
            no_quorum_after: Duration::from_millis(500),
            ..Config::new(vec![wire.address.to_string()], "wired".to_owned())
        };
        (Driver::start(config, clock()), wire)
    }
}

pub fn clock() -> SharedClock {
    Arc::new(BootClock)
}

/// Forwards connections until it is cut; then it ends them all and refuses new ones until mended.
pub struct Wire {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy)]
struct State {
    whole: bool,
    /// A connection ends at the next cut, even if the wire is mended before it looks.
    cuts: u64,
}

impl Wire {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (sender, state) = watch::channel(State {
            whole: true,
            cuts: 0,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(forward(near, target, state.clone()));
            }
        });
        Self {
            address,
            state: sender,
            _tasks: tasks,
        }
    }

    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.whole = false;
            state.cuts += 1;
        });
    }

    pub fn mend(&self) {
        self.state.send_modify(|state| state.whole = true);
    }
}

async fn forward(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let State { whole, cuts } = *state.borrow_and_update();
    if !whole {
        return; // dropping it ends the connection
    }
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut near, &mut far) => {
            copied.map(|_| ()).unwrap_or_default();
        }
        _cut = state.wait_for(|now| now.cuts != cuts) => {}
    }
}

pub fn id(text: &str) -> ClaimId {
    ClaimId::parse(text).expect("a valid id in a test")
}

pub fn name(text: &str) -> LockName {
    LockName::parse(text).expect("a valid name in a test")
}

/// A try for one exclusive lock.
pub fn ask(lock: &str) -> ClaimAsk {
    ClaimAsk {
        locks: vec![Want {
            name: name(lock),
            mode: Mode::Exclusive,
        }],
        ttl: Duration::from_secs(30),
        wait: Duration::ZERO,
        queue: false,
        owner: None,
        metadata: BTreeMap::new(),
        value: None,
        priority: 0,
        min_hold: Duration::ZERO,
    }
}

pub fn waiting(lock: &str) -> ClaimAsk {
    ClaimAsk {
        wait: Duration::from_secs(15),
        ..ask(lock)
    }
}

/// Claims, within patience.
pub async fn claim(driver: &Driver, claim: &str, ask: ClaimAsk) -> Result<ClaimAnswer, ClaimError> {
    soon(driver.claim(id(claim), ask, Trace::default())).await
}

/// Claims and must be granted.
pub async fn hold(driver: &Driver, name: &str, ask: ClaimAsk) -> ClaimView {
    match claim(driver, name, ask).await {
        Ok(ClaimAnswer::Granted(view)) => view,
        other => panic!("{name} should be granted, not {other:?}"),
    }
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.expect("nothing here takes that long")
}

/// Waits for an event of this kind; the kinds on the way to it.
pub async fn until(driver: &Driver, claim: &str, kind: ClaimEventKind) -> Vec<ClaimEventKind> {
    let mut seen = Vec::new();
    let mut after = Some(0);
    loop {
        let events = soon(driver.claim_events(&id(claim), after)).await;
        let events = events.expect("the claim is known");
        assert!(!events.is_empty(), "it ended after {seen:?}");
        for event in events {
            after = Some(event.revision);
            seen.push(event.kind);
            if event.kind == kind {
                return seen;
            }
        }
    }
}

/// Waits until so many claims wait for a lock.
pub async fn until_waiters(driver: &Driver, lock: &str, waiters: u32) {
    use sidelock::sidecar::handle::Consistency;
    let mut after = None;
    loop {
        let wait = Duration::from_secs(10);
        let read = soon(driver.lock(&name(lock), Consistency::Linearizable, after, wait)).await;
        let view = read.expect("the cell stands").value;
        if view.waiters == waiters {
            return;
        }
        after = Some(view.revision);
    }
}
