//! `sidelock core`: a node of the replicated core.
//! In: its place in the cell, its directory, its addresses. Out: a running node.
//! Never: a cell formed by a node that was not told its peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::BoolishValueParser;

use super::exit::{self, Failure, Outcome};
use super::listen::Stop;
use super::tls::Tls;
use crate::config::address;
use crate::config::followed::Followed;
use crate::core::access::Access;
use crate::core::group::{Retention, Timings};
use crate::core::node::{Config, Node, StartError};
use crate::core::rules::Rules;
use crate::core::tokens::{Issuer, Tokens};
use crate::world::clock::BootClock;

/// Run a node of the replicated core.
///
/// With an empty data directory, a node that is given `--peers` forms the cell with them as soon as
/// all of them are there and new; one that is given `--join` enters the cell that it finds there.
/// With a directory that has data, both are ignored: the node goes on where it was.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node's place in the cell, 1 to 65535; `auto` takes it from the host name (core-0 is 1)
    #[arg(long, value_name = "N|auto", env = "SIDELOCK_NODE_ID", value_parser = place)]
    node_id: Place,
    /// Where to keep log, state and snapshots
    #[arg(long, value_name = "DIR", env = "SIDELOCK_DATA_DIR")]
    data_dir: PathBuf,
    /// Where sidecars and the other nodes call
    #[arg(long, value_name = "ADDR", env = "SIDELOCK_GRPC", default_value = "127.0.0.1:5626",
          value_parser = address::socket)]
    grpc: SocketAddr,
    /// Where operators ask: /livez, /readyz, /metrics, /v1/cluster
    #[arg(long, value_name = "ADDR", env = "SIDELOCK_HTTP", default_value = "127.0.0.1:5627",
          value_parser = address::socket)]
    http: SocketAddr,
    /// All nodes of a new cell, this one included
    #[arg(long, value_name = "N=HOST:PORT,...", env = "SIDELOCK_PEERS", value_delimiter = ',',
          value_parser = address::peer)]
    peers: Vec<(u16, String)>,
    /// A node of the cell to enter
    #[arg(long, value_name = "HOST:PORT", env = "SIDELOCK_JOIN", conflicts_with = "peers",
          value_parser = address::host_port)]
    join: Option<String>,
    /// How others reach this node's gRPC; default: its entry in --peers, else --grpc
    #[arg(long, value_name = "HOST:PORT", env = "SIDELOCK_ADVERTISE",
          value_parser = address::host_port)]
    advertise: Option<String>,
    #[command(flatten)]
    tls: Tls,
    /// Who may do what: YAML, followed; without it whoever has a certificate may take locks, and nobody may
    /// break them or change the cell
    #[arg(long, value_name = "FILE", env = "SIDELOCK_RULES")]
    rules: Option<PathBuf>,
    /// Keys of an issuer of tokens, a JSON Web Key Set, followed: sidecars may come with a projected service-account
    /// token instead of a certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_TOKEN_JWKS",
        requires = "token_issuer"
    )]
    token_jwks: Option<PathBuf>,
    /// What the tokens have as `iss`
    #[arg(
        long,
        value_name = "URL",
        env = "SIDELOCK_TOKEN_ISSUER",
        requires = "token_jwks"
    )]
    token_issuer: Option<String>,
    /// What the tokens must have in `aud`
    #[arg(
        long,
        value_name = "TEXT",
        env = "SIDELOCK_TOKEN_AUDIENCE",
        default_value = "sidelock"
    )]
    token_audience: String,
    /// Listen beyond this machine without certificates: whoever reaches the node may take and free every lock
    #[arg(long, env = "SIDELOCK_INSECURE_PLAINTEXT", value_parser = BoolishValueParser::new())]
    insecure_plaintext: bool,
}

/// A place in the cell, or the wish to find it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Given(u16),
    Auto,
}

