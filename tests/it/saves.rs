//! `routes.yaml` saved two hundred times under two hundred open streams, every tenth save wrong: no
//! stream is cut, no request fails, the last good version is always in force.

use std::fs;

use futures_util::future::join_all;
use http_body_util::BodyExt;
use serde_json::json;

use crate::harness::proxy::{chat, two_models};
use crate::harness::upstream::stream_payloads;
use crate::harness::upstream::usage;
use crate::harness::{Proxy, Script, Step, Upstream};

const STREAMS: usize = 200;
const SAVES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_cut_no_stream_and_a_bad_one_changes_nothing() {
    let upstream = Upstream::start(|request| {
        if !request.wants_stream() {
            return Script::answer(request, "ok", 10, 5);
        }
        let mut steps: Vec<Step> = stream_payloads(request, "one two", &usage(10, 5))
            .iter()
            .map(|payload| Step::Chunk(format!("data: {payload}\n\n").into_bytes()))
            .collect();
        steps.insert(1, Step::Gate);
        Script::steps(steps)
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    let sound = two_models(
        &upstream.base_url(),
        "budgets: [ { name: all, limit_usd: 100, period: total } ]",
    );
    fs::write(&file, &sound).expect("written");
    let proxy = Proxy::start_file(file.clone()).await;
    let (client, admin) = (proxy.client(), proxy.admin_client());

    let mut streamed = chat("small", "hello");
    streamed["stream"] = json!(true);
    let open = |_| client.open("POST", "/v1/chat/completions", streamed.to_string());
    let streams = join_all((0..STREAMS).map(open)).await;
    let first_version = proxy.gateway.active.load().snapshot.version.clone();
    let spent_before = proxy.gateway.budgets.view()[0].spent;

    let mut good = first_version.clone();
    for save in 1..=SAVES {
        let wrong = save % 10 == 0;
        let text = if wrong {
            sound.replace("provider: up", "provider: pu")
        } else {
            format!("{sound}# save {save}\n")
        };
        // Editors rename, scripts write in place: both must do.
        if save % 2 == 0 {
            let fresh = folder.path().join("routes.yaml.new");
            fs::write(&fresh, text).expect("written");
            fs::rename(&fresh, &file).expect("renamed");
        } else {
            fs::write(&file, text).expect("written");
        }
        let reloaded = admin.send("POST", "/reload", "").await;
        assert_eq!(
            reloaded.status,
            if wrong { 422 } else { 200 },
            "{}",
            reloaded.text()
        );
        let now = proxy.gateway.active.load().snapshot.version.clone();
        if wrong {
            assert!(
                reloaded.text().contains("unknown provider"),
                "{}",
                reloaded.text()
            );
            assert_eq!(now, good, "the last good version stays in force");
        } else {
            assert_ne!(now, good);
            good = now;
        }
        let reply = client.chat(&chat("small", "hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(proxy.record(&reply.request_id()).await.config_version, good);
    }

    upstream.open_gate();
    for stream in streams {
        let request_id = stream.headers()["x-request-id"]
            .to_str()
            .expect("text")
            .to_owned();
        assert_eq!(stream.status(), 200);
        let body = stream
            .into_body()
            .collect()
            .await
            .expect("not cut")
            .to_bytes();
        assert!(body.ends_with(b"data: [DONE]\n\n"), "{body:?}");
        assert_eq!(
            proxy.record(&request_id).await.config_version,
            first_version,
            "a stream ends on its own version"
        );
    }
    let spent = proxy.gateway.budgets.view()[0].spent;
    assert!(
        spent > spent_before,
        "budgets went on counting across the reloads"
    );
    assert!(
        (proxy.metric("tollgate_config_last_reload_successful", &[]) - 0.0).abs() < 0.1,
        "the last save was wrong"
    );
    proxy.stop().await;
}
