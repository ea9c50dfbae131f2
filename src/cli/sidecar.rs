//! `sidelock sidecar`: the local API beside an app.
//! In: the core's addresses, where to listen. Out: a running sidecar.
//! Never: the API on more than loopback and a socket, unless told so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use tokio_util::sync::CancellationToken;

use super::exit::{FAILED, Failure, Outcome};
use super::listen::{self, SocketRights, Stop};
use super::serve::Face;
use super::tls;
use crate::config::address::{self, Listen, OptionalListen};
use crate::config::duration;
use crate::sidecar::driver::{self, Driver};
use crate::sidecar::state_dir::{StateDir, StateError};
use crate::world::clock::BootClock;

/// Run the sidecar that serves http://localhost:5625 to the apps beside it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Nodes of the core; of those that are not listed, the listed ones tell
    #[arg(long, value_name = "HOST:PORT,...", env = "SIDELOCK_CORE", value_delimiter = ',',
          required = true, value_parser = address::host_port)]
    core: Vec<String>,
    /// Where the apps ask; localhost means 127.0.0.1 and [::1], none that only the socket is served
    #[arg(
        long,
        value_name = "ADDR",
        env = "SIDELOCK_HTTP",
        default_value = "localhost:5625"
    )]
    http: OptionalListen,
    /// A Unix socket besides
    #[arg(long, value_name = "PATH", env = "SIDELOCK_SOCKET")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    socket_rights: SocketRights,
    /// A token that apps must show: `Authorization: Bearer TOKEN`. The file is followed
    #[arg(long, value_name = "FILE", env = "SIDELOCK_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
    /// The lease between this sidecar and the core: how long its locks outlive it
    #[arg(long, value_name = "TIME", env = "SIDELOCK_SESSION_TTL", default_value = "10s",
          value_parser = duration::session)]
    session_ttl: Duration,
    /// Where to keep what a restarted sidecar needs to go on with its claims
    #[arg(long, value_name = "DIR", env = "SIDELOCK_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Put before every lock's name, so that several teams can share a cell
    #[arg(
        long,
        value_name = "TEXT",
        env = "SIDELOCK_NAME_PREFIX",
        default_value = ""
    )]
    name_prefix: String,
    /// Ask the core for every claim, instead of keeping locks here after their release
    #[arg(long, env = "SIDELOCK_NO_DELEGATIONS", value_parser = BoolishValueParser::new())]
    no_delegations: bool,
    /// How long to wait for holders when told to stop
    #[arg(long, value_name = "TIME", env = "SIDELOCK_DRAIN_TIMEOUT", default_value = "20s",
          value_parser = duration::parse)]
    drain_timeout: Duration,
    /// Serve /livez, /readyz and /metrics here too, and nothing else
    #[arg(long, value_name = "ADDR", env = "SIDELOCK_ADMIN", value_parser = address::socket)]
    admin: Option<SocketAddr>,
    /// Let the apps break locks as well
    #[arg(long, env = "SIDELOCK_OPERATOR_ROUTES", value_parser = BoolishValueParser::new())]
    operator_routes: bool,
    /// Values of the header Host to take besides localhost, 127.0.0.1 and [::1]
    #[arg(
        long,
        value_name = "NAME[:PORT],...",
        env = "SIDELOCK_ALLOW_HOST",
        value_delimiter = ','
    )]
    allow_host: Vec<String>,
    /// Who this sidecar is, for people; default: the host's name
    #[arg(long, value_name = "TEXT", env = "SIDELOCK_IDENTITY")]
    identity: Option<String>,
    #[command(flatten)]
    tls: tls::Tls,
    /// A token that says who this is, instead of a certificate: a projected service-account token. Read anew for
    /// each connection
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TOKEN_FILE",
        requires = "tls_ca",
        conflicts_with = "tls_cert"
    )]
    token_file: Option<PathBuf>,
}

/// Runs until told to stop.
pub async fn run(args: Args) -> Outcome {
    let mut stop = Stop::new()?;
    let tcp = match args.http.0 {
        Some(http) => listen::bind(http).await?,
        None if args.socket.is_some() => Vec::new(),
        None => {
            return Err(Failure::usage(
                "--http none needs --socket: nobody could ask",
            ));
        }
    };
    let admin = match args.admin {
        Some(address) => listen::bind(Listen::One(address)).await?,
        None => Vec::new(),
    };
    let socket = match &args.socket {
        Some(path) => Some(listen::bind_socket_for(path, &args.socket_rights).await?),
        None => None,
    };
    let token = args
        .api_token_file
        .as_deref()
        .map(tls::api_token)
        .transpose()?;
    let identity = args.identity.unwrap_or_else(host_name);
    let config = driver::Config {
        session_ttl: args.session_ttl,
        name_prefix: args.name_prefix,
        delegate: !args.no_delegations,
        drain_timeout: args.drain_timeout,
        tls: args.tls.credentials()?,
        token_file: args.token_file,
        ..driver::Config::new(args.core, identity)
    };
    let driver = start(config, args.state_dir.as_deref())?;
    for (address, _) in &tcp {
        tracing::info!("listening on http://{address}");
    }
    if let Some(path) = &args.socket {
        tracing::info!("listening on unix:{}", path.display());
    }
    for (address, _) in &admin {
        tracing::info!("listening for probes and metrics on http://{address}");
    }
    let face = Face {
        tcp,
        socket,
        admin,
        operator_routes: args.operator_routes,
        hosts: args.allow_host,
        token,
    };
    let closing = CancellationToken::new();
    let serving = face.serve(driver.clone(), closing.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => {}
        () = driver.draining() => {}
        _ = stop.next() => {}
    }
    Ok(stop.finish(leave(&driver, serving, closing)).await)
}

/// Starts afresh, or goes on where an earlier process ended.
fn start(config: driver::Config, state_dir: Option<&Path>) -> Result<Arc<Driver>, Failure> {
    let clock = Arc::new(BootClock);
    let Some(dir) = state_dir else {
        return Ok(Driver::start(config, clock));
    };
    match StateDir::open(dir) {
        Ok(state) => Driver::resume(config, clock, state)
            .map_err(|error| Failure::new(FAILED, format_args!("{}: {error}", dir.display()))),
        Err(error @ StateError::InUse(_)) => {
            tracing::warn!(%error, "starting afresh, and keeping nothing");
            Ok(Driver::start(config, clock))
        }
        Err(error) => Err(Failure::new(FAILED, error)),
    }
}

/// Drains, still serving those that hold, and then stops.
pub(super) async fn leave(
    driver: &Driver,
    serving: impl Future<Output = ()>,
    closing: CancellationToken,
) {
    driver.begin_drain();
    let drained = async {
        tokio::select! {
            () = driver.drained() => closing.cancel(),
            () = closing.cancelled() => {}
        }
    };
    tokio::join!(serving, drained);
    driver.shutdown().await;
}

/// The name of this machine or pod.
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
