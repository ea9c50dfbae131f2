//! A connection that ends when its peer is too slow: with a request's head, or with the next request.
//! In: a socket, what the server tells of its requests. Out: the same socket, with an end.
//! Never: an end of a connection whose peer may be about to use it again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// From a request's first byte to the last of its head, and likewise of its body: the API server needs milliseconds.
/// Longer than a review may take to arrive, so that a late one is still answered.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Between requests: longer than the 90 s for which the API server keeps an idle connection, so that it never
/// sends a review into one that we have just closed.
const IDLE: Duration = Duration::from_secs(120);

/// Counts the begins and ends of requests on a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<AtomicU32>);

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// A request's head is complete.
    pub(super) fn begin(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A socket under watch.
#[derive(Debug)]
pub(super) struct Line<S> {
    socket: S,
    turns: Turns,
    /// Of `turns`, when last looked at.
    seen: u32,
    /// Bytes have come since.
    begun: bool,
    end: Pin<Box<Sleep>>,
}

impl<S> Line<S> {
    pub(super) fn new(socket: S, turns: Turns) -> Self {
        Self {
            socket,
            turns,
            seen: 0,
            begun: false,
            end: Box::pin(sleep(IDLE)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let turns = this.turns.0.load(Ordering::Relaxed);
        if this.seen != turns {
            this.seen = turns;
            this.begun = false;
            this.end.set(sleep(IDLE));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(context, buffer) {
            if !this.begun && buffer.filled().len() > before {
                this.begun = true;
                this.end.set(sleep(HEAD_WITHIN));
            }
            return Poll::Ready(read);
        }
        this.end
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