/// Runs until told to stop, or until its disk fails.
pub async fn run(args: Args) -> Outcome {
    let access = access(&args)?;
    let config = Config {
        node_id: args.node_id.resolve()?,
        data_dir: args.data_dir,
        grpc: args.grpc,
        http: args.http,
        peers: args.peers,
        join: args.join,
        advertise: args.advertise,
        alone: false,
        // Which apps may ask for it, their sidecar decides; which sidecars, the rules.
        breaks_allowed: true,
        access,
        plaintext: args.insecure_plaintext,
        timings: Timings::default(),
        retention: Retention::default(),
    };
    let mut stop = Stop::new()?;
    let node = Node::start(config, Arc::new(BootClock)).await?;
    tokio::select! {
        why = node.stopped() => {
            return Err(Failure::new(exit::FAILED, format_args!("the node has stopped: {why}")));
        }
        _ = stop.next() => {}
    }
    Ok(stop.finish(node.shutdown()).await)
}

/// Certificates, rules and keys, as the files have them.
fn access(args: &Args) -> Result<Access, Failure> {
    let credentials = args.tls.of_listener()?;
    // Not clap's `conflicts_with`, which takes SIDELOCK_INSECURE_PLAINTEXT=false for a wish.
    if credentials.is_some() && args.insecure_plaintext {
        let text =
            "--insecure-plaintext is for nodes without certificates: leave out it or --tls-cert";
        return Err(Failure::usage(text));
    }
    if credentials.is_none() && (args.rules.is_some() || args.token_jwks.is_some()) {
        let text = "--rules and --token-jwks are about identities, which only TLS tells: give --tls-cert, --tls-key and --tls-ca too";
        return Err(Failure::usage(text));
    }
    let rules = match &args.rules {
        Some(path) => Some(Arc::new(Followed::one(path.clone(), Rules::parse)?)),
        None => None,
    };
    let tokens = match &args.token_jwks {
        Some(path) => {
            let issuer = Issuer {
                issuer: args.token_issuer.clone().unwrap_or_default(),
                audience: args.token_audience.clone(),
            };
            let parse = move |json: &[u8]| Tokens::parse(json, issuer.clone());
            Some(Arc::new(Followed::one(path.clone(), parse)?))
        }
        None => None,
    };
    Ok(Access {
        credentials,
        rules,
        tokens,
    })
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoPeers { .. }
            | StartError::Peers(_)
            | StartError::Place { .. }
            | StartError::Plaintext { .. } => Self::usage(error),
            StartError::Storage(_) | StartError::Listen { .. } => Self::new(exit::FAILED, error),
        }
    }
}

impl Place {
    fn resolve(self) -> Result<u16, Failure> {
        match self {
            Self::Given(place) => Ok(place),
            Self::Auto => {
                let host = rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned();
                ordinal(&host).ok_or_else(|| {
                    Failure::usage(format_args!(
                        "--node-id auto: the host name {host:?} does not end in -NUMBER"
                    ))
                })
            }
        }
    }
}

fn place(text: &str) -> Result<Place, String> {
    match text.parse() {
        Ok(place @ 1_u16..) => Ok(Place::Given(place)),
        _ if text == "auto" => Ok(Place::Auto),
        Ok(_) | Err(_) => Err("expected a number from 1 to 65535, or auto".to_owned()),
    }
}

/// Pods of a StatefulSet end in their ordinal, from 0; places start at 1.
fn ordinal(host: &str) -> Option<u16> {
    let host = host.split('.').next()?;
    let (_, number) = host.rsplit_once('-')?;
    number.parse::<u16>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("3"), Ok(Place::Given(3)));
        assert_eq!(place("auto"), Ok(Place::Auto));
        for text in ["0", "65536", "-1", "one", ""] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ordinals_of_pods() {
        assert_eq!(ordinal("sidelock-core-0"), Some(1));
        assert_eq!(ordinal("core-2.cores.default.svc"), Some(3));
        assert_eq!(ordinal("laptop"), None);
        assert_eq!(ordinal("core-65535"), None);
    }
}
