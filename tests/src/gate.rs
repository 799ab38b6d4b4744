//! A port in front of a server, which a test closes, or whose connections it makes die without either end knowing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 64 << 10;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// What the client says.
    ToServer,
    /// What the server answers.
    FromServer,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Connections up to this number are dead.
    dead: u64,
    /// In which direction; both if it is not said.
    direction: Option<Direction>,
    closed: bool,
}

/// Leads to a server until it is dropped.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    state: watch::Sender<State>,
    accepted: watch::Receiver<u64>,
    server: JoinHandle<()>,
}

impl Gate {
    /// An open gate before a server of this machine.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (state, states) = watch::channel(State::default());
        let (counter, accepted) = watch::channel(0);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = *counter.borrow() + 1;
                counter.send_replace(number);
                tokio::spawn(carry(client, (Ipv4Addr::LOCALHOST, port).into(), number, states.clone()));
            }
        });
        Self { port: own, state, accepted, server }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody came, let in or not.
    pub fn tried(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Every connection ends, and none is made.
    pub fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Connections are made again.
    pub fn open(&self) {
        self.state.send_modify(|state| state.closed = false);
    }

    /// Whatever is sent through the connections of now vanishes in this direction, or in both, and nobody is told.
    /// Connections that are made afterwards work.
    pub fn cut(&self, direction: Option<Direction>) {
        let dead = *self.accepted.borrow();
        self.state.send_modify(|state| (state.dead, state.direction) = (dead, direction));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, number: u64, mut states: watch::Receiver<State>) {
    if states.borrow().closed {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let pumps = [
        tokio::spawn(pump(from_client, to_server, Direction::ToServer, number, states.clone())),
        tokio::spawn(pump(from_server, to_client, Direction::FromServer, number, states.clone())),
    ];
    // Ends with the test, too, when the sender is gone.
    let closed = states.wait_for(|state| state.closed);
    tokio::select! {
        _ = closed => {}
        () = async { while !pumps.iter().all(JoinHandle::is_finished) { tokio::time::sleep(Duration::from_millis(50)).await } } => {}
    }
    for pump in pumps {
        pump.abort();
    }
}

async fn pump(
    mut reader: tokio::net::tcp::OwnedReadHalf,
    mut writer: tokio::net::tcp::OwnedWriteHalf,
    direction: Direction,
    number: u64,
    states: watch::Receiver<State>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = reader.read(&mut buffer).await.unwrap_or(0);
        let state = *states.borrow();
        if number <= state.dead && state.direction.is_none_or(|dead| dead == direction) {
            if read == 0 {
                // Its end is as lost as its bytes.
                std::future::pending::<()>().await;
            }
            continue;
        }
        if read == 0 || writer.write_all(&buffer[..read]).await.is_err() {
            let _ = writer.shutdown().await;
            return;
        }
    }
}
