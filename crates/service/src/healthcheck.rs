//! `SERVICE healthcheck`: asks the service beside it whether it is ready, for images that have no shell and no curl.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::CommonArgs;
use crate::config::{Config, ConfigError};
use crate::run::{EXIT_FAILURE, refuse};

const TIMEOUT: Duration = Duration::from_secs(2);
/// More than `/readyz` ever says.
const MAX_ANSWER_BYTES: u64 = 65_536;

/// Asks `/readyz` at the address that `listen` finds in the configuration, and prints what is waited for. The exit
/// code is 0 if the service is ready, 1 if it is not or does not answer, 2 if the configuration can't be used.
#[expect(clippy::print_stdout, reason = "the answer")]
pub fn healthcheck(
    name: &'static str,
    args: &CommonArgs,
    listen: impl FnOnce(&Config) -> Result<SocketAddr, ConfigError>,
) -> ExitCode {
    let found = Config::load(args).and_then(|config| listen(&config).map_err(|error| config.locate(error)));
    let address = match found {
        Ok(listen) => reachable(listen),
        Err(error) => return refuse(name, &error),
    };
    match ask(address) {
        Ok((true, answer)) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok((false, answer)) => {
            println!("{answer}");
            ExitCode::from(EXIT_FAILURE)
        }
        Err(error) => {
            println!("{name} does not answer at {address}: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Where a service that listens on every address is reached from beside it.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Whether the answer was 200, and its body.
fn ask(address: SocketAddr) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    Ok((head.split(' ').nth(1) == Some("200"), body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::AdminServer;
    use crate::health::Health;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn every_address_is_reached_at_this_one() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
        assert_eq!(reachable("10.1.2.3:80".parse().unwrap()), "10.1.2.3:80".parse().unwrap());
    }

    #[tokio::test]
    async fn it_says_what_is_waited_for() {
        let health = Health::default();
        let kafka = health.component("kafka");
        kafka.waiting("the broker");
        let server = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(server.serve(health, metrics, axum::Router::new(), shutdown.clone()));

        let (ready, answer) = tokio::task::spawn_blocking(move || ask(address)).await.unwrap().unwrap();
        assert!(!ready && answer.contains("the broker"), "{answer}");
        kafka.ready();
        let (ready, _) = tokio::task::spawn_blocking(move || ask(address)).await.unwrap().unwrap();
        assert!(ready);
        shutdown.cancel();
        served.await.unwrap().unwrap();
        assert!(ask(address).is_err());
    }
}
