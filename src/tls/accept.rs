//! The door of a listener: sockets in, callers out.
//! In: a listener, our side of TLS if it is to be TLS. Out: connections, shaken hands with.
//! Never: a caller who waits because another one is slow, or more connections than are bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::caller::{Caller, Connection, Io};
use super::credentials::{Changes, Credentials};
use super::identity;
pub use super::material::Guests;
use crate::world::accepting::ACCEPT_PAUSE;

/// Connections at a time: each sidecar has one to each node, and each costs some 40 KiB with TLS.
pub const CONNECTIONS_MAX: usize = 32_768;
/// Handshakes under way at a time; further callers wait in the kernel's backlog.
const HANDSHAKES_MAX: usize = 1_024;
/// A caller that takes longer for its handshake is gone, or means no good.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How a listener speaks TLS.
#[derive(Debug)]
pub struct Door {
    /// Our certificate and whom we trust.
    pub credentials: Credentials,
    /// Whom it lets in.
    pub guests: Guests,
    /// The protocol inside, by its ALPN name: `h2` or `http/1.1`.
    pub protocol: &'static str,
}

/// Accepts.
pub struct Accepting {
    listener: TcpListener,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    shaking: JoinSet<Option<Connection>>,
}

/// A door, and what stands in it now.
struct Tls {
    door: Door,
    changes: Changes,
    config: Arc<ServerConfig>,
}

impl Accepting {
    /// Over TLS through this door; without one, everybody comes in unencrypted.
    ///
    /// # Errors
    /// If the credentials do not do for a listener.
    pub fn new(listener: TcpListener, door: Option<Door>) -> io::Result<Self> {
        let tls = door.map(Tls::new).transpose()?;
        Ok(Self {
            listener,
            tls,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            shaking: JoinSet::new(),
        })
    }

    /// The next caller.
    pub async fn next(&mut self) -> Connection {
        loop {
            let room = Arc::clone(&self.room);
            tokio::select! {
                Some(shaken) = self.shaking.join_next(), if !self.shaking.is_empty() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                accepted = accept(&self.listener, room), if self.shaking.len() < HANDSHAKES_MAX => {
                    match accepted {
                        Ok((socket, peer, permit)) => {
                            if let Some(connection) = self.welcome(socket, peer, permit) {
                                return connection;
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    /// All of them, without an end.
    pub fn connections(self) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
        stream::unfold(self, |mut accepting| async {
            let connection = accepting.next().await;
            Some((Ok(connection), accepting))
        })
    }

    /// At once without TLS; else its handshake begins.
    fn welcome(
        &mut self,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Connection> {
        let Some(tls) = &mut self.tls else {
            return Some(Connection {
                io: Io::Plain(socket),
                caller: Caller {
                    peer,
                    encrypted: false,
                    identity: None,
                },
                _permit: permit,
            });
        };
        let acceptor = TlsAcceptor::from(tls.config());
        self.shaking.spawn(shake(acceptor, socket, peer, permit));
        None
    }
}

impl Tls {
    fn new(door: Door) -> io::Result<Self> {
        let mut changes = door.credentials.changes();
        changes.have_come();
        let config = door
            .credentials
            .server(door.guests, door.protocol.as_bytes());
        let config = config.map_err(io::Error::other)?;
        Ok(Self {
            door,
            changes,
            config: Arc::new(config),
        })
    }

    /// Of now. Its memory of former handshakes goes with it, so that nobody resumes what an authority has allowed
    /// that is not trusted any more.
    fn config(&mut self) -> Arc<ServerConfig> {
        if self.changes.have_come() {
            let door = &self.door;
            match door
                .credentials
                .server(door.guests, door.protocol.as_bytes())
            {
                Ok(config) => self.config = Arc::new(config),
                Err(error) => tracing::error!(%error, "the former certificate stays in use"),
            }
        }
        Arc::clone(&self.config)
    }
}

async fn accept(
    listener: &TcpListener,
    room: Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    // Without it a reply waits for the caller's delayed acknowledgement: 40 ms.
    socket.set_nodelay(true)?;
    Ok((socket, peer, permit))
}

async fn shake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> Option<Connection> {
    let stream = match timeout(HANDSHAKE_WITHIN, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "a handshake failed");
            return None;
        }
        Err(_elapsed) => {
            tracing::info!(%peer, "a handshake took too long");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(<[_]>::first);
    let identity = leaf
        .and_then(identity::read)
        .map(|(identity, _until)| identity);
    if leaf.is_some() && identity.is_none() {
        tracing::info!(%peer, "a certificate names nobody, or several");
        return None;
    }
    Some(Connection {
        io: Io::Tls(Box::new(stream.into())),
        caller: Caller {
            peer,
            encrypted: true,
            identity,
        },
        _permit: permit,
    })
}
