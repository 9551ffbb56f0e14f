//! A coding agent's conversation, request by request: with its model while the prompt cache pays, with
//! another when it does not, and never torn in the middle of a chain of tool calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Proxy, Reply, Script, Upstream};

/// What the agent's instructions and files come to: long enough that providers keep it.
const PROMPT_TOKENS: u64 = 10_000;
const CALL_ID: &str = "toolu_01A09q90qw90lq917835lq9";
const SIGNATURE: &str = "EqRkSignature";

/// `cheap` is what the matrix prefers; `claude` answers when it is down. Cheap is worse than claude, and
/// ten times as cheap.
struct World {
    cheap: Upstream,
    claude: Upstream,
    cheap_is_down: Arc<AtomicBool>,
    claude_is_down: Arc<AtomicBool>,
    proxy: Proxy,
}

impl World {
    async fn start(provider: &str) -> Self {
        let (cheap_is_down, claude_is_down) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let down = Arc::clone(&cheap_is_down);
        let cheap = Upstream::start(move |request| {
            if down.load(Ordering::Relaxed) {
                return Script::error(503, "overloaded", "come again");
            }
            Script::answer(request, "cheap was here", PROMPT_TOKENS, 10)
        })
        .await;
        let down = Arc::clone(&claude_is_down);
        let claude = Upstream::start(move |request| {
            if down.load(Ordering::Relaxed) {
                return Script::error(503, "overloaded", "come again");
            }
            Script::json(200, &claude_says(&request.json()))
        })
        .await;
        let proxy = Proxy::start(&format!(
            r#"
version: 1
state: {{ store: memory }}
auth: {{ mode: open }}
select: {{ objective: {{ quality: 1.0, cost: 0.3, latency: 0.0 }} }}
providers:
  mill: {{ dialect: openai_chat, base_url: "{}" }}
  anthropic: {{ dialect: anthropic_messages, base_url: "http://{}", {provider} }}
models:
  cheap: {{ provider: mill, upstream_model: mistral-large, price: {{ input: 1, cached_input: 0.5, output: 3 }}, context_tokens: 128000, max_output_tokens: 4096, quality: 0.7, supports: [tools, vision] }}
  claude: {{ provider: anthropic, upstream_model: claude-sonnet-4-5, price: {{ input: 10, cached_input: 1, cache_write: 12.5, output: 30 }}, context_tokens: 128000, max_output_tokens: 4096, quality: 0.9, supports: [tools, vision] }}
  ear: {{ provider: mill, upstream_model: voxtral, price: {{ input: 1, output: 3 }}, context_tokens: 128000, max_output_tokens: 4096, quality: 0.5, supports: [tools, audio] }}
matrix:
  default: {{ simple: [cheap, claude], complex: [cheap, claude], critical: [cheap, claude] }}
cache: {{ exact: {{ ttl_seconds: 0 }} }}
"#,
            cheap.base_url(),
            claude.address,
        ))
        .await;
        Self {
            cheap,
            claude,
            cheap_is_down,
            claude_is_down,
            proxy,
        }
    }

    fn asked(upstream: &Upstream) -> String {
        let received = upstream.received();
        received.last().expect("a request").json().to_string()
    }

    /// What came of weighing, as the decision's record has it.
    async fn verdict(&self, reply: &Reply) -> Value {
        let record = self.proxy.record(&reply.request_id()).await;
        let decision = record.decision.expect("a decision");
        let decision: Value = serde_json::from_str(decision.get()).expect("JSON");
        decision["session"]["verdict"].clone()
    }
}

/// A thought and a tool call, until the tool has answered.
fn claude_says(asked: &Value) -> Value {
    let last = asked["messages"].as_array().and_then(|all| all.last());
    let has_result = last.is_some_and(|last| last.to_string().contains("tool_result"));
    let asks_again = last.is_some_and(|last| last.to_string().contains("thanks"));
    let thought = json!({"type": "thinking", "thinking": "I must look.", "signature": SIGNATURE});
    let content = if has_result || asks_again {
        json!([{"type": "text", "text": "claude was here"}])
    } else {
        json!([thought, {"type": "tool_use", "id": CALL_ID, "name": "read_file", "input": {"path": "a.rs"}}])
    };
    let stop = if has_result || asks_again {
        "end_turn"
    } else {
        "tool_use"
    };
    json!({
        "id": "msg_9", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 100, "cache_read_input_tokens": PROMPT_TOKENS - 100, "cache_creation_input_tokens": 0, "output_tokens": 20},
    })
}

/// An agent that keeps its conversation itself, as agents do.
struct Agent {
    client: Client,
    messages: Vec<Value>,
}

impl Agent {
    fn new(client: Client) -> Self {
        let files = "fn main() { println!(\"what an agent has read\"); }\n".repeat(800);
        let instructions =
            json!({"role": "system", "content": format!("You change code.\n{files}")});
        Self {
            client,
            messages: vec![instructions],
        }
    }

    /// Sends the conversation with one more message, and keeps the answer as it came.
    async fn say(&mut self, message: Value) -> Reply {
        self.messages.push(message);
        let tool = json!({"type": "function", "function": {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}});
        let asked = json!({"model": "auto", "messages": self.messages, "tools": [tool], "max_tokens": 16, "reasoning_effort": "low"});
        let reply = self.client.chat(&asked).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let said = reply.json()["choices"][0]["message"].clone();
        self.messages.push(said);
        reply
    }

