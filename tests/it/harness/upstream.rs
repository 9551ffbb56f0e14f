//! A scripted upstream on loopback that speaks HTTP/1.1 byte by byte, so that it can misbehave in
//! every way: stall, cut, reset, lie, split events anywhere. It keeps its own bill.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Counted from 0 over the upstream's life.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }

    pub fn wants_stream(&self) -> bool {
        self.json()["stream"] == json!(true)
    }

    pub fn wants_usage(&self) -> bool {
        self.json()["stream_options"]["include_usage"] == json!(true)
    }

    /// The text of the last message.
    pub fn last_text(&self) -> String {
        let body = self.json();
        let last = body["messages"]
            .as_array()
            .and_then(|messages| messages.last().cloned())
            .unwrap_or_default();
        last["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// Bytes of the body, framed as one chunk.
    Chunk(Vec<u8>),
    /// Bytes on the wire as they are, unframed.
    Raw(Vec<u8>),
    /// Wait until the upstream's gate opens.
    Gate,
    /// Wait this long.
    Sleep(Duration),
    /// Never go on (until the peer leaves).
    Stall,
    /// Close without ending the body.
    Cut,
    /// Close with a TCP reset.
    Reset,
}

/// What the upstream does with one request.
#[derive(Debug, Clone)]
pub struct Script {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// Before the head goes out.
    pub before: Vec<Step>,
    /// The body; `None` for `whole`: content-length is used.
    pub steps: Vec<Step>,
    pub whole: Option<Vec<u8>>,
}

impl Script {
    /// A whole JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            before: Vec::new(),
            steps: Vec::new(),
            whole: Some(body.to_string().into_bytes()),
        }
    }

    /// A stream of these `data:` payloads, one chunk each, ending properly.
    pub fn events<S: AsRef<str>>(payloads: &[S]) -> Self {
        let steps = payloads
            .iter()
            .map(|it| Step::Chunk(format!("data: {}\n\n", it.as_ref()).into_bytes()));
        Self::steps(steps.collect())
    }

    /// A stream by steps; ends the body properly unless a step closed the connection.
    pub fn steps(steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            before: Vec::new(),
            steps,
            whole: None,
        }
    }

    /// An error in OpenAI's form.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"error": {"message": message, "type": "error", "param": null, "code": code}}),
        )
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn before(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    /// A plain answer to whatever was asked, whole or streamed as asked, with this usage.
    pub fn answer(
        request: &Received,
        text: &str,
        prompt_tokens: u64,
        completion_tokens: u64,
    ) -> Self {
        let usage = usage(prompt_tokens, completion_tokens);
        if request.wants_stream() {
            return Self::events(&stream_payloads(request, text, &usage));
        }
        Self::json(200, &completion(&request.model(), text, &usage))
    }
}

/// OpenAI's usage object.
pub fn usage(prompt_tokens: u64, completion_tokens: u64) -> Value {
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

/// A chat completion.
pub fn completion(model: &str, text: &str, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
        "usage": usage,
    })
}

/// A chunk with a delta.
pub fn chunk(model: &str, delta: &Value, finish: Option<&str>) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
    })
    .to_string()
}

/// The payloads of a whole stream: role, words, finish, usage if asked, end marker.
pub fn stream_payloads(request: &Received, text: &str, usage: &Value) -> Vec<String> {
    let model = request.model();
    let mut payloads = vec![chunk(
        &model,
        &json!({"role": "assistant", "content": ""}),
        None,
    )];
    for word in text.split_inclusive(' ') {
        payloads.push(chunk(&model, &json!({"content": word}), None));
    }
    payloads.push(chunk(&model, &json!({}), Some("stop")));
    if request.wants_usage() {
        payloads.push(
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [], "usage": usage})
                .to_string(),
        );
    }
    payloads.push("[DONE]".to_owned());
    payloads
}

type Behaviour = Arc<dyn Fn(&Received) -> Script + Send + Sync>;

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    count: AtomicUsize,
    gate: watch::Sender<bool>,
    /// Connections whose peer left while an answer was under way.
    abandoned: watch::Sender<usize>,
}

