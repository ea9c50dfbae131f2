//! Where a server listens, and when it is told to stop.
//! In: addresses, a socket's path, signals of the process. Out: bound listeners, a wake-up.
//! Never: a socket file of somebody who still serves it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{FAILED, Failure};
use crate::config::address::Listen;
use crate::world::listener;

/// Binds the addresses of `listen`. Of the two loopbacks one may fail, with a warning; port 0 becomes
/// the same port on both.
pub async fn bind(listen: Listen) -> Result<Vec<(SocketAddr, TcpListener)>, Failure> {
    let mut bound: Vec<(SocketAddr, TcpListener)> = Vec::new();
    let mut failures = Vec::new();
    for mut address in listen.addresses() {
        if let (0, Some((first, _))) = (address.port(), bound.first()) {
            address.set_port(first.port());
        }
        let tried = listener::bind(address).await;
        match tried.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok(pair) => bound.push(pair),
            Err(error) => failures.push(format!("cannot listen on {address}: {error}")),
        }
    }
    if bound.is_empty() {
        return Err(Failure::new(FAILED, failures.join("; ")));
    }
    for failure in failures {
        tracing::warn!("{failure}");
    }
    Ok(bound)
}

/// Binds a Unix socket, in the place of one that nobody serves any more.
pub async fn bind_socket(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            FAILED,
            format_args!("cannot listen on {}: {error}", path.display()),
        )
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_abandoned(path).await => {
            std::fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}

/// Who may connect to the socket.
#[derive(Debug, clap::Args)]
pub struct SocketRights {
    /// Permissions of the Unix socket, octal; whoever may write to it may ask
    #[arg(long, value_name = "MODE", env = "SIDELOCK_SOCKET_MODE", requires = "socket",
          value_parser = mode)]
    socket_mode: Option<u32>,
    /// Owner of the Unix socket, by number
    #[arg(long, value_name = "UID[:GID]", env = "SIDELOCK_SOCKET_OWNER", requires = "socket",
          value_parser = owner)]
    socket_owner: Option<Owner>,
}

/// Who owns a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    user: u32,
    group: Option<u32>,
}

/// As [`bind_socket`], with these rights from the first moment on.
pub async fn bind_socket_for(path: &Path, rights: &SocketRights) -> Result<UnixListener, Failure> {
    if rights.socket_mode.is_none() && rights.socket_owner.is_none() {
        return bind_socket(path).await;
    }
    let failed = |error: std::io::Error| {
        Failure::new(
            FAILED,
            format_args!("cannot listen on {}: {error}", path.display()),
        )
    };
    if path.exists() && !is_abandoned(path).await {
        return Err(failed(ErrorKind::AddrInUse.into()));
    }
    // Where nobody looks for it, until its rights are right.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    let hidden = Path::new(&hidden);
    let listener = bind_socket(hidden).await?;
    if let Some(owner) = rights.socket_owner {
        std::os::unix::fs::chown(hidden, Some(owner.user), owner.group).map_err(failed)?;
    }
    if let Some(mode) = rights.socket_mode {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(hidden, permissions).map_err(failed)?;
    }
    std::fs::rename(hidden, path).map_err(failed)?;
    Ok(listener)
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected permissions in octal, such as 0660".to_owned()),
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = |text: &str| {
        let number = text.parse::<u32>();
        number.map_err(|_| "expected UID or UID:GID, by number".to_owned())
    };
    Ok(Owner {
        user: number(user)?,
        group: group.map(number).transpose()?,
    })
}

/// Whether the path is a socket that refuses connections.
async fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = UnixStream::connect(path).await;
    is_socket && refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// The exit code of a process that ends by SIGINT.
pub const INTERRUPTED: u8 = 128 + 2;

/// SIGTERM and SIGINT.
pub struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// Hears from now on.
    pub fn new() -> Result<Self, Failure> {
        let hear = |kind| signal(kind).map_err(|error| Failure::new(FAILED, error));
        Ok(Self {
            term: hear(SignalKind::terminate())?,
            int: hear(SignalKind::interrupt())?,
        })
    }

    /// The next one; gives the exit code of a process that ends by it.
    pub async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.term.recv() => 128 + 15,
            _ = self.int.recv() => INTERRUPTED,
        }
    }

    /// Does `last`, unless told to stop once more: then at once.
    pub async fn finish(&mut self, last: impl Future<Output = ()>) -> u8 {
        tokio::select! {
            () = last => super::exit::OK,
            code = self.next() => {
                tracing::warn!("told to stop twice: stopping at once");
                code
            }
        }
    }
}
