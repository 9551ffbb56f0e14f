//! The upstream of the load run, in its own process: answers whole or as a stream, at once or at a
//! pace.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Events of the usual stream: role, nineteen words, finish, usage with the end marker.
pub const EVENTS: usize = 22;
/// Events where the request asks for a long stream.
pub const LONG_EVENTS: usize = 500;

/// How it answers.
struct Script {
    whole: Vec<u8>,
    stream: Vec<Vec<u8>>,
    long: Vec<Vec<u8>>,
    /// Before a whole answer.
    delay: Option<Duration>,
    /// Between the events of a stream.
    pace: Option<Duration>,
}

/// Serves until killed; prints its address first. Takes `--delay-ms N` and `--event-ms N`.
pub fn run(arguments: &[String]) -> ExitCode {
    let option = |name: &str| {
        let position = arguments.iter().position(|argument| argument == name)?;
        let value = arguments.get(position + 1)?.parse().ok()?;
        Some(Duration::from_millis(value))
    };
    let script: &'static Script = Box::leak(Box::new(Script {
        whole: whole(),
        stream: stream(EVENTS - 3),
        long: stream(LONG_EVENTS - 3),
        delay: option("--delay-ms"),
        pace: option("--event-ms"),
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a port");
        let listener: TcpListener = socket.listen(4_096).expect("a listener");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            #[allow(clippy::disallowed_methods, reason = "ends with the process")]
            tokio::spawn(async move {
                let _peer_left = serve(socket, script).await;
            });
        }
    })
}

async fn serve(mut socket: TcpStream, script: &Script) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(2 * 1024);
    loop {
        let Some((length, answer)) = read(&mut socket, &mut buffer, script).await? else {
            return Ok(());
        };
        buffer.drain(..length);
        let Some(events) = answer else {
            if let Some(delay) = script.delay {
                tokio::time::sleep(delay).await;
            }
            socket.write_all(&script.whole).await?;
            continue;
        };
        for event in events {
            socket.write_all(event).await?;
            match script.pace {
                Some(pace) => tokio::time::sleep(pace).await,
                None => tokio::task::yield_now().await,
            }
        }
    }
}

/// The length of the request at the front of the buffer, and the events that it wants.
async fn read<'s>(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    script: &'s Script,
) -> std::io::Result<Option<(usize, Option<&'s [Vec<u8>]>)>> {
    let mut expected = None;
    loop {
        if expected.is_none() {
            expected = memchr::memmem::find(buffer, b"\r\n\r\n")
                .map(|head| head + 4 + content_length(&buffer[..head]));
        }
        if let Some(end) = expected
            && buffer.len() >= end
        {
            let says = |text: &[u8]| memchr::memmem::find(&buffer[..end], text).is_some();
            let events = match (
                says(b"\"stream\":true") || says(b"\"stream\": true"),
                says(b"\"max_tokens\":500") || says(b"\"max_tokens\": 500"),
            ) {
                (false, _) => None,
                (true, false) => Some(script.stream.as_slice()),
                (true, true) => Some(script.long.as_slice()),
            };
            return Ok(Some((end, events)));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    text.lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0)
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

/// The role, this many words, the finish and the usage, framed as chunks.
fn stream(words: usize) -> Vec<Vec<u8>> {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut events = vec![chunk("{\"role\":\"assistant\",\"content\":\"\"}", "null")];
    events.extend((0..words).map(|_| chunk("{\"content\":\" word\"}", "null")));
    events.push(chunk("{}", "\"stop\""));
    events.push(format!("data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{{\"prompt_tokens\":230,\"completion_tokens\":{words},\"total_tokens\":{}}}}}\n\ndata: [DONE]\n\n", 230 + words));
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
