//! The servers of one test run.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use local_servers::{Stack, StackConfig};

/// The servers, started when first asked for; every later caller gets the same ones.
///
/// They end with the test process, whatever ends it. Their data is wiped by the next run, not by this one, so that
/// a failed test can be looked into.
pub fn servers() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| start(StackConfig::on_free_ports(fresh_root("servers")).expect("a configuration")))
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
    let root = std::env::temp_dir().join("rust-datastreaming-tests").join(name);
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