    fn result() -> Value {
        json!({"role": "tool", "tool_call_id": CALL_ID, "content": "fn a() {}"})
    }

    fn question(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }
}

/// Up to the answer of the first chain, at claude because cheap was down when it began.
async fn first_chain(world: &World) -> Agent {
    let mut agent = Agent::new(world.proxy.client());
    world.cheap_is_down.store(true, Ordering::Relaxed);
    let reply = agent.say(Agent::question("Fix a.rs.")).await;
    world.cheap_is_down.store(false, Ordering::Relaxed);
    assert_eq!(reply.header("x-tollgate-model"), "claude");
    assert_eq!(reply.header("x-tollgate-reason"), "fallback");
    let calls_before = world.cheap.calls();

    let reply = agent.say(Agent::result()).await;
    assert_eq!(
        reply.header("x-tollgate-model"),
        "claude",
        "cheap is up again"
    );
    assert_eq!(reply.header("x-tollgate-reason"), "session");
    assert_eq!(world.verdict(&reply).await, "chain");
    let asked = World::asked(&world.claude);
    for proof in [SIGNATURE, CALL_ID, "I must look.", "fn a() {}"] {
        assert!(asked.contains(proof), "no {proof} in {asked}");
    }
    assert_eq!(world.cheap.calls(), calls_before);
    agent
}

#[tokio::test]
async fn a_conversation_stays_while_its_cache_is_warm() {
    let world = World::start("prompt_cache_seconds: 300").await;
    let mut agent = first_chain(&world).await;
    for question in ["thanks, what else?", "thanks, and now?"] {
        let reply = agent.say(Agent::question(question)).await;
        assert_eq!(reply.header("x-tollgate-model"), "claude");
        assert_eq!(reply.header("x-tollgate-reason"), "session");
        assert_eq!(world.verdict(&reply).await, "stays");
    }
    // Somebody else's conversation goes where the matrix says.
    let mut other = Agent::new(world.proxy.client());
    let reply = other.say(Agent::question("Explain b.rs.")).await;
    assert_eq!(reply.header("x-tollgate-model"), "cheap");
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_conversation_goes_when_its_cache_is_cold_and_stays_there() {
    let world = World::start("prompt_cache_seconds: 0").await;
    let mut agent = first_chain(&world).await;
    let reply = agent.say(Agent::question("thanks, what else?")).await;
    assert_eq!(reply.header("x-tollgate-model"), "cheap");
    assert_eq!(reply.header("x-tollgate-reason"), "matrix");
    assert_eq!(world.verdict(&reply).await, "goes");
    let told = reply.header("x-tollgate-translation");
    assert!(told.contains("reasoning"), "{told}");
    let asked = World::asked(&world.cheap);
    assert!(
        !asked.contains(SIGNATURE) && !asked.contains("tollgate:"),
        "{asked}"
    );
    assert_eq!(
        asked.matches(CALL_ID).count(),
        2,
        "the call and its result: {asked}"
    );
    let reply = agent.say(Agent::question("thanks, and now?")).await;
    assert_eq!(reply.header("x-tollgate-model"), "cheap");
    assert_eq!(world.verdict(&reply).await, "agrees");
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_chain_whose_model_fails_goes_on_without_what_only_it_can_read() {
    let world = World::start("prompt_cache_seconds: 300").await;
    let mut agent = Agent::new(world.proxy.client());
    world.cheap_is_down.store(true, Ordering::Relaxed);
    agent.say(Agent::question("Fix a.rs.")).await;
    world.cheap_is_down.store(false, Ordering::Relaxed);
    world.claude_is_down.store(true, Ordering::Relaxed);
    let reply = agent.say(Agent::result()).await;
    assert_eq!(reply.header("x-tollgate-model"), "cheap");
    assert_eq!(reply.header("x-tollgate-reason"), "fallback");
    assert_eq!(world.verdict(&reply).await, "chain", "it was tried first");
    let told = reply.header("x-tollgate-translation");
    assert!(told.contains("reasoning"), "{told}");
    let asked = World::asked(&world.cheap);
    assert!(
        !asked.contains(SIGNATURE) && !asked.contains("tollgate:"),
        "{asked}"
    );
    assert_eq!(asked.matches(CALL_ID).count(), 2, "{asked}");
    // Back again: what cheap said in between is no reason to lose what claude had thought itself.
    world.claude_is_down.store(false, Ordering::Relaxed);
    let reply = agent.say(Agent::question("thanks, what else?")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_need_that_no_candidate_meets_is_answered_with_who_would() {
    let world = World::start("prompt_cache_seconds: 300").await;
    let client = world.proxy.client();
    let sound =
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}});
    let asked = json!({"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, sound]}]});
    let refused = client.chat(&asked).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("these would: `ear`"), "{message}");
    let (cheap, claude) = (world.cheap.calls(), world.claude.calls());
    assert_eq!((cheap, claude), (0, 0));
    world.proxy.stop().await;
}
