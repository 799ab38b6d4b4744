//! The library against real servers: ZooKeeper, Kafka and PostgreSQL on free ports.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use local_servers::{Error, ProcessState, Server, ServiceSpec, Stack, StackConfig, StackState};
use secrecy::ExposeSecret;
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::timeout;

fn config(root: &Path) -> StackConfig {
    let mut config = StackConfig::on_free_ports(root).unwrap();
    config.servers = vec![Server::Postgres, Server::Kafka];
    config
}

async fn connect(stack: &Stack) -> sqlx::Result<PgConnection> {
    PgConnection::connect(stack.postgres_url("postgres").expose_secret()).await
}

fn state_of(stack: &Stack, name: &str) -> ProcessState {
    stack.status().into_iter().find(|status| status.record.name == name).unwrap().state
}

fn pid_of(stack: &Stack, name: &str) -> i32 {
    let status = stack.status().into_iter().find(|status| status.record.name == name).unwrap();
    status.record.process.unwrap().pid
}

/// Command lines of living processes that name this folder.
fn processes_of(root: &Path) -> Vec<String> {
    let root = root.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let command = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    entries
        .filter_map(command)
        .map(|raw| String::from_utf8_lossy(&raw).replace('\0', " "))
        .filter(|line| line.contains(root))
        .collect()
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_dies_pauses_and_comes_back_while_the_others_run() {
    let root = tempfile::tempdir().unwrap();
    let stack = Stack::start(config(root.path())).await.unwrap();
    let names: Vec<String> = stack.status().into_iter().map(|status| status.record.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");

    let second = Stack::start(config(root.path())).await.unwrap_err();
    let own = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(second, Error::AlreadyRunning { pid, .. } if pid == own), "{second}");

    // Killed: connections break, acknowledged rows stay.
    let mut connection = connect(&stack).await.unwrap();
    connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)").await.unwrap();
    let kafka = pid_of(&stack, "kafka");
    stack.kill("postgres").await.unwrap();
    assert_eq!(state_of(&stack, "postgres"), ProcessState::Stopped);
    assert!(connection.execute("SELECT 1").await.is_err());
    assert!(connect(&stack).await.is_err());
    assert!(stack.exited().is_empty());
    stack.restart("postgres").await.unwrap();
    let mut connection = connect(&stack).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!((kept, pid_of(&stack, "kafka")), (7, kafka));

    // Paused: a session that is a process of its own stands still too, and goes on where it was.
    stack.pause("postgres").unwrap();
    assert_eq!(state_of(&stack, "postgres"), ProcessState::Paused);
    let mut query = Box::pin(sqlx::query("SELECT 1").execute(&mut connection));
    assert!(timeout(Duration::from_millis(500), &mut query).await.is_err(), "a paused server has answered");
    stack.resume("postgres").unwrap();
    timeout(Duration::from_secs(10), query).await.unwrap().unwrap();

    // A killed broker is still registered with ZooKeeper; the restart waits for that to end.
    stack.kill("kafka").await.unwrap();
    stack.restart("kafka").await.unwrap();
    assert_ne!(pid_of(&stack, "kafka"), kafka);
    // Stopped in good order although paused.
    stack.pause("zookeeper").unwrap();

    stack.shutdown().await.unwrap();
    assert!(StackState::load(root.path()).unwrap().is_none());
    assert_eq!(processes_of(root.path()), Vec::<String>::new());
}

/// `local-servers up` as a parent that can be killed.
fn parent(root: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    fs::create_dir_all(root).unwrap();
    let errors = root.join("parent.err");
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-servers"))
        .args(["up", "--free-ports", "--only", "postgres,kafka", "--root"])
        .arg(root)
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready") {
        line.clear();
        let length = output.read_line(&mut line).unwrap();
        assert_ne!(length, 0, "the parent has ended: {}", fs::read_to_string(&errors).unwrap());
    }
    (child, output)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_parent_that_was_killed() {
    let root = tempfile::tempdir().unwrap();
    let (mut child, _output) = parent(root.path());
    let state = StackState::load(root.path()).unwrap().unwrap();
    assert!(state.is_running());
    assert_eq!(state.processes.iter().filter(|process| process.is_alive()).count(), 3);
    let mut session = TcpStream::connect((Ipv4Addr::LOCALHOST, state.endpoints.postgres_port)).unwrap();

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!state.is_running());
    wait_for("the servers to be killed", || !state.processes.iter().any(|process| process.is_alive())).await;
    wait_for("their children to be gone", || processes_of(root.path()).is_empty()).await;
    // PostgreSQL's sessions hold no more port either.
    wait_for("the session to end", || matches!(std::io::Read::read(&mut session, &mut [0]), Ok(0) | Err(_)))
        .await;

    // The same root again: the servers recover what the killed ones left. Then an ordinary end.
    let (mut child, _output) = parent(root.path());
    let state = StackState::load(root.path()).unwrap().unwrap();
    state.terminate(Duration::from_secs(60)).await.unwrap();
    assert!(child.wait().unwrap().success());
    assert!(StackState::load(root.path()).unwrap().is_none());
    assert_eq!(processes_of(root.path()), Vec::<String>::new());
}

