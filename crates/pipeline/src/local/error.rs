//! Why a stack on this machine does not do what it is asked.

use std::path::PathBuf;

use operate::local::Source;

/// Says what is wrong with what is asked of a stack on this machine, or how it failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The module for Spark is missing.
    #[error("{} does not exist; build it with: cargo build --release --workspace --bins --lib", .0.display())]
    NoModule(PathBuf),
    /// The stack runs with another source than the one that was asked for.
    #[error("the stack in {} runs with {running} profiles; stop it with `pipeline down` to start it with {wanted} ones", root.display())]
    OtherSource {
        /// The stack's root.
        root: PathBuf,
        /// What it runs with.
        running: Source,
        /// What was asked for.
        wanted: Source,
    },
    /// The stack runs with the other engine than the one that was asked for.
    #[error(
        "the stack in {} transforms with {}, and only one engine may: stop it with `pipeline down` first",
        root.display(), engine(*spark)
    )]
    OtherEngine {
        /// The stack's root.
        root: PathBuf,
        /// Whether Spark is what it runs with.
        spark: bool,
    },
    /// Another `pipeline up` is not done yet.
    #[error("the stack in {} is being started or stopped by process {pid}; wait, or stop it with `pipeline down`", root.display())]
    Busy {
        /// The stack's root.
        root: PathBuf,
        /// The supervisor.
        pid: i32,
    },
    /// The supervisor gave up, with its own report.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C while it was starting.
    #[error("interrupted; nothing runs")]
    Interrupted,
    /// The supervisor ended without a report.
    #[error("the supervisor ended without a word; see {}", .0.display())]
    Vanished(PathBuf),
}

/// What transforms, for people.
const fn engine(spark: bool) -> &'static str {
    if spark { "Spark" } else { "the stream-processor" }
}
