//! Answers of whatever is at the registry's address.

#![no_main]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::OnceLock;
use std::time::Duration;

use events::{Registry, RegistryConfig};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (is_http, status, body) = input;
    let runtime = runtime();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
        let registry =
            Registry::new(&RegistryConfig { url, timeout: Duration::from_secs(5) }).expect("a client");
        let ask = async {
            let _ = registry.schema_by_id(1).await;
            let _ = registry.register("users-value", r#"{"type": "string"}"#).await;
            let _ = registry.latest_schema("users-value").await;
        };
        let answer = async {
            while let Ok((client, _)) = listener.accept().await {
                let _ = respond(client, is_http.then_some(status % 1000), body).await;
            }
        };
        tokio::select! {
            () = ask => {}
            () = answer => {}
        }
    });
});

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    })
}

/// One answer a connection: with a status line, or the bytes alone.
async fn respond(mut client: TcpStream, status: Option<u16>, body: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 4096];
    client.read(&mut request).await?;
    if let Some(status) = status {
        let head = format!(
            "HTTP/1.1 {status:03} x\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await?;
    }
    client.write_all(body).await?;
    client.shutdown().await
}
