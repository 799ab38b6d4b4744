//! What the servers on the Java virtual machine have in common.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{Context, create_folder};
use crate::{
    artifacts::{self, Artifact},
    config::Server,
    error::{Error, Result},
    probe::Probe,
    process::ProcessSpec,
};

/// A Java server.
pub(super) struct JavaServer {
    pub(super) server: Server,
    pub(super) version: &'static str,
    pub(super) heap_mb: u32,
    /// Options of the virtual machine, before the main class.
    pub(super) options: Vec<OsString>,
    /// `-cp PATH Main ARGS` or `-jar FILE ARGS`.
    pub(super) run: Vec<OsString>,
    pub(super) env: Vec<(String, OsString)>,
    pub(super) port: u16,
    pub(super) ready: Probe,
    pub(super) stop_within: Duration,
}

impl JavaServer {
    /// The process to start. Its temporary files go to its data folder: a killed server leaves them behind.
    pub(super) fn process(self, context: &Context<'_>) -> Result<ProcessSpec> {
        let config = context.config;
        let name = self.server.name();
        let temporary = config.data(name).join("tmp");
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", temporary)(error));
            }
            Ok(()) | Err(_) => create_folder(&temporary)?,
        }
        let mut args: Vec<OsString> = vec![
            format!("-Xmx{}m", self.heap_mb).into(),
            "-XX:+ExitOnOutOfMemoryError".into(),
            "-XX:-UsePerfData".into(),
            "-Djava.net.preferIPv4Stack=true".into(),
            property("java.io.tmpdir", &temporary),
        ];
        // Without the second compiler; these two are never busy.
        if config.short_lived || matches!(self.server, Server::Registry | Server::Zookeeper) {
            args.push("-XX:TieredStopAtLevel=1".into());
        }
        args.extend(self.options);
        args.extend(self.run);
        Ok(ProcessSpec {
            name: name.to_owned(),
            version: self.version.to_owned(),
            program: artifacts::java()?,
            args,
            env: self.env,
            // Options from outside would change heap and garbage collector.
            env_remove: vec!["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"],
            directory: config.data(name),
            user: None,
            log: config.log(name),
            port: Some(self.port),
            listens: super::listens(self.server, config),
            precondition: None,
            ready: self.ready,
            ready_within: Duration::from_secs(300),
            stop: Signal::SIGTERM,
            stop_within: self.stop_within,
            is_service: false,
            needs: self.server.needs(config.kraft).iter().map(|need| need.name().to_owned()).collect(),
        })
    }
}

/// The class path of all jars of an artifact.
pub(super) fn class_path(context: &Context<'_>, artifact: &Artifact) -> Result<PathBuf> {
    Ok(libraries(context, artifact)?.join("*"))
}

/// The folder with the jars of an artifact.
pub(super) fn libraries(context: &Context<'_>, artifact: &Artifact) -> Result<PathBuf> {
    Ok(context.config.cache.folder(artifact)?.join("libs"))
}

/// `-Dname=value`.
pub(super) fn property(name: &str, value: impl AsRef<Path>) -> OsString {
    let mut option = OsString::from(format!("-D{name}="));
    option.push(value.as_ref());
    option
}

/// `file:///path`, as Java wants the path of a configuration file.
pub(super) fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}
