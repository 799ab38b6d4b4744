//! The servers of one test run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use local_servers::{Stack, StackConfig};

/// Names the root of the stack that all test processes share, as `scripts/test.sh` starts it.
const SHARED_ROOT: &str = "TEST_SERVERS";

/// Returns the servers that all tests share: those of `TEST_SERVERS`, or else new ones that end with this process,
/// whatever ends it. The services that a test starts end with its own process in both cases.
///
/// Data is wiped by the next run, not by this one, so that a failed test can be looked into.
pub fn servers() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        // For the HTTP clients of tests; fails only where it was done already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = match std::env::var_os(SHARED_ROOT) {
            Some(shared) => {
                let own = fresh_root(&format!("services-{}", std::process::id()));
                StackConfig::without_servers(own, Path::new(&shared))
            }
            None => StackConfig::on_free_ports(fresh_root("servers")),
        };
        start(config.expect("a configuration"))
    })
}

/// Waits until no other test, of this process or another one, holds what has this name; holds it until the file is
/// dropped.
pub(crate) async fn alone(name: &'static str) -> File {
    tokio::task::spawn_blocking(move || {
        let folder = tests_root();
        std::fs::create_dir_all(&folder).expect("a folder for locks");
        let file = File::create(folder.join(format!("{name}.lock"))).expect("a file to lock");
        file.lock().expect("a lock");
        file
    })
    .await
    .expect("a lock")
}

fn tests_root() -> PathBuf {
    std::env::temp_dir().join("rust-datastreaming-tests")
}

/// Starts a stack on a runtime of its own: that of the test which happens to be first ends with it.
pub(crate) fn start(config: StackConfig) -> Stack {
    std::thread::spawn(|| runtime().block_on(Stack::start(config)))
        .join()
        .expect("the thread that starts the servers")
        .unwrap_or_else(|error| panic!("start the servers: {error}"))
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// An empty folder for a stack. Not below the build folder: PostgreSQL's user must be able to walk down to its data,
/// wherever the clone is.
pub fn fresh_root(name: &str) -> PathBuf {
    let root = tests_root().join(name);
    if root.exists() {
        std::fs::remove_dir_all(&root).unwrap_or_else(|error| panic!("remove {}: {error}", root.display()));
    }
    root
}

/// A binary of this workspace, built by the same command as the tests or the benchmark that asks for it.
///
/// # Panics
/// If it is not there.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this binary");
    let mut folder = own.parent().expect("target/PROFILE, or its folder deps");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("target/PROFILE");
    }
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{} is missing: build the workspace first, as `make test` does",
        binary.display()
    );
    binary
}

/// A file of the repository.
pub fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the root").join(path)
}
