//! A client that writes bytes as they are: what a well-behaved library would never send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Reply;

/// Nothing that is asked here takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Raw {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("connected");
        socket.set_nodelay(true).expect("set");
        Self {
            socket,
            unread: Vec::new(),
        }
    }

    /// Writes; a peer that has closed already is no failure.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.socket.write_all(bytes.as_ref()).await;
    }

    /// Sends a chat request with this body and these further header lines (each with its CRLF).
    pub async fn post(&mut self, headers: &str, body: &[u8]) -> Option<Reply> {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: proxy\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
        self.reply().await
    }

    pub async fn post_json(&mut self, body: &Value) -> Option<Reply> {
        self.post("", body.to_string().as_bytes()).await
    }

    /// The next answer, whose length its head must say; `None` when the connection ends first.
    pub async fn reply(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply())
            .await
            .expect("an answer or an end in time")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
        {
            let name: http::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
        while self.unread.len() < head_end + length {
            self.more().await?;
        }
        let body = Bytes::copy_from_slice(&self.unread[head_end..head_end + length]);
        self.unread.drain(..head_end + length);
        Some(Reply {
            status,
            headers,
            body,
        })
    }

    async fn more(&mut self) -> Option<()> {
        match self.socket.read_buf(&mut self.unread).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    /// Waits until the proxy closes the connection.
    pub async fn closed(&mut self) {
        tokio::time::timeout(PATIENCE, async { while self.more().await.is_some() {} })
            .await
            .expect("closed in time");
    }
}
