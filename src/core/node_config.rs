//! What a node is told at its start, and whether that fits together.
//! In: [`Config`], what is on the disk, where it listens. Out: who it is to others. Never: a guess at a peer.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::access::Access;
use super::formation::LocalConfig;
use super::founding::Peer;
use super::group::{Retention, Timings};
use super::storage::{Storage, StorageError};

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its place in the cell, 1 to 65535.
    pub node_id: u16,
    /// Where log, state and snapshots are kept.
    pub data_dir: PathBuf,
    /// Where sidecars and other nodes call.
    pub grpc: SocketAddr,
    /// Where operators ask.
    pub http: SocketAddr,
    /// All nodes of a new cell, this one included. Read only with an empty data directory.
    pub peers: Vec<(u16, String)>,
    /// A node of the cell to enter, instead of `peers`.
    pub join: Option<String>,
    /// `HOST:PORT` by which others reach `grpc`; by default its entry in `peers`, else `grpc`.
    pub advertise: Option<String>,
    /// Forms a cell of one node if neither `peers` nor `join` says otherwise.
    pub alone: bool,
    /// Whether sidecars may break locks through this node, as in `sidelock dev`.
    pub breaks_allowed: bool,
    /// Who may call, and who may do what.
    pub access: Access,
    /// Whether to listen beyond this machine without certificates.
    pub plaintext: bool,
    /// How fast a dead leader is noticed.
    pub timings: Timings,
    /// How much of the log is kept.
    pub retention: Retention,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anybody who reaches this address could take every lock.
    #[error(
        "{address} is not of this machine, and without certificates anybody who reaches it may take and free every lock and change the cell: give --tls-cert, --tls-key and --tls-ca (`sidelock certs` makes them for a try-out), or say --insecure-plaintext"
    )]
    Plaintext {
        /// Which.
        address: SocketAddr,
    },
    /// The data directory is another node's.
    #[error("{dir} is of node {theirs}, not of node {ours}: check --node-id and --data-dir")]
    Place {
        /// The directory.
        dir: PathBuf,
        /// The place in it.
        theirs: u16,
        /// The place asked for.
        ours: u16,
    },
    /// It has no cell and was not told how to come by one.
    #[error(
        "{dir} is empty: say with --peers which nodes form the cell, or with --join which to enter"
    )]
    NoPeers {
        /// The directory.
        dir: PathBuf,
    },
    /// `peers` is not a list of nodes with this one among them.
    #[error("--peers: {0}")]
    Peers(String),
}

/// Without certificates only this machine is listened to, unless that was asked for.
pub(super) fn check_reach(config: &Config) -> Result<(), StartError> {
    if config.access.credentials.is_some() || config.plaintext {
        return Ok(());
    }
    let beyond = [config.grpc, config.http]
        .into_iter()
        .find(|address| !address.ip().is_loopback());
    match beyond {
        Some(address) => Err(StartError::Plaintext { address }),
        None => Ok(()),
    }
}

/// Each peer has a place and an address of its own: a cell of others would wait for ever to form.
pub(super) fn check_peers(config: &Config) -> Result<(), StartError> {
    let mut known: Vec<(u16, &str)> = Vec::new();
    for (place, address) in &config.peers {
        if known.iter().any(|(other, _)| other == place) {
            return Err(StartError::Peers(format!("node {place} is named twice")));
        }
        if let Some((other, _)) = known.iter().find(|(_, other)| other == address) {
            return Err(StartError::Peers(format!(
                "nodes {other} and {place} have the same address, {address}"
            )));
        }
        known.push((*place, address));
    }
    Ok(())
}

/// Checks what belongs together: peers, place, directory and addresses.
pub(super) fn local_config(
    config: &Config,
    storage: &Storage,
    grpc: SocketAddr,
    http: SocketAddr,
) -> Result<LocalConfig, StartError> {
    let place = config.node_id;
    let identity = storage.identity();
    if let Some(theirs) = identity.place.filter(|theirs| *theirs != place) {
        return Err(StartError::Place {
            dir: config.data_dir.clone(),
            theirs,
            ours: place,
        });
    }
    let mut peers: Vec<Peer> = config
        .peers
        .iter()
        .map(|(place, address)| Peer {
            place: *place,
            address: address.clone(),
        })
        .collect();
    peers.sort();
    let own = peers.iter().find(|peer| peer.place == place);
    if !peers.is_empty() && own.is_none() && identity.cluster_id.is_none() {
        return Err(StartError::Peers(format!(
            "this node, {place}, is not among them"
        )));
    }
    let named = config
        .advertise
        .clone()
        .or_else(|| own.map(|own| own.address.clone()));
    let grpc_name = named.unwrap_or_else(|| grpc.to_string());
    let http_name = match grpc_name.rsplit_once(':') {
        // Operators reach the node by the same name as other nodes do, unless it has one of its own.
        Some((host, _)) if http.ip().is_unspecified() => format!("{host}:{}", http.port()),
        Some(_) | None => http.to_string(),
    };
    if peers.is_empty() && config.join.is_none() && identity.cluster_id.is_none() {
        if !config.alone {
            return Err(StartError::NoPeers {
                dir: config.data_dir.clone(),
            });
        }
        peers.push(Peer {
            place,
            address: grpc_name.clone(),
        });
    }
    Ok(LocalConfig {
        place,
        peers,
        join: config.join.clone(),
        grpc: grpc_name,
        http: http_name,
    })
}
