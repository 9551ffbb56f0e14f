//! `tollgate demo`: the proxy on simulated providers, a dozen varied prompts through it over real
//! HTTP, what each was routed to and why, and the bill.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bootstrap::{self, Options};
use crate::clock::Clock;
use crate::config;
use crate::gateway::Gateway;
use crate::stores::{SpendBy, TimeRange};
use crate::types::PicoUsd;

use super::serve::{Running, bind, stop_signal};
use super::{DemoArgs, EXIT_FAILED, EXIT_OK, complain};

/// What is sent: a label for people and the request.
fn prompts() -> Vec<Value> {
    let plain =
        |text: &str| json!({"model": "auto", "messages": [{"role": "user", "content": text}]});
    vec![
        plain("hi! how are you today?"),
        plain("Translate to Spanish: The invoice is due on Friday."),
        plain("Write a Python function that merges two sorted lists."),
        plain(
            "Design and implement a lock-free multi-producer queue in Rust with bounded memory. Prove that it is linearizable, handle the ABA problem, explain every memory ordering, and give a test that would find a lost wake-up.",
        ),
        plain(
            "```python\ndef mean(xs):\n    return sum(xs) / len(xs)\n```\nThis throws ZeroDivisionError on an empty list. Fix it and add a test.",
        ),
        plain(
            "Summarize this in one sentence: The committee met on Tuesday to discuss the budget. After three hours of debate it adopted the proposal with minor amendments and adjourned until March.",
        ),
        plain(
            "A train leaves at 9:40 and arrives at 13:05 after two stops of 12 minutes each. How long was it moving?",
        ),
        plain(
            "Prove that for every prime p > 3, p squared minus 1 is divisible by 24, and generalise the argument to products of consecutive integers step by step.",
        ),
        plain(
            "Is this review positive or negative? \"The battery died after two days and support never answered.\"",
        ),
        plain("Write a short poem about the first rain after a long summer."),
        json!({"model": "auto", "messages": [{"role": "user", "content": "Extract the names and dates as JSON: Ana Ruiz signed on 3 May 2026, Jon Vega on 9 June 2026."}],
               "response_format": {"type": "json_object"}}),
        json!({"model": "auto", "stream": true, "messages": [{"role": "user", "content": "Resume en tres puntos por qué conviene separar los entornos de prueba y de producción."}]}),
        plain("hi! how are you today?"),
    ]
}

/// Runs the demonstration.
pub fn run(args: &DemoArgs, out: &mut dyn Write) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start the runtime: {error}"), EXIT_FAILED),
    };
    let ended = runtime.block_on(demonstrate(args, out));
    match ended {
        Ok(()) => EXIT_OK,
        Err(message) => complain(&message, EXIT_FAILED),
    }
}

async fn demonstrate(args: &DemoArgs, out: &mut dyn Write) -> Result<(), String> {
    let clock = Clock::system();
    let snapshot = config::builtin::built_in(clock.unix_ms()).map_err(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    let data = listener(args.listen.as_ref(), &snapshot.server.listen)?;
    let admin = listener(args.admin_listen.as_ref(), &snapshot.server.admin_listen)?;
    let addresses = (address(&data)?, address(&admin)?);
    // The same seed every time: the demonstration tells the same story.
    let gateway = bootstrap::gateway(snapshot, Options { clock, seed: 1 })
        .map_err(|error| error.to_string())?;
    let running = Running::start(Arc::clone(&gateway), data, admin, None)?;
    let rows = send_all(addresses.0, &prompts()).await?;
    let (headers_sum, answered) = print_requests(out, &rows).map_err(|error| error.to_string())?;
    gateway
        .ledger
        .flush()
        .await
        .map_err(|error| error.to_string())?;
    print_bill(out, &gateway, headers_sum).map_err(|error| error.to_string())?;
    print_addresses(out, addresses).map_err(|error| error.to_string())?;
    if answered < rows.len() {
        running.stop().await;
        return Err(format!(
            "{} of {} requests were not answered",
            rows.len() - answered,
            rows.len()
        ));
    }
    if !args.once {
        writeln!(out, "Serving until Ctrl-C.").map_err(|error| error.to_string())?;
        stop_signal().await;
    }
    running.stop().await;
    Ok(())
}

/// The address that was named; else the configured one, or any free port when that is taken.
fn listener(named: Option<&String>, configured: &str) -> Result<TcpListener, String> {
    match named {
        Some(address) => bind(address),
        None => bind(configured).or_else(|_| bind("127.0.0.1:0")),
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| error.to_string())
}

/// One request's outcome as its client saw it.
struct Row {
    prompt: String,
    status: u16,
    headers: http::HeaderMap,
    cost: Option<PicoUsd>,
    took: Duration,
}

impl Row {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("-")
    }
}

