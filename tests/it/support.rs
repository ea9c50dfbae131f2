//! A served API and a client that sends exactly the bytes it is given.
//! In: a sidecar. Out: answers, parsed no further than status, headers and body.
//! Never: a fixed port, or a client library that repairs what a test wants broken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sidelock::api;
use sidelock::core::access::Access;
use sidelock::core::group::{Retention, Timings};
use sidelock::core::node::{Config as NodeConfig, Node};
use sidelock::sidecar::driver::{Config as DriverConfig, Driver};
use sidelock::sidecar::handle::Sidecar;
use sidelock::world::clock::{BootClock, SharedClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A served API; it stops when this is dropped.
pub struct Served {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Served {
    pub async fn start(sidecar: Arc<dyn Sidecar>) -> Self {
        Self::with(sidecar, api::Config::default()).await
    }

    pub async fn with(sidecar: Arc<dyn Sidecar>, config: api::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel();
        let router = api::router(sidecar, config);
        let task = tokio::spawn(api::serve(vec![listener.into()], router, async {
            // Dropped or sent, both mean stop.
            stopped.await.ok();
        }));
        Self {
            addr,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// Stops and waits until all connections are over.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let task = self.task.take().expect("stopped only once");
        task.await.expect("serving does not panic");
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("it listens")
    }

    /// Sends these bytes on a new connection and reads one answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_ref()).await.expect("it reads");
        read_answer(&mut socket).await.expect("it answers")
    }

    /// Sends a well-formed request with a JSON body, if it is not empty.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_with(method, path, "", body).await
    }

    /// The same with further header lines, each ended by CR LF.
    pub async fn send_with(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.raw(request(method, path, headers, body)).await
    }
}

/// The bytes of a well-formed request.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let declared = match body {
        "" => String::new(),
        body => format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        ),
    };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{declared}{headers}\r\n{body}")
}

/// Reads one answer with a `content-length`; `None` if the connection ends first.
pub async fn read_answer(socket: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
    let status = head[9..12].parse().expect("a status line");
    let mut answer = Answer {
        status,
        head: head.to_lowercase(),
        body: String::new(),
    };
    let length: usize = match answer.header("content-length") {
        Some(length) => length.parse().expect("a number"),
        None => 0,
    };
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    // Lossy for the one image among the pages of /docs; JSON that is not UTF-8 would not parse.
    answer.body = String::from_utf8_lossy(&bytes[end..end + length]).into_owned();
    Some(answer)
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} of {:?}", self.body, self.head))
    }

    /// Checks all that every problem must have, and returns it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}{}", self.head, self.body);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("sidelock-mode"), Some("normal"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["type"],
            format!("https://sidelock.dev/problems/{code}")
        );
        for text in ["title", "detail", "instance"] {
            assert!(problem[text].is_string(), "{text} in {problem}");
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        let trace_id = problem["trace_id"].as_str().expect("a trace id");
        assert_eq!(trace_id.len(), 32, "{problem}");
        match problem["retry_after_ms"].as_u64() {
            None => assert_eq!(self.header("retry-after"), None),
            Some(ms) => {
                let seconds = ms.div_ceil(1000).to_string();
                assert_eq!(self.header("retry-after"), Some(&*seconds));
            }
        }
        problem
    }
}

/// Asks until the answer is of the present. A read falls back to what is known, and says so, where nobody can
/// confirm it in time: a disk that stalls for a second is enough. It does not stay so.
pub async fn current<F: Future<Output = Answer>>(mut ask: impl FnMut() -> F) -> Answer {
    let healed = async {
        loop {
            let answer = ask().await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            if answer.header("sidelock-consistency") == Some("linearizable") {
                assert_eq!(answer.header("age"), Some("0"));
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // until asked again
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), healed).await;
    answer.expect("an answer of the present in 30 s")
}

/// A one-node cell and a sidecar, for real, in this process.
pub struct Cell {
    pub node: Node,
    pub driver: Arc<Driver>,
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
        let clock: SharedClock = Arc::new(BootClock);
        let node = Node::start(config, clock.clone()).await.expect("a node");
        let cores = vec![node.grpc_addr().to_string()];
        let driver = Driver::start(DriverConfig::new(cores, "test".to_owned()), clock);
        Self {
            node,
            driver,
            _data: data,
        }
    }

    /// Serves its API, operator routes included.
    pub async fn serve(&self) -> Served {
        let config = api::Config {
            operator_routes: true,
            ..api::Config::default()
        };
        Served::with(self.driver.clone(), config).await
    }
}
