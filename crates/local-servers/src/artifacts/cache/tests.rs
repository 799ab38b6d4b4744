use super::*;
use crate::artifacts::{KAFKA, POSTGRES};

#[test]
fn only_the_marker_of_this_very_version_counts() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!is_complete(folder.path(), &KAFKA));
    fs::write(folder.path().join(MARKER), POSTGRES.fingerprint()).unwrap();
    assert!(!is_complete(folder.path(), &KAFKA));
    fs::write(folder.path().join(MARKER), KAFKA.fingerprint()).unwrap();
    assert!(is_complete(folder.path(), &KAFKA));
}

#[test]
fn the_pom_lists_every_coordinate() {
    let pom = pom_of(&KAFKA, &["g:a:1", "h:b:2"]);
    assert!(pom.contains("<groupId>g</groupId><artifactId>a</artifactId><version>1</version>"));
    assert!(pom.contains("<groupId>h</groupId><artifactId>b</artifactId><version>2</version>"));
}

#[tokio::test]
async fn a_failed_download_says_what_and_how() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path()).unwrap();
    let artifact = Artifact {
        name: "broken",
        version: "1",
        bytes: 1,
        source: Source::MavenLibraries(&["not a group:artifact:1"]),
    };
    let error = fetch(&cache, &[artifact], &Progress::hidden()).await.unwrap_err().to_string();
    assert!(error.starts_with("fetching broken 1 failed: `"), "{error}");
    assert!(error.contains("not a group"), "{error}");
    assert!(error.contains("check the network"), "{error}");
    assert!(!is_complete(&cache.folder(&artifact).unwrap(), &artifact));
}
