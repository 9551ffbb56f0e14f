//! `store` and `previous_response_id`: a conversation goes on from what was kept, at another provider and
//! in another dialect, for whom it belongs to and nobody else.

mod bounds;
mod thoughts;

use serde_json::{Value, json};

use crate::dialects::upstreams::{Scene, TEXT, UPSTREAMS, answer};
use crate::harness::redis_server::Redis;
use crate::harness::{Client, Proxy, Reply, Upstream};

/// One upstream of each dialect, and a proxy with a model at each, named as its dialect.
struct World {
    upstreams: Vec<(&'static str, Upstream)>,
    proxy: Proxy,
}

/// The SHA-256 of `foo` and `bar`, in two teams.
const KEYS: &str = "\
auth: { mode: keys }
teams: { one: {}, two: {} }
keys:
  - { id: k1, team: one, sha256: \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\" }
  - { id: k2, team: two, sha256: \"fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9\" }
";
/// The smallest of images.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC";
const OPEN: &str = "auth: { mode: open }\n";

impl World {
    async fn start(scene: Scene, more: &str) -> Self {
        let mut upstreams = Vec::new();
        for &dialect in UPSTREAMS {
            let upstream = Upstream::start(move |request| answer(dialect, scene, request)).await;
            upstreams.push((dialect, upstream));
        }
        let proxy = Proxy::start(&config(&upstreams, more)).await;
        Self { upstreams, proxy }
    }

    fn upstream(&self, dialect: &str) -> &Upstream {
        let found = self.upstreams.iter().find(|(name, _)| *name == dialect);
        &found.expect("a dialect").1
    }

    /// What the upstream of a dialect was asked last.
    fn asked_last(&self, dialect: &str) -> Value {
        let received = self.upstream(dialect).received();
        received.last().expect("a request").json()
    }
}

fn config(upstreams: &[(&'static str, Upstream)], more: &str) -> String {
    use std::fmt::Write as _;
    let (mut providers, mut models) = (String::new(), String::new());
    for (dialect, upstream) in upstreams {
        let base = match *dialect {
            "anthropic_messages" | "bedrock_converse" => format!("http://{}", upstream.address),
            "gemini_generate" => format!("http://{}/v1beta", upstream.address),
            _ => upstream.base_url(),
        };
        writeln!(
            providers,
            "  {dialect}: {{ dialect: {dialect}, base_url: \"{base}\" }}"
        )
        .expect("written");
        writeln!(models, "  {dialect}: {{ provider: {dialect}, upstream_model: gpt-5, price: {{ input: 1.0, output: 10.0 }}, context_tokens: 128000, max_output_tokens: 4096 }}").expect("written");
    }
    let state = if more.contains("state:") {
        ""
    } else {
        "state: { store: memory }\n"
    };
    format!(
        "version: 1\n{state}{more}providers:\n{providers}models:\n{models}matrix: {{ default: {{ simple: [openai_chat], complex: [openai_chat], critical: [openai_chat] }} }}\n"
    )
}

async fn say(client: &Client, body: Value) -> Reply {
    client.post("/v1/responses", &body).await
}

/// The response that an answer shows, whole or at its stream's end.
fn response(reply: &Reply, stream: bool) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    if !stream {
        return reply.json();
    }
    let events = reply.events();
    let last: Value = serde_json::from_str(events.last().expect("events")).expect("JSON");
    assert_eq!(last["type"], "response.completed", "{}", reply.text());
    let first: Value = serde_json::from_str(&events[0]).expect("JSON");
    assert_eq!(first["response"]["id"], last["response"]["id"]);
    last["response"].clone()
}

fn id_of(response: &Value) -> String {
    let id = response["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("resp_"), "{id}");
    id
}

#[tokio::test]
async fn a_conversation_goes_on_at_every_other_provider() {
    let world = World::start(Scene::Text, OPEN).await;
    let client = world.proxy.client();
    for &first in UPSTREAMS {
        for &second in UPSTREAMS {
            for stream in [false, true] {
                let place = format!("{first} → {second} stream={stream}");
                let one = json!({"model": first, "input": "My name is Ada.", "stream": stream, "instructions": "Once only."});
                let one = response(&say(&client, one).await, stream);
                assert_eq!(one["store"], true, "{place}");
                assert_eq!(one["previous_response_id"], Value::Null, "{place}");
                let two = json!({"model": second, "input": "What is my name?", "stream": stream,
                    "previous_response_id": id_of(&one)});
                let reply = say(&client, two).await;
                let two = response(&reply, stream);
                assert_eq!(two["previous_response_id"], one["id"], "{place}");
                assert_ne!(two["id"], one["id"], "{place}");
                let asked = world.asked_last(second);
                let text = asked.to_string();
                let said = ["My name is Ada.", "Hello, wörld", "What is my name?"];
                let places: Vec<Option<usize>> = said.iter().map(|it| text.find(it)).collect();
                assert!(places.iter().all(Option::is_some), "{place}: {asked}");
                assert!(places.is_sorted(), "{place}: {asked}");
                // As documented: instructions are not carried over.
                assert!(!text.contains("Once only."), "{place}: {asked}");
                assert!(!text.contains("resp_"), "{place}: {asked}");
                if second == "openai_responses" {
                    assert_eq!(asked["store"], false, "{place}");
                }
            }
        }
    }
    let kept = [("result", "kept")];
    let kept = world.proxy.metric("tollgate_responses_kept_total", &kept);
    // Five dialects, both ways, whole and streamed, two answers each.
    assert!((kept - 100.0).abs() < 0.5, "{kept}");
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_tool_call_about_an_image_is_answered_at_another_provider() {
    let world = World::start(Scene::ToolCall, OPEN).await;
    let client = world.proxy.client();
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": false}]);
    for &first in UPSTREAMS {
        for &second in UPSTREAMS {
            let place = format!("{first} → {second}");
            let asked = json!([{"role": "user", "content": [
                {"type": "input_text", "text": "Weather?"},
                {"type": "input_image", "image_url": format!("data:image/png;base64,{PNG}")}]}]);
            let one = json!({"model": first, "input": asked, "tools": tools});
            let one = response(&say(&client, one).await, false);
            let call = &one["output"].as_array().expect("items")[0];
            let result = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny-42"}]);
            let two = json!({"model": second, "input": result, "tools": tools, "previous_response_id": id_of(&one)});
            response(&say(&client, two).await, false);
            let asked = world.asked_last(second).to_string();
            for said in ["Weather?", PNG, "get_weather", "Málaga", "sunny-42"] {
                assert!(asked.contains(said), "{place}: no {said} in {asked}");
            }
        }
    }
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_kept_response_is_shown_listed_and_deleted() {
    let world = World::start(Scene::Text, OPEN).await;
    let client = world.proxy.client();
    for stream in [false, true] {
        let one = json!({"model": "anthropic_messages", "input": "Hi", "stream": stream});
        let one = response(&say(&client, one).await, stream);
        let two = json!({"model": "openai_chat", "input": [{"role": "user", "content": "More"}], "stream": stream,
            "previous_response_id": id_of(&one)});
        let two = response(&say(&client, two).await, stream);
        let path = format!("/v1/responses/{}", id_of(&two));
        let shown = client.get(&path).await;
        assert_eq!(shown.json(), two);
        let replayed = client.get(&format!("{path}?stream=true")).await;
        assert!(
            replayed
                .header("content-type")
                .starts_with("text/event-stream")
        );
        assert_eq!(response(&replayed, true), two);
        let all = replayed.events().len();
        let rest = client
            .get(&format!("{path}?stream=true&starting_after=1"))
            .await;
        assert_eq!(rest.events().len(), all - 2);
        let items = client.get(&format!("{path}/input_items?order=asc")).await;
        let items = items.json();
        let said: Vec<&str> = items["data"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| item["content"][0]["text"].as_str())
            .collect();
        assert_eq!(said, ["Hi", TEXT, "More"], "{items}");
        assert_eq!(items["has_more"], false);
        let gone = client.send("DELETE", &path, "").await;
        assert_eq!(
            gone.json(),
            json!({"id": two["id"], "object": "response", "deleted": true})
        );
        assert_eq!(client.get(&path).await.status, 404);
        assert_eq!(client.send("DELETE", &path, "").await.status, 404);
        // What went before it is there still.
        let path = format!("/v1/responses/{}", id_of(&one));
        assert_eq!(client.get(&path).await.status, 200);
    }
    world.proxy.stop().await;
}

#[tokio::test]
async fn what_another_teams_key_made_is_not_found() {
    let world = World::start(Scene::Text, KEYS).await;
    let mine = world.proxy.client().with("authorization", "Bearer foo");
    let theirs = world.proxy.client().with("authorization", "Bearer bar");
    let one = response(
        &say(&mine, json!({"model": "openai_chat", "input": "Secret"})).await,
        false,
    );
    let path = format!("/v1/responses/{}", id_of(&one));
    for path in [path.clone(), format!("{path}/input_items")] {
        assert_eq!(theirs.get(&path).await.status, 404);
        assert_eq!(world.proxy.client().get(&path).await.status, 401);
    }
    assert_eq!(theirs.send("DELETE", &path, "").await.status, 404);
    // Nor by another way to write its name, or the request's.
    let id = id_of(&one);
    let request = id.replace("resp_", "req_");
    for other in [
        format!("/v1/responses/{id}?stream=true"),
        format!("/v1/responses/{id}/"),
        format!("/v1/responses/{id}/input_items?limit=100&after={id}"),
        format!("/v1/responses/%72esp_{}", &id[5..]),
        format!("/v1/responses/{}", id.to_uppercase()),
        format!("/v1/responses/{request}"),
        format!("/v1/responses/../responses/{id}"),
        format!("/v1/responses//{id}"),
    ] {
        let refused = theirs.get(&other).await;
        assert!(
            (400..=405).contains(&refused.status),
            "{other}: {}",
            refused.text()
        );
        assert!(!refused.text().contains("wörld"), "{other}");
    }
    let next = json!({"model": "openai_chat", "input": "Go on", "previous_response_id": one["id"]});
    let refused = say(&theirs, next).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["error"]["code"],
        "previous_response_not_found"
    );
    assert_eq!(refused.json()["error"]["param"], "previous_response_id");
    let reference = json!({"model": "openai_chat", "input": [{"type": "item_reference", "id": one["output"][0]["id"]}]});
    assert_eq!(say(&theirs, reference.clone()).await.status, 400);
    assert_eq!(say(&mine, reference).await.status, 200);
    assert!(
        world
            .asked_last("openai_chat")
            .to_string()
            .contains("Hello, wörld")
    );
    assert_eq!(mine.get(&path).await.status, 200);
    world.proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_not() {
    let world = World::start(Scene::Text, OPEN).await;
    let client = world.proxy.client();
    let asked = json!({"model": "openai_responses", "input": "Hi", "store": false});
    let one = response(&say(&client, asked).await, false);
    assert_eq!(one["store"], false);
    let no_store = world.proxy.client().with("cache-control", "no-store");
    let two = json!({"model": "openai_responses", "input": "Hi"});
    let two = response(&say(&no_store, two).await, false);
    assert_eq!(two["store"], false);
    for response in [one, two] {
        let path = format!("/v1/responses/{}", id_of(&response));
        assert_eq!(client.get(&path).await.status, 404);
    }
    for (member, value) in [
        ("background", json!(true)),
        ("conversation", json!("conv_1")),
    ] {
        let mut asked = json!({"model": "openai_responses", "input": "Hi"});
        asked[member] = value;
        let refused = say(&client, asked).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["error"]["param"], member);
    }
    let refused = client.send("POST", "/v1/responses/resp_1/cancel", "").await;
    assert_eq!(refused.status, 400);
    world.proxy.stop().await;
}

#[tokio::test]
async fn nothing_is_kept_where_the_file_says_so() {
    let more = "state: { store: memory, responses: { store: false } }\nauth: { mode: open }\n";
    let world = World::start(Scene::Text, more).await;
    let client = world.proxy.client();
    let one = json!({"model": "openai_responses", "input": "Hi", "store": true});
    let one = response(&say(&client, one).await, false);
    assert_eq!(one["store"], false);
    assert_eq!(world.asked_last("openai_responses")["store"], false);
    let next =
        json!({"model": "openai_responses", "input": "Hi", "previous_response_id": one["id"]});
    let refused = say(&client, next).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("state.responses.store"),
        "{}",
        refused.text()
    );
    world.proxy.stop().await;
}

#[tokio::test]
async fn an_answer_from_the_cache_is_a_response_of_its_own() {
    let more = "auth: { mode: open }\ncache: { exact: { ttl_seconds: 60 } }\n";
    let world = World::start(Scene::Text, more).await;
    let client = world.proxy.client();
    for stream in [false, true] {
        let asked =
            json!({"model": "openai_chat", "input": format!("Hi {stream}"), "stream": stream});
        let mut ids = Vec::new();
        for expect in ["miss", "hit-exact"] {
            let reply = say(&client, asked.clone()).await;
            assert_eq!(reply.header("x-tollgate-cache"), expect);
            let shown = response(&reply, stream);
            let id = id_of(&shown);
            let kept = client.get(&format!("/v1/responses/{id}")).await;
            assert_eq!(kept.status, 200, "{expect} stream={stream}");
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1]);
    }
    // What an idempotency key is answered with again is the same response.
    let again = world.proxy.client().with("idempotency-key", "k-1");
    let asked = json!({"model": "anthropic_messages", "input": "Once"});
    let first = response(&say(&again, asked.clone()).await, false);
    let reply = say(&again, asked).await;
    assert_eq!(reply.header("idempotent-replayed"), "true");
    assert_eq!(reply.json()["id"], first["id"]);
    world.proxy.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = format!(
        "state: {{ store: \"sqlite:{}\" }}\nauth: {{ mode: open }}\n",
        folder.path().join("t.db").display()
    );
    let world = World::start(Scene::Text, &more).await;
    let one = json!({"model": "openai_chat", "input": "Hi"});
    let one = response(&say(&world.proxy.client(), one).await, false);
    let World { upstreams, proxy } = world;
    proxy.stop().await;
    assert!(folder.path().join("t.responses.db").exists());
    let proxy = Proxy::start(&config(&upstreams, &more)).await;
    let kept = proxy
        .client()
        .get(&format!("/v1/responses/{}", id_of(&one)))
        .await;
    assert_eq!(kept.json(), one);
    proxy.stop().await;
}

#[tokio::test]
async fn a_replica_goes_on_with_anothers_conversation() {
    let Some(redis) = Redis::start() else { return };
    let more = format!(
        "state: {{ store: \"{}\", ledger: memory }}\nauth: {{ mode: open }}\n",
        redis.address()
    );
    let world = World::start(Scene::Text, &more).await;
    let other = Proxy::start(&config(&world.upstreams, &more)).await;
    let one = json!({"model": "openai_chat", "input": "My name is Ada."});
    let one = response(&say(&world.proxy.client(), one).await, false);
    let kept = world.proxy.gateway.responses.clone().expect("kept");
    kept.flush().await.expect("written");
    let two =
        json!({"model": "gemini_generate", "input": "And?", "previous_response_id": one["id"]});
    let two = response(&say(&other.client(), two).await, false);
    assert!(
        world
            .asked_last("gemini_generate")
            .to_string()
            .contains("My name is Ada.")
    );
    let path = format!("/v1/responses/{}", id_of(&one));
    assert_eq!(other.client().get(&path).await.json(), one);
    let reference = json!({"model": "openai_chat", "input": [{"type": "item_reference", "id": one["output"][0]["id"]}]});
    assert_eq!(say(&other.client(), reference).await.status, 200);
    let gone = other.client().send("DELETE", &path, "").await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(world.proxy.client().get(&path).await.status, 404);
    // The store goes away: answers go on, and who asks for what was kept is told to come again.
    let mut redis = redis;
    redis.stop();
    let next = json!({"model": "openai_chat", "input": "And?", "previous_response_id": two["id"]});
    let refused = say(&world.proxy.client(), next).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), "true");
    let three = json!({"model": "openai_chat", "input": "Still there?"});
    let three = response(&say(&world.proxy.client(), three).await, false);
    let path = format!("/v1/responses/{}", id_of(&three));
    assert_eq!(world.proxy.client().get(&path).await.status, 200);
    drop(other);
    drop(world);
}