/// As root, data behind a private home lies elsewhere and outlives the folder of its stack.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_was_deleted_leaves_nothing_for_the_next_one() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let root = home.path().join("stack");
    let start = async || {
        let mut config = config(&root);
        config.servers = vec![Server::Postgres];
        Stack::start(config).await.unwrap()
    };
    let tables = async |stack: &Stack| {
        let query = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_class WHERE relname = 'kept'");
        query.fetch_one(&mut connect(stack).await.unwrap()).await.unwrap()
    };
    let first = start().await;
    connect(&first).await.unwrap().execute("CREATE TABLE kept ()").await.unwrap();
    first.shutdown().await.unwrap();
    drop(first);

    let again = start().await;
    assert_eq!(tables(&again).await, 1);
    again.shutdown().await.unwrap();
    drop(again);

    fs::remove_dir_all(&root).unwrap();
    let next = start().await;
    assert_eq!(tables(&next).await, 0);
    next.shutdown().await.unwrap();
    for folder in local_servers::data_folders(&root).unwrap() {
        fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn a_taken_port_stops_the_start_before_anything_runs() {
    let root = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut config = config(root.path());
    config.ports.kafka = port;
    let text = Stack::start(config).await.unwrap_err().to_string();
    let expected = format!("port {port} is needed by kafka but is taken by pid {} (", std::process::id());
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(processes_of(&root.path().join("data")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_server_takes_the_others_down_and_says_why() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.postgres_settings = vec![("wal_level".to_owned(), "nonsense".to_owned())];
    let text = Stack::start(config.clone()).await.unwrap_err().to_string();
    assert!(text.starts_with("postgres ended at start (exit status: 1)"), "{text}");
    assert!(text.contains("invalid value for parameter \"wal_level\": \"nonsense\""), "{text}");
    assert_eq!(processes_of(&root.path().join("data")), Vec::<String>::new());
    assert!(StackState::load(root.path()).unwrap().is_none());

    config.postgres_settings.clear();
    config.servers = vec![Server::Postgres];
    let stack = Stack::start(config).await.unwrap();
    connect(&stack).await.unwrap();
    drop(stack);
    assert_eq!(processes_of(&root.path().join("data")), Vec::<String>::new());
}

#[tokio::test]
async fn services_are_supervised_too() {
    let root = tempfile::tempdir().unwrap();
    let mut config = StackConfig::on_free_ports(root.path()).unwrap();
    config.servers.clear();
    let stack = Stack::start(config).await.unwrap();

    let shell = |name: &str, script: &str| ServiceSpec {
        args: vec!["-c".into(), script.into()],
        ..ServiceSpec::new(name, "/bin/sh")
    };
    let mut broken = shell("broken", "echo the disk is full; exit 3");
    broken.ready = Some("http://127.0.0.1:9/".to_owned());
    let text = stack.start_service(broken, "1").await.unwrap_err().to_string();
    assert!(text.contains("broken ended at start (exit status: 3)"), "{text}");
    assert!(text.contains("the disk is full") && text.contains("logs/broken.log"), "{text}");

    stack.start_service(shell("brief", "until [ -e go ]; do sleep 0.05; done; exit 4"), "1").await.unwrap();
    assert_eq!(state_of(&stack, "brief"), ProcessState::Ready);
    fs::write(root.path().join("go"), "").unwrap();
    wait_for("the end of a service to be seen", || {
        stack.exited().contains(&("brief".to_owned(), "exit status: 4".to_owned()))
    })
    .await;

    // It ignores SIGTERM: the deadline makes an end of it.
    let mut stubborn = shell("stubborn", "trap '' TERM; while :; do sleep 1; done");
    stubborn.stop_within = Duration::from_millis(300);
    stack.start_service(stubborn, "1").await.unwrap();
    stack.stop("stubborn").await.unwrap();
    assert_eq!(state_of(&stack, "stubborn"), ProcessState::Stopped);
    let unknown = stack.kill("kafka").await.unwrap_err().to_string();
    assert!(unknown.contains("there are: brief, broken, stubborn"), "{unknown}");
    stack.shutdown().await.unwrap();
}
