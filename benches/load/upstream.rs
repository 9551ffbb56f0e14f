//! The upstream of the load run: answers at once, whole or as 22 events, in its own process.

use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Events of a stream: role, nineteen words, finish, usage — and the end marker.
const WORDS: usize = 19;

/// Serves until killed; prints its address first.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let (whole, stream) = (whole(), stream());
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let (whole, stream) = (whole.clone(), stream.clone());
            #[allow(clippy::disallowed_methods, reason = "ends with the process")]
            tokio::spawn(async move {
                let _peer_left = serve(socket, &whole, &stream).await;
            });
        }
    })
}

async fn serve(mut socket: TcpStream, whole: &[u8], stream: &[Vec<u8>]) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some((length, streamed)) = read(&mut socket, &mut buffer).await? else {
            return Ok(());
        };
        buffer.drain(..length);
        if streamed {
            for piece in stream {
                socket.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
        } else {
            socket.write_all(whole).await?;
        }
    }
}

/// The length of the request at the front of the buffer and whether it wants a stream.
async fn read(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<(usize, bool)>> {
    loop {
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| {
                    line.strip_prefix("content-length:")
                        .and_then(|value| value.trim().parse::<usize>().ok())
                })
                .unwrap_or(0);
            let end = head + 4 + length;
            if buffer.len() >= end {
                let streamed =
                    memchr::memmem::find(&buffer[head..end], b"\"stream\":true").is_some();
                return Ok(Some((end, streamed)));
            }
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn whole() -> Vec<u8> {
    let text = "word ".repeat(120);
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":230,\"completion_tokens\":120,\"total_tokens\":350,\"prompt_tokens_details\":{{\"cached_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}}}"
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn stream() -> Vec<Vec<u8>> {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut events = vec![chunk("{\"role\":\"assistant\",\"content\":\"\"}", "null")];
    events.extend((0..WORDS).map(|_| chunk("{\"content\":\" word\"}", "null")));
    events.push(chunk("{}", "\"stop\""));
    events.push("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":230,\"completion_tokens\":19,\"total_tokens\":249}}\n\ndata: [DONE]\n\n".to_owned());
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut pieces: Vec<Vec<u8>> = events
        .iter()
        .map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes())
        .collect();
    pieces[0] = [head.as_bytes(), &pieces[0]].concat();
    pieces.push(b"0\r\n\r\n".to_vec());
    pieces
}
