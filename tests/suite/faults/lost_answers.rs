//! A commit whose answer is lost: nobody knows whether it took place, so the producer is made anew, and nothing is
//! lost or repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use local_servers::{KafkaOutside, Server, StackConfig, free_ports};
use pipeline_tests::wait::SOON;
use pipeline_tests::{TestEnv, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::processor::{Users, arrived, ids, until_arrived};

/// The end of a transaction: <https://kafka.apache.org/protocol#The_Messages_EndTxn>.
const END_TXN: [u8; 2] = 26_i16.to_be_bytes();
/// Longer than a producer waits for an answer.
const HELD_OPEN: Duration = Duration::from_secs(20);

/// A door in front of a broker that loses answers to commits.
struct Door {
    /// How many more.
    to_lose: Arc<AtomicUsize>,
}

impl Door {
    async fn new(listen: u16, broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", listen)).await.unwrap();
        let to_lose = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&to_lose);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let broker = SocketAddr::from(([127, 0, 0, 1], broker));
                tokio::spawn(carry(client, broker, Arc::clone(&left)));
            }
        });
        Self { to_lose }
    }
}

/// Carries requests one by one. From one that ends a transaction on, if its answer is to be lost, nothing comes back.
async fn carry(client: TcpStream, broker: SocketAddr, to_lose: Arc<AtomicUsize>) -> std::io::Result<()> {
    let server = TcpStream::connect(broker).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let lost = CancellationToken::new();
    let is_lost = lost.clone();
    let answers = tokio::spawn(async move {
        tokio::select! {
            biased;
            // Open all the while, so that the client waits.
            () = is_lost.cancelled() => tokio::time::sleep(HELD_OPEN).await,
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    });
    loop {
        let size = from_client.read_u32().await?;
        let mut request = vec![0; usize::try_from(size).unwrap()];
        from_client.read_exact(&mut request).await?;
        let take = |left: usize| left.checked_sub(1);
        let ends = request.starts_with(&END_TXN);
        if ends && to_lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            lost.cancel();
        }
        to_server.write_u32(size).await?;
        to_server.write_all(&request).await?;
        if answers.is_finished() {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_looked_at_by_a_new_producer() {
    const COUNT: usize = 2_000;
    let [inside, outside] = free_ports().unwrap();
    let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root("lost_answers")).unwrap();
    config.servers = vec![Server::Kafka];
    config.kafka_outside = Some(KafkaOutside { listen: inside, advertised: outside });
    let door = Door::new(outside, inside).await;
    let (kafka, mut env) = TestEnv::with_own(config, "lost_answers").await;
    env.set("stream_processor.max_batch_records", 100);
    let mut users = Users::new(&env).await;
    let ids = ids(50);
    let mut written = users.produce(&env, &ids, COUNT);
    env.set("kafka.bootstrap_servers", format!("127.0.0.1:{outside}"));
    door.to_lose.store(2, Ordering::Relaxed);
    let processor = env.start("stream-processor").await;
    wait::until("a commit fails", SOON, async || {
        (door.to_lose.load(Ordering::Relaxed) == 0 && processor.log().contains("commit failed")).then_some(())
    })
    .await;
    for (key, more) in users.produce(&env, &ids, COUNT) {
        written.entry(key).or_default().extend(more);
    }
    until_arrived(&env, 2 * COUNT).await;
    assert_eq!(arrived(&env).await, written);
    processor.ready().await;
    let abandoned = processor.metric("pipeline_transactions_total", "abandoned").await;
    assert!(abandoned.is_some_and(|count| count >= 1.0), "{abandoned:?}: the producer was made anew");
    assert_eq!(processor.metric("pipeline_sequence_repeats_total", "").await, None);
    processor.stop().await;
    env.db.close().await;
    kafka.shutdown().await.unwrap();
}
