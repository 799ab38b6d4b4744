//! Is a server ready? Each is asked in its own protocol.

use std::{
    io::Error as IoError,
    net::Ipv4Addr,
    sync::Once,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    Connection,
    postgres::{PgConnectOptions, PgConnection},
    types::chrono,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long one question may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A question whose right answer means "ready".
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// A process that has nothing to ask.
    Nothing,
    /// A query.
    Postgres(Box<PgConnectOptions>),
    /// The `srvr` four-letter word.
    Zookeeper { port: u16 },
    /// The ephemeral node of an earlier broker has expired: a new one cannot register before.
    ZookeeperNodeGone { port: u16, path: &'static str },
    /// A metadata request that names a live broker and a controller.
    Kafka { port: u16 },
    /// An answer with a 2xx status.
    Http { url: String },
    /// An OPTIONS frame.
    Cassandra { port: u16 },
    /// Airflow's own health report, at this base URL. A component that beats its heart must have done so since its start.
    Airflow { url: String, component: &'static str, heartbeat: Option<&'static str> },
}

/// Why a server is not ready yet.
type NotReady = String;

impl Probe {
    /// Asks once. `started` is when the process was started.
    pub(crate) async fn ask(&self, started: SystemTime) -> Result<(), NotReady> {
        match timeout(PROBE_DEADLINE, self.ask_unbounded(started)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", PROBE_DEADLINE.as_secs())),
        }
    }

    async fn ask_unbounded(&self, started: SystemTime) -> Result<(), NotReady> {
        match self {
            Self::Nothing => Ok(()),
            Self::Postgres(options) => query(options).await.map_err(|error| error.to_string()),
            Self::Zookeeper { port } => {
                let answer = four_letter_word(*port, "srvr").await.map_err(|error| error.to_string())?;
                if answer.contains("Mode:") { Ok(()) } else { Err(format!("srvr answered {answer:?}")) }
            }
            Self::ZookeeperNodeGone { port, path } => {
                let dump = four_letter_word(*port, "dump").await.map_err(|error| error.to_string())?;
                if dump.lines().any(|line| line.trim() == *path) {
                    return Err(format!("{path} of an earlier broker has not expired"));
                }
                Ok(())
            }
            Self::Kafka { port } => kafka_metadata(*port).await,
            Self::Http { url } => http_get(url).await.map(|_| ()),
            Self::Cassandra { port } => cassandra_options(*port).await,
            Self::Airflow { url, component, heartbeat } => {
                let report = http_get(&format!("{url}/api/v2/monitor/health")).await?;
                airflow_health(&report, component, *heartbeat, started)?;
                // What the tasks talk to is loaded by its first request, which takes seconds: not a task's.
                http_get(&format!("{url}/execution/health")).await.map(|_| ())
            }
        }
    }
}

async fn query(options: &PgConnectOptions) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::query("SELECT 1").execute(&mut connection).await?;
    connection.close().await
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

/// ZooKeeper Administrator's Guide, "The Four Letter Words": the server answers with text and closes.
async fn four_letter_word(port: u16, word: &str) -> std::io::Result<String> {
    let mut stream = connect(port).await?;
    stream.write_all(word.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES as u64).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Kafka protocol, Metadata request version 1 with no topics; the answer lists brokers and the controller.
async fn kafka_metadata(port: u16) -> Result<(), NotReady> {
    let answer = kafka_request(port).await.map_err(|error| error.to_string())?;
    match parse_metadata(&answer) {
        Some((brokers, controller)) if brokers > 0 && controller >= 0 => Ok(()),
        Some((brokers, controller)) => Err(format!("{brokers} brokers, controller {controller}")),
        None => Err("the metadata answer was cut short".to_owned()),
    }
}

async fn kafka_request(port: u16) -> std::io::Result<Vec<u8>> {
    const METADATA: i16 = 3;
    const VERSION: i16 = 1;
    const CORRELATION: i32 = 1;
    const NULL_CLIENT: i16 = -1;
    const NO_TOPICS: i32 = 0;
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(NULL_CLIENT.to_be_bytes());
    body.extend(NO_TOPICS.to_be_bytes());
    let mut stream = connect(port).await?;
    stream.write_u32(u32::try_from(body.len()).map_err(IoError::other)?).await?;
    stream.write_all(&body).await?;
    let length = usize::try_from(stream.read_u32().await?).map_err(IoError::other)?;
    if length > MAX_ANSWER_BYTES {
        return Err(IoError::other(format!("an answer of {length} bytes: this is not Kafka")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Number of brokers and the controller's id from a Metadata response, version 1.
fn parse_metadata(answer: &[u8]) -> Option<(i32, i32)> {
    let mut rest = answer.get(4..)?; // correlation id
    let brokers = take_i32(&mut rest)?;
    for _ in 0..brokers {
        take_i32(&mut rest)?; // node id
        skip_string(&mut rest)?; // host
        take_i32(&mut rest)?; // port
        skip_string(&mut rest)?; // rack
    }
    Some((brokers, take_i32(&mut rest)?))
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(i32::from_be_bytes(*head))
}

/// A string with a two-byte length, -1 for null.
fn skip_string(rest: &mut &[u8]) -> Option<()> {
    let (head, tail) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    *rest = tail.get(length..)?;
    Some(())
}

/// CQL binary protocol v4, section 2: OPTIONS is answered by SUPPORTED before any authentication.
async fn cassandra_options(port: u16) -> Result<(), NotReady> {
    const SUPPORTED: u8 = 0x06;
    let ask = async {
        let mut stream = connect(port).await?;
        // version 4, no flags, stream 0, opcode OPTIONS, no body
        stream.write_all(&[0x04, 0, 0, 0, 0x05, 0, 0, 0, 0]).await?;
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        Ok::<_, IoError>(header[4])
    };
    match ask.await.map_err(|error| error.to_string())? {
        SUPPORTED => Ok(()),
        opcode => Err(format!("OPTIONS was answered by opcode {opcode}")),
    }
}

/// An HTTP client that goes straight to this machine, whatever proxy the environment names.
///
/// # Errors
/// reqwest can't make one.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    // reqwest wants a TLS provider even for plain HTTP; a binary may have installed one before.
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().no_proxy().build()
}

/// The body of a 2xx answer.
async fn http_get(url: &str) -> Result<String, NotReady> {
    let get = async { http_client()?.get(url).send().await?.error_for_status()?.text().await };
    get.await.map_err(|error| error.to_string())
}

/// `GET /api/v2/monitor/health`: `{"scheduler":{"status":"healthy","latest_scheduler_heartbeat":...},...}`.
fn airflow_health(
    body: &str,
    component: &str,
    heartbeat: Option<&str>,
    started: SystemTime,
) -> Result<(), NotReady> {
    let report: serde_json::Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let part = &report[component];
    if part["status"] != "healthy" {
        return Err(format!("{component} is {}", part["status"]));
    }
    let Some(field) = heartbeat else { return Ok(()) };
    let beat = part[field].as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    match beat {
        Some(beat) if beat.timestamp_micros() as f64 / 1e6 >= started => Ok(()),
        Some(_) | None => Err(format!("{component} has not beaten its heart since its start")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_answers_are_read_and_short_ones_refused() {
        let answer = [
            &[0, 0, 0, 1][..], // correlation id
            &[0, 0, 0, 1],     // one broker
            &[0, 0, 0, 7],     // its id
            &[0, 4, b'h', b'o', b's', b't'],
            &[0, 0, 35, 132], // port
            &[255, 255],      // no rack
            &[0, 0, 0, 7],    // controller
            &[0, 0, 0, 0],    // no topics
        ]
        .concat();
        assert_eq!(parse_metadata(&answer), Some((1, 7)));
        assert_eq!(parse_metadata(&answer[..20]), None);
    }

    #[test]
    fn an_old_heartbeat_is_not_ready() {
        let body = r#"{"scheduler":{"status":"healthy","beat":"2026-01-01T00:00:10.5+00:00"},"other":{"status":null}}"#;
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds);
        assert_eq!(airflow_health(body, "scheduler", Some("beat"), at(9)), Ok(()));
        assert!(airflow_health(body, "scheduler", Some("beat"), at(11)).is_err());
        assert_eq!(airflow_health(body, "scheduler", None, at(11)), Ok(()));
        assert!(airflow_health(body, "other", None, at(0)).is_err());
    }
}
