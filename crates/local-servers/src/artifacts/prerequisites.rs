//! What the machine must have: Java 17 or newer, Maven, Python 3 with venv, tar and xz.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Error, Result};

/// The oldest Java that Cassandra 5.0's flags here are meant for.
const MIN_JAVA: u32 = 17;

/// Finds a program on `PATH`.
pub(crate) fn find_program(program: &str, package: &str, purpose: &str) -> Result<PathBuf> {
    search_path(program).ok_or_else(|| Error::MissingProgram {
        program: program.to_owned(),
        purpose: purpose.to_owned(),
        package: package.to_owned(),
    })
}

fn search_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Finds Java 17 or newer: `JAVA_HOME`, then `PATH`, then Debian's folder of Java 17.
///
/// # Errors
/// None is there.
pub fn java() -> Result<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let debian = PathBuf::from(format!("/usr/lib/jvm/java-17-openjdk-{}/bin/java", debian_architecture()));
    [home, search_path("java"), Some(debian)]
        .into_iter()
        .flatten()
        .filter(|java| java.is_file())
        .find(|java| java_major(java).is_some_and(|major| major >= MIN_JAVA))
        .ok_or_else(|| Error::MissingProgram {
            program: format!("java {MIN_JAVA} or newer"),
            purpose: "Kafka, ZooKeeper, the Schema Registry and Cassandra".to_owned(),
            package: "openjdk-17-jre-headless".to_owned(),
        })
}

fn debian_architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn java_major(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    parse_java_major(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.15" 2025-04-15`; before Java 9 it was `"1.8.0_292"`.
fn parse_java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read() {
        assert_eq!(parse_java_major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(parse_java_major("openjdk version \"21-ea\" 2023-09-19"), Some(21));
        assert_eq!(parse_java_major("java version \"1.8.0_292\""), Some(1));
        assert_eq!(parse_java_major("no java"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find_program("no-such-program", "its-package", "a test").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-program is needed for a test but was not found; install it with: apt-get install its-package"
        );
    }
}
