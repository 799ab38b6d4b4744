//! A TCP proxy in front of a server, which delays, resets and swallows.
//!
//! Bytes that were swallowed are lost for good: their connection never carries another byte in that direction, as
//! when a firewall on the way has forgotten it. Nobody is told; connections made afterwards work.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What is read at once; with latency also what is sent within one delay.
const CHUNK_BYTES: usize = 64 << 10;
/// For the server to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the end of one side is kept from the other, where it was swallowed.
const HELD_OPEN: Duration = Duration::from_secs(60);
/// After a failed accept: the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    FromServer,
    Both,
}

impl Direction {
    /// What is swallowed, for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ToServer => "requests",
            Self::FromServer => "answers",
            Self::Both => "everything",
        }
    }
}

/// What is done to the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Each chunk waits so long, in each direction.
    Latency(Duration),
    /// Every connection, old or new, is reset.
    Reset,
    Swallow(Direction),
}

/// A port that leads to a server. Dropped, it closes with all its connections.
#[derive(Debug)]
pub(crate) struct Link {
    mode: watch::Sender<Mode>,
    _server: AbortOnDropHandle<()>,
}

impl Link {
    /// Leads from the listener to this address.
    pub(crate) fn start(listener: std::net::TcpListener, server: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (mode, modes) = watch::channel(Mode::Pass);
        Ok(Self { mode, _server: AbortOnDropHandle::new(tokio::spawn(serve(listener, server, modes))) })
    }

    /// From now on, for connections that are open as for new ones.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, modes: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => _ = connections.spawn(connection(client, server, modes.clone())),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to its end. A side that breaks it off resets the other.
async fn connection(mut client: TcpStream, server: SocketAddr, mut modes: watch::Receiver<Mode>) {
    let connected = async {
        if *modes.borrow() == Mode::Reset {
            return None;
        }
        tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(server)).await.ok()?.ok()
    };
    let Some(mut server) = connected.await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        // Only a matter of time: Nagle's algorithm would add delays of its own.
        let _ = stream.set_nodelay(true);
    }
    let lost = [AtomicBool::new(false), AtomicBool::new(false)];
    let [lost_to, lost_from] = &lost;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let to =
        Pump { direction: Direction::ToServer, lost: lost_to, lost_other: lost_from, modes: modes.clone() };
    let from =
        Pump { direction: Direction::FromServer, lost: lost_from, lost_other: lost_to, modes: modes.clone() };
    let carried = tokio::select! {
        carried = futures::future::try_join(to.run(from_client, to_server), from.run(from_server, to_client)) => {
            carried.is_ok()
        }
        // Its error says that the link is gone, which ends this task, too.
        _ = modes.wait_for(|mode| *mode == Mode::Reset) => false,
    };
    if !carried {
        reset(&client);
        reset(&server);
    }
}

/// Makes the end of the connection a reset.
fn reset(stream: &TcpStream) {
    // Fails only where the connection is gone already.
    let _ = stream.set_zero_linger();
}

/// One direction of a connection.
struct Pump<'a> {
    direction: Direction,
    /// Bytes of this direction were swallowed.
    lost: &'a AtomicBool,
    /// Those of the other one were.
    lost_other: &'a AtomicBool,
    modes: watch::Receiver<Mode>,
}

impl Pump<'_> {
    async fn run(self, mut reader: ReadHalf<'_>, mut writer: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = reader.read(&mut buffer).await;
            let mode = *self.modes.borrow();
            if self.swallows(mode) {
                self.lost.store(true, Ordering::Relaxed);
            }
            if self.lost.load(Ordering::Relaxed) {
                if !matches!(read, Ok(1..)) {
                    tokio::time::sleep(HELD_OPEN).await;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                continue;
            }
            let chunk = buffer.get(..read?).unwrap_or_default();
            if let Mode::Latency(delay) = mode {
                tokio::time::sleep(delay).await;
            }
            if chunk.is_empty() {
                return writer.shutdown().await;
            }
            match writer.write_all(chunk).await {
                // The sender can't learn of it: what would tell it is swallowed.
                Err(_) if self.lost_other.load(Ordering::Relaxed) => self.lost.store(true, Ordering::Relaxed),
                written => written?,
            }
        }
    }

    fn swallows(&self, mode: Mode) -> bool {
        matches!(mode, Mode::Swallow(direction) if direction == Direction::Both || direction == self.direction)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// A link to a server that sends back what it gets.
    async fn echo() -> (Link, SocketAddr) {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = listener.local_addr().unwrap();
        (Link::start(listener, address).unwrap(), proxy)
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        let read = tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await;
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(answer)
    }

    #[tokio::test]
    async fn bytes_pass_and_come_late_when_told_to() {
        let (link, address) = echo().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(&ask(&mut stream).await.unwrap(), b"ping");
        link.set(Mode::Latency(SOON));
        assert_eq!(ask(&mut stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut late = [0; 4];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"ping");
    }

    #[tokio::test]
    async fn a_reset_ends_open_connections_and_new_ones_until_it_is_over() {
        let (link, address) = echo().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await.unwrap();
        link.set(Mode::Reset);
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert_eq!(refused.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        link.set(Mode::Pass);
        ask(&mut TcpStream::connect(address).await.unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_lost_bytes_stays_open_and_dead_while_others_work() {
        for direction in [Direction::ToServer, Direction::FromServer, Direction::Both] {
            let (link, address) = echo().await;
            let mut used = TcpStream::connect(address).await.unwrap();
            let mut idle = TcpStream::connect(address).await.unwrap();
            ask(&mut used).await.unwrap();
            ask(&mut idle).await.unwrap();
            link.set(Mode::Swallow(direction));
            assert_eq!(ask(&mut used).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "{direction:?}");
            link.set(Mode::Pass);
            assert_eq!(ask(&mut used).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "{direction:?}");
            ask(&mut idle).await.unwrap();
            ask(&mut TcpStream::connect(address).await.unwrap()).await.unwrap();
        }
    }
}
