//! Pages of the profile API as files: a server whose own work hardly counts, unlike the simulator's.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Result;
use crate::world::{PAGE, SEED};

/// A file server for whoever asks for pages as the API has them; ends when dropped.
pub(crate) struct StaticPages {
    url: String,
    server: JoinHandle<()>,
}

/// Has an API render all pages of so many rows, a file each.
pub(crate) async fn render(api: &str, rows: u64, folder: &Path) -> Result<()> {
    let client = local_servers::http_client()?;
    for page in 1..=rows.div_ceil(PAGE) {
        let users = PAGE.min(rows - (page - 1) * PAGE);
        let url = format!("{api}?results={users}&seed={SEED}&page={page}");
        let body = client.get(url).send().await?.error_for_status()?.bytes().await?;
        tokio::fs::write(file(folder, page), body).await?;
    }
    Ok(())
}

impl StaticPages {
    /// Serves the files of a folder.
    pub(crate) async fn serve(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/api/", listener.local_addr()?);
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let folder = folder.clone();
                // Whoever leaves early is nobody's concern.
                tokio::spawn(async move { answer(socket, &folder).await });
            }
        });
        Ok(Self { url, server })
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for StaticPages {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Answers the requests of one connection, one after the other.
async fn answer(mut socket: TcpStream, folder: &Path) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(request) = lines.next_line().await? {
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        let body = match page(&request) {
            Some(page) => tokio::fs::read(file(folder, page)).await.ok(),
            None => None,
        };
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json; charset=utf-8\r\nx-simulated: static pages\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        write.write_all(head.as_bytes()).await?;
        write.write_all(&body).await?;
    }
    Ok(())
}

/// The page that a request's line asks for.
fn page(request: &str) -> Option<u64> {
    let (_, query) = request.split(' ').nth(1)?.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("page="))?.parse().ok()
}

fn file(folder: &Path, page: u64) -> PathBuf {
    folder.join(format!("{page:05}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path(), 2), "two").unwrap();
        let pages = StaticPages::serve(folder.path().to_owned()).await.unwrap();
        let client = local_servers::http_client().unwrap();
        let get = async |query: &str| client.get(format!("{}?{query}", pages.url())).send().await.unwrap();
        assert_eq!(get("results=5000&seed=x&page=2").await.text().await.unwrap(), "two");
        assert_eq!(get("results=5000&seed=x&page=3").await.status(), 404);
        assert_eq!(get("page=2").await.text().await.unwrap(), "two", "the connection goes on");
    }
}
