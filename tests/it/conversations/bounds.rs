//! What is not kept, and how long and how much of the rest is: streams without an end, and the bounds of a
//! shared store.

use http_body_util::BodyExt as _;
use serde_json::json;

use super::{OPEN, World, config, id_of, response, say};
use crate::dialects::upstreams::Scene;
use crate::harness::redis_server::Redis;
use crate::harness::{Proxy, Script, Step, Upstream};

#[tokio::test]
async fn a_stream_that_its_client_leaves_is_not_kept() {
    let upstream = Upstream::start(|_| {
        let created = json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_9",
            "object": "response", "created_at": 1, "status": "in_progress", "model": "up-1", "output": []}});
        let event = format!("event: response.created\ndata: {created}\n\n");
        Script::steps(vec![Step::Chunk(event.into_bytes()), Step::Stall])
    })
    .await;
    let proxy = Proxy::start(
        &config(&[("openai_responses", upstream)], OPEN).replace("openai_chat", "openai_responses"),
    )
    .await;
    let client = proxy.client();
    let asked = json!({"model": "openai_responses", "input": "Hi", "stream": true});
    let mut answer = client
        .open("POST", "/v1/responses", asked.to_string())
        .await;
    let first = answer.body_mut().frame().await.expect("a frame");
    let first = first.expect("no error").into_data().expect("data");
    let text = String::from_utf8(first.to_vec()).expect("text");
    let data = text.split_once("data: ").expect("data").1;
    let event: serde_json::Value = serde_json::from_str(data.trim()).expect("JSON");
    let id = id_of(&event["response"]);
    assert_eq!(event["response"]["store"], true, "it was to be kept");
    let request = answer.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    drop(answer);
    proxy.record(&request).await;
    assert_eq!(client.get(&format!("/v1/responses/{id}")).await.status, 404);
    let next = json!({"model": "openai_responses", "input": "More", "previous_response_id": id});
    let refused = say(&client, next).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["error"]["code"],
        "previous_response_not_found"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_shared_store_keeps_the_youngest_and_nothing_for_ever() {
    const MOST_BYTES: i64 = 65_536;
    let Some(redis) = Redis::start() else { return };
    let more = format!(
        "state: {{ store: \"{}\", ledger: memory, responses: {{ max_bytes: {MOST_BYTES}, retention_days: 2 }} }}\nauth: {{ mode: open }}\n",
        redis.address()
    );
    let world = World::start(Scene::Text, &more).await;
    let client = world.proxy.client();
    let kept = world.proxy.gateway.responses.clone().expect("kept");
    let mut ids = Vec::new();
    for number in 0..12 {
        let text = format!("{number} ").repeat(4_000);
        let asked = json!({"model": "openai_chat", "input": text});
        ids.push(id_of(&response(&say(&client, asked).await, false)));
        kept.flush().await.expect("written");
    }
    let status = async |id: &String| client.get(&format!("/v1/responses/{id}")).await.status;
    assert_eq!((status(&ids[0]).await, status(&ids[1]).await), (404, 404));
    assert_eq!((status(&ids[10]).await, status(&ids[11]).await), (200, 200));

    let keys = redis.ask("KEYS *response*").expect("keys");
    let keys: Vec<&str> = keys
        .lines()
        .filter(|line| line.contains("response"))
        .collect();
    let number = |answer: String| answer.trim_start_matches([':', '$']).trim().parse::<i64>();
    for key in &keys {
        let left_ms =
            number(redis.ask(&format!("PTTL {key}")).expect("an answer")).expect("a number");
        assert!(
            (1..=2 * 86_400_000).contains(&left_ms),
            "{key}: {left_ms} ms"
        );
    }
    let sum = keys
        .iter()
        .find(|key| key.ends_with("responses-bytes"))
        .expect("a sum");
    let bytes = || {
        let answer = redis.ask(&format!("GET {sum}")).expect("an answer");
        answer
            .lines()
            .nth(1)
            .expect("a value")
            .parse::<i64>()
            .expect("a number")
    };
    assert!(
        (MOST_BYTES / 2..=MOST_BYTES).contains(&bytes()),
        "{}",
        bytes()
    );

    // What Redis lets go by itself is not found, and what is deleted counts no more.
    let hashes = keys.iter().filter(|key| key.contains("response:"));
    for key in hashes {
        redis.ask(&format!("PEXPIRE {key} 0")).expect("an answer");
    }
    assert_eq!(status(&ids[11]).await, 404);
    let asked = json!({"model": "openai_chat", "input": "young"});
    let young = id_of(&response(&say(&client, asked).await, false));
    kept.flush().await.expect("written");
    assert_eq!(status(&young).await, 200);
    let before = bytes();
    let gone = client
        .send("DELETE", &format!("/v1/responses/{young}"), "")
        .await;
    assert_eq!(gone.status, 200);
    assert!(bytes() < before);
    world.proxy.stop().await;
}
