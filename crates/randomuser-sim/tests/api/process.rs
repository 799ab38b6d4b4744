//! The binary: where it says it listens, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client;

const BINARY: &str = env!("CARGO_BIN_EXE_randomuser-sim");

#[tokio::test]
async fn it_prints_its_address_and_ends_well_on_sigterm() {
    let mut process = Command::new(BINARY)
        .args(["--listen", "127.0.0.1:0", "--next", "error_envelope=1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim_end().rsplit(' ').next().unwrap();
    for expected in ["{\"error\":", "{\"results\":"] {
        let body = client().get(url).send().await.unwrap().text().await.unwrap();
        assert!(body.starts_with(expected), "{body}");
    }
    kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_port_that_is_taken_and_a_bad_option_are_reported() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, code, says) in [
        (["--listen", &address], 1, address.as_str()),
        (["--fault", "slow=7"], 2, "probability of slow is 7"),
        (["--fault", "slowly=1"], 2, "too_many_requests"),
    ] {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(says), "{errors}");
    }
}
