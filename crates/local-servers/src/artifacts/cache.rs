//! Fetches artifacts into a cache with the ordinary package clients.
//!
//! An artifact's folder counts only when its marker file holds the wanted fingerprint; the marker is written
//! last. Archives and jars are made in a temporary folder and renamed into place; a virtual environment
//! cannot be moved (its scripts name their own path), so it is made in place. A file lock per artifact keeps
//! two processes from doing it at once.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Archive, Artifact, Source, find_program, java};
use crate::{
    error::{Error, Result},
    job::Job,
    progress::{Progress, Step},
    user::{SystemUser, reachable},
    watchdog::Watchdog,
};

/// A lock that nobody else has is got within this time.
const UNCONTENDED: Duration = Duration::from_millis(300);

/// For what a system user must reach when the cache is in a closed home folder.
const SYSTEM_CACHE: &str = "/var/cache/rust-datastreaming";
const MARKER: &str = ".complete";
/// A slow line must do; a hanging one must not.
const FETCH_DEADLINE: Duration = Duration::from_secs(1800);
/// A registry may hiccup: each download is tried this often.
const ATTEMPTS: u32 = 2;
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// The folder in which fetched artifacts are kept, shared by all stacks of a user.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `PIPELINE_CACHE_DIR`, else `rust-datastreaming` in `XDG_CACHE_HOME` or `~/.cache`.
    pub fn from_env() -> Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("PIPELINE_CACHE_DIR")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("rust-datastreaming")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/rust-datastreaming")))
            .ok_or_else(|| {
                Error::Config("no folder for downloads: set PIPELINE_CACHE_DIR or HOME".to_owned())
            })?;
        Self::at(root)
    }

    /// A cache in a given folder.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = std::path::absolute(&root).map_err(Error::file("find", root))?;
        Ok(Self { root })
    }

    /// Where an artifact is, or will be. PostgreSQL may have to live where its system user gets at it.
    pub fn folder(&self, artifact: &Artifact) -> Result<PathBuf> {
        let name = format!("{}-{}", artifact.name, artifact.version);
        let folder = self.root.join(&name);
        Ok(match SystemUser::for_postgres()? {
            Some(user) if artifact.name == super::POSTGRES.name => {
                reachable(Some(&user), folder, |_| Path::new(SYSTEM_CACHE).join(&name))
            }
            Some(_) | None => folder,
        })
    }

    fn file(&self, kind: &str, artifact: &Artifact) -> Result<PathBuf> {
        let folder = self.root.join(kind);
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        Ok(folder.join(format!("{}.{kind}", artifact.name)))
    }
}

/// Says what the machine lacks for the artifacts that are not there yet, before anything is downloaded.
pub(crate) fn check(cache: &Cache, artifacts: &[Artifact]) -> Result<()> {
    for artifact in artifacts {
        if !is_complete(&cache.folder(artifact)?, artifact) {
            check_tools(artifact)?;
        }
    }
    Ok(())
}

/// Fetches what is missing, side by side. Nothing is downloaded when all is there.
pub async fn fetch(cache: &Cache, artifacts: &[Artifact], progress: &Progress) -> Result<()> {
    let mut missing = Vec::new();
    for artifact in artifacts {
        if !is_complete(&cache.folder(artifact)?, artifact) {
            missing.push(*artifact);
        }
    }
    check(cache, artifacts)?;
    let mut downloads = JoinSet::new();
    for artifact in missing {
        let (cache, progress) = (cache.clone(), progress.clone());
        downloads.spawn(async move { fetch_one(&cache, &artifact, &progress).await });
    }
    while let Some(result) = downloads.join_next().await {
        result.map_err(|error| Error::Config(format!("a download was cut short: {error}")))??;
    }
    Ok(())
}

fn is_complete(folder: &Path, artifact: &Artifact) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|text| text == artifact.fingerprint())
}

