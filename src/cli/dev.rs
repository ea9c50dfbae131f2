//! `sidelock dev`: a one-node core and a sidecar in one process, for a newcomer.
//! In: where to listen, where to keep data. Out: a running cell and three lines to try it with.
//! Never: data left behind in a directory that nobody named.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::exit::{self, Failure, Outcome};
use super::listen::{self, Stop};
use super::print;
use super::serve::Face;
use super::sidecar;
use crate::config::address::Listen;
use crate::config::duration;
use crate::core::access::Access;
use crate::core::group::{Retention, Timings};
use crate::core::node::{Config, Node};
use crate::sidecar::driver::{self, Driver};
use crate::sidecar::handle::Sidecar;
use crate::world::clock::BootClock;

/// How often we look whether the sidecar has its session.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Run a one-node core and a sidecar in one process, to try things out.
///
/// Operator routes (break) are on. Nothing here is replicated: for more than trying, run `sidelock
/// core` on three machines and `sidelock sidecar` beside each app.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the apps ask; localhost means 127.0.0.1 and [::1]
    #[arg(
        long,
        value_name = "ADDR",
        env = "SIDELOCK_HTTP",
        default_value = "localhost:5625"
    )]
    http: Listen,
    /// A Unix socket besides
    #[arg(long, value_name = "PATH", env = "SIDELOCK_SOCKET")]
    socket: Option<PathBuf>,
    /// Where to keep the core's data; without it, in a temporary directory until the end
    #[arg(long, value_name = "DIR", env = "SIDELOCK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// How long to wait for holders when told to stop, other than by Ctrl-C
    #[arg(long, value_name = "TIME", env = "SIDELOCK_DRAIN_TIMEOUT", default_value = "20s",
          value_parser = duration::parse)]
    drain_timeout: Duration,
}

/// Runs until told to stop.
pub async fn run(args: Args) -> Outcome {
    let mut stop = Stop::new()?;
    let tcp = listen::bind(args.http).await?;
    let socket = match &args.socket {
        Some(path) => Some(listen::bind_socket(path).await?),
        None => None,
    };
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(temporary_dir()?),
    };
    let data_dir = args
        .data_dir
        .or_else(|| Some(temporary.as_ref()?.path().to_owned()));
    let data_dir = data_dir.expect("either was given or made");
    let node = Node::start(alone(data_dir.clone()), Arc::new(BootClock)).await?;
    let config = driver::Config {
        drain_timeout: args.drain_timeout,
        ..driver::Config::new(vec![node.grpc_addr().to_string()], "dev".to_owned())
    };
    let driver = Driver::start(config, Arc::new(BootClock));
    let addresses: Vec<SocketAddr> = tcp.iter().map(|(address, _)| *address).collect();
    let face = Face {
        tcp,
        socket,
        admin: Vec::new(),
        operator_routes: true,
        token: None,
        hosts: Vec::new(),
    };
    let closing = CancellationToken::new();
    let mut serving = std::pin::pin!(face.serve(driver.clone(), closing.clone()));
    let greeting = async {
        ready(&*driver).await;
        greet(
            &addresses,
            temporary.is_none().then_some(data_dir.as_path()),
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = &mut serving => {}
        () = greeting => {}
        why = node.stopped() => {
            return Err(Failure::new(exit::FAILED, format_args!("the core has stopped: {why}")));
        }
        () = driver.draining() => {}
        // Who presses Ctrl-C would not wait for holders; a second one stops at once in any case.
        code = stop.next() => if code == listen::INTERRUPTED {
            closing.cancel();
        }
    }
    let last = async {
        sidecar::leave(&driver, serving, closing).await;
        node.shutdown().await;
    };
    Ok(stop.finish(last).await)
}

/// A core of one node, reached by nobody else.
fn alone(data_dir: PathBuf) -> Config {
    let ephemeral = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    Config {
        node_id: 1,
        data_dir,
        grpc: ephemeral,
        http: ephemeral,
        peers: Vec::new(),
        join: None,
        advertise: None,
        alone: true,
        breaks_allowed: true,
        access: Access::default(),
        plaintext: false,
        timings: Timings::default(),
        retention: Retention::default(),
    }
}

fn temporary_dir() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("sidelock-dev-").tempdir();
    made.map_err(|error| {
        Failure::new(
            exit::FAILED,
            format_args!("no temporary directory: {error}"),
        )
    })
}

/// Waits until the sidecar has its session, so that the first claim is answered at once.
async fn ready(sidecar: &dyn Sidecar) {
    while !sidecar
        .mode()
        .sessions
        .iter()
        .any(|session| session.session.is_some())
    {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn greet(addresses: &[SocketAddr], data_dir: Option<&Path>) {
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    // All listeners share the port: bind() gives the second one that of the first.
    let base = format!("http://localhost:{}", addresses[0].port());
    let base = if addresses[0].ip().is_loopback() {
        base
    } else {
        urls[0].clone()
    };
    let kept = match data_dir {
        Some(dir) => format!("data is kept in {}", dir.display()),
        None => "data is gone when it stops".to_owned(),
    };
    let text = format!(
        "Sidelock {version} is ready on {urls} ({kept}).\n\
         The API: {base}/docs\n\
         \n\
         Take a lock for 60 s; the answer's claim_id is the holder:\n  \
           curl -s {base}/v1/claims -H 'content-type: application/json' -d '{{\"lock\": \"orders/42\", \"ttl_ms\": 60000}}'\n\
         See who holds it:\n  \
           curl -s {base}/v1/locks/orders%2F42\n\
         Renew it for another 60 s:\n  \
           curl -s -X POST {base}/v1/claims/CLAIM_ID/renew -H 'content-type: application/json' -d '{{\"ttl_ms\": 60000}}'\n\
         Give it back:\n  \
           curl -s -X DELETE {base}/v1/claims/CLAIM_ID\n",
        version = env!("CARGO_PKG_VERSION"),
        urls = urls.join(" and "),
    );
    if let Err(failure) = print::line(&text) {
        tracing::warn!("{}", failure.text);
    }
}
