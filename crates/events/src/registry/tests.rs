use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::subjects::MAX_ANSWER;
use super::*;

/// A server that gives each of these answers to the paths that end so, and 404 in plain text to all others.
async fn registry(answers: &'static [(&'static str, &'static str, &'static str)]) -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = client.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let known = answers.iter().find(|(end, ..)| path.ends_with(end));
            let (status, body) =
                known.map_or(("404 Not Found", "nothing here"), |(_, status, body)| (status, body));
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            // It may hang up before the end.
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    client(url)
}

fn client(url: Url) -> Registry {
    // Fails only if it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Registry::new(&RegistryConfig { url, timeout: Duration::from_secs(5) }).unwrap()
}

const UP: (&str, &str, &str) = ("/config", "200 OK", r#"{"compatibilityLevel": "BACKWARD"}"#);

#[tokio::test]
async fn a_schema_that_is_not_there_is_known_by_the_status() {
    let json = r#"{"error_code": 40403, "message": "Schema not found"}"#;
    let answers: &'static [_] = Box::leak(Box::new([
        UP,
        ("/ids/1", "200 OK", r#"{"schema": "\"int\""}"#),
        ("/ids/2", "404 Not Found", json),
    ]));
    let registry = registry(answers).await;
    assert_eq!(registry.schema_by_id(1).await.unwrap(), "\"int\"");
    assert!(matches!(registry.schema_by_id(2).await, Err(RegistryError::NotFound { id: 2 })));
    assert!(
        matches!(registry.schema_by_id(3).await, Err(RegistryError::NotFound { id: 3 })),
        "a body without JSON"
    );
}

#[tokio::test]
async fn what_answers_404_to_everything_is_no_registry() {
    let registry = registry(&[]).await;
    assert!(matches!(registry.schema_by_id(1).await, Err(RegistryError::Unavailable { .. })));
}

#[tokio::test]
async fn errors_are_sorted_by_their_status() {
    let answers = &[("/ids/1", "503 Service Unavailable", "later"), ("/ids/2", "403 Forbidden", "not you")];
    let registry = registry(answers).await;
    assert!(matches!(registry.schema_by_id(1).await, Err(RegistryError::Unavailable { .. })));
    assert!(matches!(registry.schema_by_id(2).await, Err(RegistryError::Refused { .. })));
}

#[tokio::test]
async fn ids_that_no_registry_gives_are_not_asked_for() {
    let registry = client("http://127.0.0.1:1".parse().unwrap());
    for id in [1 << 31, u32::MAX] {
        assert!(matches!(registry.schema_by_id(id).await, Err(RegistryError::NotFound { .. })), "{id}");
    }
    assert!(matches!(registry.schema_by_id(u32::MAX >> 1).await, Err(RegistryError::Unavailable { .. })));
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    let longer: &'static str = Box::leak(" ".repeat(MAX_ANSWER + 1).into_boxed_str());
    let answers: &'static [_] =
        Box::leak(Box::new([("/ids/1", "200 OK", longer), ("/ids/2", "403 Forbidden", longer)]));
    let registry = registry(answers).await;
    for id in [1, 2] {
        let error = registry.schema_by_id(id).await.unwrap_err();
        assert!(
            matches!(&error, RegistryError::Unavailable { source, .. } if source.to_string().contains("longer"))
        );
    }
}