fn check_tools(artifact: &Artifact) -> Result<()> {
    let purpose = format!("fetching {}", artifact.name);
    match artifact.source {
        Source::MavenLibraries(_) | Source::MavenArchive(..) => {
            java()?;
            find_program("mvn", "maven", &purpose)?;
        }
        Source::Pip(_) => {
            find_program("python3", "python3-venv", &purpose)?;
        }
    }
    if let Source::MavenArchive(_, Archive::JarOfTarXz) = artifact.source {
        find_program("xz", "xz-utils", &purpose)?;
        find_program("python3", "python3", &purpose)?;
    }
    Ok(())
}

async fn fetch_one(cache: &Cache, artifact: &Artifact, progress: &Progress) -> Result<()> {
    let step = progress.step(artifact.name, Some(artifact.bytes));
    let file = cache.file("lock", artifact)?;
    let mut locking = std::pin::pin!(lock(&file));
    let _lock = match tokio::time::timeout(UNCONTENDED, &mut locking).await {
        Ok(locked) => locked?,
        Err(_) => {
            step.say("waiting for another download of the same");
            locking.await?
        }
    };
    let folder = cache.folder(artifact)?;
    if is_complete(&folder, artifact) {
        step.done("was fetched by another process");
        return Ok(());
    }
    step.say(&format!("fetching {}", artifact.version));
    let watchdog = Watchdog::start()?;
    let fetch = Fetch { artifact, log: cache.file("log", artifact)?, watchdog: &watchdog, step: &step };
    let mut attempt = 1;
    loop {
        match fetch.make(&folder).await {
            Ok(()) => break,
            Err(error @ Error::Command { .. }) if attempt < ATTEMPTS => {
                tracing::warn!(%error, artifact = artifact.name, "download failed, trying again");
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
    let marker = folder.join(MARKER);
    fs::write(&marker, artifact.fingerprint()).map_err(Error::file("write", marker))?;
    step.done(&format!("fetched {}", artifact.version));
    Ok(())
}

/// Takes an exclusive lock that ends with the returned file or with this process.
async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::file("create", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
        }
    }
}

struct Fetch<'a> {
    artifact: &'a Artifact,
    log: PathBuf,
    watchdog: &'a Watchdog,
    step: &'a Step,
}

