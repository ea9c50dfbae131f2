//! Takes connections from a listener until it is closed, so many at a time, and waits for those under way.
//! In: a listener, what to do with a socket. Out: nothing, once all is over. Never: an end because an accept failed.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After a failed accept (mostly: no file descriptors left), so long before the next.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What sockets come from.
pub trait Listens {
    /// One connection.
    type Socket;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Listens for TcpListener {
    type Socket = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Socket> {
        let (socket, _) = Self::accept(self).await?;
        // Without it a small answer may wait 40 ms for the peer's delayed acknowledgement.
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

/// How much, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub most: usize,
    /// What connections have once it is closing. They are told by their own means.
    pub grace: Duration,
}

/// Accepts until `closing`.
pub async fn accept<L, D>(
    listener: L,
    bounds: Bounds,
    closing: CancellationToken,
    mut drive: impl FnMut(L::Socket) -> D,
) where
    L: Listens,
    D: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            socket = listener.accept(), if connections.len() < bounds.most => match socket {
                Ok(socket) => {
                    connections.spawn(drive(socket));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.grace, rest).await.is_err() {
        tracing::debug!("connections were still open at the end of the shutdown's grace");
    }
}
