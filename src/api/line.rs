//! One connection as hyper does not show it: its timeouts, and how it ended.
//! In: a socket. Out: a socket that times out, and holds back hyper's own bodyless refusals so that
//! they leave as problems. Never: a timer per request; one tick per connection looks at all bounds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::limits;

/// How long a client may leave what we send unread.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the handlers of a connection may know of it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// A request is being answered.
    busy: AtomicBool,
    /// How many requests there were (wrapping).
    requests: AtomicU32,
    /// The peer has sent a FIN: it closed, or its process ended. A reset does not count.
    closed: AtomicBool,
    /// Cancelled when the process stops serving. Here, since a clone for each request costs a lock that
    /// all connections share.
    closing: CancellationToken,
}

impl Line {
    /// A connection of a process that serves until `closing`.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self {
            closing,
            ..Self::default()
        }
    }

    /// Cancelled when the process stops serving. Streams end by it.
    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Whether the peer ended the connection in the orderly way.
    pub(super) fn closed_by_peer(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A request begins; it lasts until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

/// A request is being answered while this lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A socket under watch.
#[derive(Debug)]
pub(super) struct Watched<S> {
    socket: S,
    line: Arc<Line>,
    tick: Pin<Box<Sleep>>,
    /// The status of a refusal that no handler has made.
    refused: Option<u16>,
    /// The peer has sent a FIN.
    ended: bool,
    /// Some bytes of a request's head have come.
    head_begun: bool,
    /// The last write found the peer's window full.
    stalled: bool,
    /// `Line::requests` when `head_begun` was set.
    seen: u32,
    /// Ticks for which this head, this idleness, this stall has lasted.
    ticks: Ticks,
}

#[derive(Debug, Default)]
struct Ticks {
    head: u32,
    idle: u32,
    stall: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(super) fn new(socket: S, line: Arc<Line>) -> Self {
        Self {
            socket,
            line,
            tick: Box::pin(sleep(limits::LINE_TICK)),
            refused: None,
            ended: false,
            head_begun: false,
            stalled: false,
            seen: 0,
            ticks: Ticks::default(),
        }
    }

    /// The status of the refusal that is owed to the peer.
    pub(super) fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// Sends the last bytes and closes so that the peer can read them: what it still sends is read
    /// for a while, since the kernel answers unread bytes with a reset that destroys ours.
    pub(super) async fn finish(mut self, last: &[u8]) -> io::Result<()> {
        if !last.is_empty() {
            self.socket.write_all(last).await?;
        }
        self.socket.shutdown().await?;
        let mut dropped = 0;
        let mut buffer = [0; 4096];
        while !self.ended && dropped < limits::LINGER_BYTES_MAX {
            match self.socket.read(&mut buffer).await? {
                0 => self.ended = true,
                count => dropped += count,
            }
        }
        Ok(())
    }

    fn begin_bytes(&mut self) {
        let requests = self.line.requests.load(Ordering::Relaxed);
        if self.seen != requests {
            self.seen = requests;
            self.head_begun = false;
            self.ticks.head = 0;
        }
        self.ticks.idle = 0;
        if !self.line.busy.load(Ordering::Relaxed) {
            self.head_begun = true;
        }
    }

    fn poll_ticks(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tick.as_mut().poll(cx));
            self.tick.set(sleep(limits::LINE_TICK));
            if let Err(error) = self.grow_older() {
                return Poll::Ready(Err(error));
            }
        }
    }

    fn grow_older(&mut self) -> io::Result<()> {
        let requests = self.line.requests.load(Ordering::Relaxed);
        let busy = self.line.busy.load(Ordering::Relaxed);
        if self.seen != requests || busy {
            self.seen = requests;
            self.head_begun = false;
            self.ticks.head = 0;
            self.ticks.idle = 0;
        } else if self.head_begun {
            self.ticks.head += 1;
        } else {
            self.ticks.idle += 1;
        }
        self.ticks.stall = if self.stalled {
            self.ticks.stall + 1
        } else {
            0
        };
        if limits::LINE_TICK * self.ticks.head > limits::HEAD_READ_TIMEOUT {
            self.refused = Some(408);
            return Err(io::ErrorKind::TimedOut.into());
        }
        if limits::LINE_TICK * self.ticks.idle > limits::IDLE_TIMEOUT
            || limits::LINE_TICK * self.ticks.stall > STALL_TIMEOUT
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// After a FIN: a request under way has a little time, for a client that only half-closed.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.busy.load(Ordering::Relaxed) {
            ready!(self.tick.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ended {
            return this.poll_ended(cx);
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                this.begin_bytes();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                this.ended = true;
                this.line.closed.store(true, Ordering::Relaxed);
                this.tick.set(sleep(limits::HALF_CLOSED_GRACE));
                this.poll_ended(cx)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_ticks(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.refused = this.refused.or_else(|| bodyless_refusal(buf));
        if this.refused.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.stalled = written.is_pending();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The status of a refusal that hyper made by itself: a 4xx without a body. Ours always have one.
fn bodyless_refusal(buf: &[u8]) -> Option<u16> {
    let status = buf.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    if status[0] != b'4' {
        return None;
    }
    let head = std::str::from_utf8(buf).ok()?;
    head.contains("\r\ncontent-length: 0\r\n")
        .then(|| std::str::from_utf8(status).ok()?.parse().ok())?
}