async fn send_all(address: SocketAddr, prompts: &[Value]) -> Result<Vec<Row>, String> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let bar = ProgressBar::new(prompts.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let mut rows = Vec::with_capacity(prompts.len());
    for body in prompts {
        let prompt = body["messages"][0]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        bar.set_message(short(&prompt, 40));
        let started = Instant::now();
        let request = http::Request::post(format!("http://{address}/v1/chat/completions"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(with_usage(body).to_string())))
            .map_err(|error| error.to_string())?;
        let response = client
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (head, answer) = response.into_parts();
        let answer = answer
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        rows.push(Row {
            prompt,
            status: head.status.as_u16(),
            cost: cost_of(&head.headers, &answer),
            headers: head.headers,
            took: started.elapsed(),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// Streams are asked for their usage, which carries the cost.
fn with_usage(body: &Value) -> Value {
    let mut body = body.clone();
    if body["stream"] == json!(true) {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

/// From the header of a whole answer, or the usage chunk of a stream.
fn cost_of(headers: &http::HeaderMap, answer: &[u8]) -> Option<PicoUsd> {
    if let Some(cost) = headers.get("x-tollgate-cost-usd") {
        return PicoUsd::parse_usd(cost.to_str().ok()?).ok();
    }
    let text = std::str::from_utf8(answer).ok()?;
    let (_, after) = text.rsplit_once("\"cost\":")?;
    let end = after.find(['}', ','])?;
    PicoUsd::parse_usd(after[..end].trim()).ok()
}

fn print_requests(out: &mut dyn Write, rows: &[Row]) -> std::io::Result<(PicoUsd, usize)> {
    let paint = Paint::new();
    writeln!(
        out,
        "\n{}",
        paint.bold(&format!(
            "{:<34} {:<16} {:<9} {:<20} {:<9} {:>13} {:>8}",
            "prompt", "task", "level", "model", "reason", "cost USD", "ms"
        ))
    )?;
    let (mut sum, mut answered) = (PicoUsd::ZERO, 0);
    for row in rows {
        let cost = row.cost.unwrap_or_default();
        sum += cost;
        answered += usize::from(row.status == 200 && row.cost.is_some());
        writeln!(
            out,
            "{:<34} {:<16} {:<9} {:<20} {:<9} {:>13} {:>8}",
            short(&row.prompt, 33),
            row.header("x-tollgate-task"),
            row.header("x-tollgate-level"),
            row.header("x-tollgate-model"),
            row.header("x-tollgate-reason"),
            row.cost
                .map_or_else(|| format!("status {}", row.status), |cost| cost.to_string()),
            row.took.as_millis(),
        )?;
    }
    Ok((sum, answered))
}

fn print_bill(out: &mut dyn Write, gateway: &Gateway, headers_sum: PicoUsd) -> std::io::Result<()> {
    let paint = Paint::new();
    let by = |by| {
        gateway
            .ledger
            .spend_by(by, TimeRange::since(0))
            .map_err(std::io::Error::other)
    };
    let (teams, models) = (by(SpendBy::Team)?, by(SpendBy::Model)?);
    let total: PicoUsd = models.iter().map(|row| row.cost).sum();
    for (title, rows) in [("team", teams), ("model", models)] {
        writeln!(
            out,
            "\n{}",
            paint.bold(&format!("{title:<24} {:>8} {:>15}", "requests", "cost USD"))
        )?;
        for row in rows {
            writeln!(
                out,
                "{:<24} {:>8} {:>15}  {}",
                row.name,
                row.requests,
                row.cost.to_string(),
                bar_of(row.cost, total)
            )?;
        }
    }
    let verdict = if headers_sum == total {
        "the answers' own costs add up to the same"
    } else {
        "DIFFERS from the answers' own costs"
    };
    writeln!(
        out,
        "{:<24} {:>8} {:>15}  {verdict}",
        "total",
        "",
        total.to_string()
    )?;
    if headers_sum == total {
        Ok(())
    } else {
        Err(std::io::Error::other(format!(
            "the ledger has {total} USD, the answers say {headers_sum} USD"
        )))
    }
}

fn print_addresses(
    out: &mut dyn Write,
    (data, admin): (SocketAddr, SocketAddr),
) -> std::io::Result<()> {
    writeln!(
        out,
        "\nThe providers are simulated: nothing was spent, and no model was asked."
    )?;
    writeln!(
        out,
        "API        http://{data}/v1      (any key, model \"auto\")"
    )?;
    writeln!(out, "Dashboard  http://{admin}/")
}

fn bar_of(part: PicoUsd, whole: PicoUsd) -> String {
    const WIDTH: i128 = 24;
    let filled = if whole.is_positive() {
        part.pico() * WIDTH / whole.pico()
    } else {
        0
    };
    "█".repeat(usize::try_from(filled).unwrap_or(0))
}

fn short(text: &str, width: usize) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= width {
        line
    } else {
        line.chars().take(width - 1).chain(['…']).collect()
    }
}

/// Bold on a terminal only.
struct Paint {
    on: bool,
}

impl Paint {
    fn new() -> Self {
        Self {
            on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.on {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