impl Fetch<'_> {
    /// Makes the artifact's folder, all but the marker.
    async fn make(&self, folder: &Path) -> Result<()> {
        remove_folder(folder)?;
        if let Source::Pip(requirements) = self.artifact.source {
            return self.virtual_environment(folder, requirements).await;
        }
        let parent = folder.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        let made = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(parent)
            .map_err(Error::file("create a temporary folder in", parent))?;
        // One folder further down, because a temporary folder itself is closed to other users.
        let content = made.path().join("content");
        fs::create_dir(&content).map_err(Error::file("create", &content))?;
        match self.artifact.source {
            Source::MavenLibraries(coordinates) => self.libraries(&content, coordinates).await?,
            Source::MavenArchive(coordinates, archive) => {
                self.archive(made.path(), &content, coordinates, archive).await?;
            }
            Source::Pip(_) => {}
        }
        fs::rename(&content, folder).map_err(Error::file("move the download to", folder))
    }

    async fn libraries(&self, folder: &Path, coordinates: &[&str]) -> Result<()> {
        let pom = folder.join("pom.xml");
        fs::write(&pom, pom_of(self.artifact, coordinates)).map_err(Error::file("write", &pom))?;
        let args = [
            "-f".into(),
            pom.into_os_string(),
            format!("{DEPENDENCY_PLUGIN}:copy-dependencies").into(),
            property("outputDirectory", folder.join("libs")),
            "-DincludeScope=runtime".into(),
        ];
        self.maven(folder, args, folder).await
    }

    async fn archive(&self, work: &Path, folder: &Path, coordinates: &str, archive: Archive) -> Result<()> {
        let jar = work.join("download");
        let args = [
            format!("{DEPENDENCY_PLUGIN}:copy").into(),
            format!("-Dartifact={coordinates}").into(),
            property("outputDirectory", jar.clone()),
        ];
        self.maven(work, args, work).await?;
        let (downloaded, compression) = match archive {
            Archive::TarGz => (only_file(&jar, ".tar.gz")?, "-xzf"),
            Archive::JarOfTarXz => {
                let inner = work.join("jar");
                let python = find_program("python3", "python3", "unpacking")?;
                let args = [
                    "-m".into(),
                    "zipfile".into(),
                    "-e".into(),
                    only_file(&jar, ".jar")?.into(),
                    inner.clone().into(),
                ];
                self.run(python, args, work, folder).await?;
                (only_file(&inner, ".txz")?, "-xJf")
            }
        };
        let args =
            ["--no-same-owner".into(), compression.into(), downloaded.into(), "-C".into(), folder.into()];
        self.run(find_program("tar", "tar", "unpacking")?, args, work, folder).await
    }

    async fn virtual_environment(&self, folder: &Path, requirements: &str) -> Result<()> {
        let python = find_program("python3", "python3-venv", "virtual environments")?;
        let parent = folder.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        self.run(python, ["-m".into(), "venv".into(), folder.into()], parent, folder).await?;
        let list = folder.join("requirements.txt");
        fs::write(&list, requirements).map_err(Error::file("write", &list))?;
        let args = [
            "-m".into(),
            "pip".into(),
            "install".into(),
            "--no-input".into(),
            "--disable-pip-version-check".into(),
            "--progress-bar=off".into(),
            "--requirement".into(),
            list.into_os_string(),
        ];
        self.run(folder.join("bin/python"), args, parent, folder).await
    }

    async fn maven<const N: usize>(&self, directory: &Path, args: [OsString; N], grows: &Path) -> Result<()> {
        let quiet = ["--batch-mode".into(), "--quiet".into()];
        let args: Vec<OsString> = quiet.into_iter().chain(args).collect();
        self.run(find_program("mvn", "maven", "downloads")?, args, directory, grows).await
    }

    /// Runs one command; the bar shows how much `grows` holds.
    async fn run(
        &self,
        program: PathBuf,
        args: impl IntoIterator<Item = OsString>,
        directory: &Path,
        grows: &Path,
    ) -> Result<()> {
        let job = Job {
            what: format!("fetching {} {}", self.artifact.name, self.artifact.version),
            program,
            args: args.into_iter().collect(),
            env: Vec::new(),
            directory: directory.to_owned(),
            user: None,
            log: self.log.clone(),
            hint: "check the network and the package client's settings (proxy, mirror), make sure that \
                   python3-venv, maven and openjdk-17-jre-headless are installed, then run it again"
                .to_owned(),
            within: FETCH_DEADLINE,
        };
        job.run(self.watchdog, || self.step.set_bytes(folder_bytes(grows))).await
    }
}

fn property(name: &str, path: PathBuf) -> OsString {
    let mut property = OsString::from(format!("-D{name}="));
    property.push(path);
    property
}

/// A project that is nothing but its dependencies.
fn pom_of(artifact: &Artifact, coordinates: &[&str]) -> String {
    let dependencies: String = coordinates
        .iter()
        .map(|line| {
            let mut part = line.split(':');
            let mut next = || part.next().unwrap_or_default();
            format!(
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>\n",
                next(),
                next(),
                next()
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>local</groupId><artifactId>{}</artifactId><version>{}</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n",
        artifact.name, artifact.version
    )
}

fn only_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::file("list", folder))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(ending))
        .ok_or_else(|| {
            Error::Config(format!("no {ending} file in {}: the package has changed", folder.display()))
        })
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The bytes of all files below a folder, as far as they can be seen.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { folder_bytes(&path) } else { meta.len() })
        .sum()
}

#[cfg(test)]
mod tests;
