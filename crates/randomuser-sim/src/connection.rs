//! Connections that a handler can break: closed within a response, or reset before it.
//!
//! A [`Valve`] sits between hyper and the socket. Until a handler sets it, it costs one atomic load per write.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much more a connection may send.
#[derive(Debug)]
pub(crate) struct Valve {
    /// `u64::MAX` for no end.
    bytes_left: AtomicU64,
    /// End with a TCP reset instead of an ordinary close.
    reset: AtomicBool,
}

impl Valve {
    fn open() -> Self {
        Self { bytes_left: AtomicU64::new(u64::MAX), reset: AtomicBool::new(false) }
    }

    /// Closes the connection after `bytes` more bytes.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.bytes_left.store(bytes, Ordering::Release);
    }

    /// Resets the connection at the next write.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.cut_after(0);
    }
}

/// The other end of a request's connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) valve: Arc<Valve>,
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self { address: *stream.remote_addr(), valve: Arc::clone(&stream.io().valve) }
    }
}

/// A TCP listener with a limit on open connections; further ones wait in the kernel's queue.
pub(crate) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
}

impl BoundedListener {
    pub(crate) fn new(inner: TcpListener, max_connections: usize) -> Self {
        Self { inner, slots: Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl Listener for BoundedListener {
    type Io = ValvedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ValvedStream, SocketAddr) {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (socket, address) = Listener::accept(&mut self.inner).await;
        // Without it a small response waits for the client's delayed acknowledgement; failing costs only time.
        let _ = socket.set_nodelay(true);
        (ValvedStream { socket, valve: Arc::new(Valve::open()), _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A socket behind a [`Valve`].
#[derive(Debug)]
pub(crate) struct ValvedStream {
    socket: TcpStream,
    valve: Arc<Valve>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl ValvedStream {
    /// How many of `wanted` bytes may go out now; an error when the connection is to end here.
    fn allowance(&self, wanted: usize) -> io::Result<usize> {
        let left = self.valve.bytes_left.load(Ordering::Acquire);
        if left > 0 || wanted == 0 {
            return Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
        }
        if self.valve.reset.load(Ordering::Acquire) {
            // Closing with a linger time of zero sends RST instead of FIN.
            self.socket.set_zero_linger()?;
        }
        Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the simulator breaks this connection on request",
        ))
    }

    fn sent(&self, bytes: usize) {
        let left = self.valve.bytes_left.load(Ordering::Acquire);
        if left != u64::MAX {
            self.valve.cut_after(left.saturating_sub(bytes as u64));
        }
    }
}

impl AsyncRead for ValvedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for ValvedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.allowance(buf.len())?;
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &buf[..allowed]))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        if self.allowance(wanted)? < wanted {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