/// A scripted upstream; ends with the test.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Starts one that does what `behaviour` says for each request.
    pub async fn start(behaviour: impl Fn(&Received) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Arc::new(behaviour)),
            received: Mutex::default(),
            count: AtomicUsize::new(0),
            gate: watch::channel(false).0,
            abandoned: watch::channel(0).0,
        });
        let serving = Arc::clone(&shared);
        #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let _peer_left = connection(socket, shared).await;
                });
            }
        });
        Self { address, shared }
    }

    /// One that answers everything with `text` and a fixed usage of 10 and 5 tokens.
    pub async fn plain(text: &'static str) -> Self {
        Self::start(move |request| Script::answer(request, text, 10, 5)).await
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Changes what it does from now on.
    pub fn behave(&self, behaviour: impl Fn(&Received) -> Script + Send + Sync + 'static) {
        *self.shared.behaviour.lock() = Arc::new(behaviour);
    }

    /// What it has seen so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().clone()
    }

    pub fn calls(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Lets every `Step::Gate` go on.
    pub fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Waits until this many requests have arrived.
    pub async fn wait_for_calls(&self, count: usize) {
        while self.calls() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until this many peers have left in the middle of an answer.
    pub async fn wait_for_abandoned(&self, count: usize) {
        let mut abandoned = self.shared.abandoned.subscribe();
        abandoned
            .wait_for(|left| *left >= count)
            .await
            .expect("the upstream lives");
    }
}

async fn connection(mut socket: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(mut request) = read_request(&mut socket, &mut buffer).await? else {
            return Ok(());
        };
        request.number = shared.count.fetch_add(1, Ordering::SeqCst);
        shared.received.lock().push(request.clone());
        let behaviour = Arc::clone(&shared.behaviour.lock());
        let script = behaviour(&request);
        if !play(&mut socket, &shared, script).await? {
            return Ok(());
        }
    }
}

async fn read_request(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Received>> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut start = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (
        start.next().unwrap_or_default().to_owned(),
        start.next().unwrap_or_default().to_owned(),
    );
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    while buffer.len() < head_end + length {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Ok(Some(Received {
        number: 0,
        method,
        path,
        headers,
        body,
    }))
}

/// Plays a script; false when the connection is over.
async fn play(socket: &mut TcpStream, shared: &Shared, script: Script) -> std::io::Result<bool> {
    for step in script.before {
        if !take_step(socket, shared, step).await? {
            return Ok(false);
        }
    }
    let mut head = format!("HTTP/1.1 {} X\r\n", script.status);
    for (name, value) in &script.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if let Some(whole) = script.whole {
        head.extend(["content-length: ", &whole.len().to_string(), "\r\n\r\n"]);
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&whole);
        socket.write_all(&bytes).await?;
        return Ok(true);
    }
    head.push_str("transfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    for step in script.steps {
        if !take_step(socket, shared, step).await? {
            return Ok(false);
        }
    }
    socket.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}

async fn take_step(socket: &mut TcpStream, shared: &Shared, step: Step) -> std::io::Result<bool> {
    match step {
        Step::Chunk(bytes) => {
            let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
            framed.extend_from_slice(&bytes);
            framed.extend_from_slice(b"\r\n");
            if let Err(error) = socket.write_all(&framed).await {
                shared.abandoned.send_modify(|left| *left += 1);
                return Err(error);
            }
        }
        Step::Raw(bytes) => socket.write_all(&bytes).await?,
        Step::Sleep(pause) => tokio::time::sleep(pause).await,
        Step::Gate => {
            let mut gate = shared.gate.subscribe();
            tokio::select! {
                opened = gate.wait_for(|open| *open) => { let _open = opened.is_ok(); }
                () = peer_left(socket) => {
                    shared.abandoned.send_modify(|left| *left += 1);
                    return Ok(false);
                }
            }
        }
        Step::Stall => {
            peer_left(socket).await;
            shared.abandoned.send_modify(|left| *left += 1);
            return Ok(false);
        }
        Step::Cut => return Ok(false),
        Step::Reset => {
            socket.set_zero_linger()?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Resolves when the peer has closed its side.
async fn peer_left(socket: &TcpStream) {
    let mut byte = [0u8; 1];
    loop {
        match socket.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
