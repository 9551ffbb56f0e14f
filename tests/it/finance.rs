//! What finance is told: savings that agree everywhere, and the dashboard's figures.

use serde_json::Value;
use tollgate::stores::{ReportQuery, TimeRange};
use tollgate::types::PicoUsd;

use crate::harness::proxy::{chat, two_models};
use crate::harness::{Proxy, Upstream};

/// The sum of a family's samples in the text of the metrics.
fn sum_of(metrics: &str, family: &str) -> f64 {
    let samples = metrics.lines().filter(|line| {
        line.strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('{'))
    });
    samples
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn savings_are_signed_and_agree_in_ledger_metrics_and_dashboard() {
    let upstream = Upstream::plain("an answer").await;
    // Everything would have gone to `small`: each answer of `large` counts against us.
    let euros = "currency: { code: EUR, rates: [{ from: 2020-01-01, per_usd: 0.5 }] }";
    let yaml = two_models(&upstream.base_url(), euros)
        .replace("baseline: large", "baseline: small")
        .replace("ttl_seconds: 0", "ttl_seconds: 3600");
    let proxy = Proxy::start(&yaml).await;
    for (model, prompt) in [("large", "one"), ("small", "two"), ("small", "two")] {
        let reply = proxy.client().chat(&chat(model, prompt)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let ledger = proxy.gateway.ledger.reports().expect("a view");
    let query = ReportQuery {
        range: TimeRange::since(0),
        by: Vec::new(),
        at_most: None,
    };
    let total = ledger.report(&query).expect("a report").total;
    assert_eq!(total.baseline_requests, 3, "the cache's answer has one too");
    assert_eq!(total.savings, total.baseline_cost - total.cost);
    assert!(
        total.savings < PicoUsd::ZERO,
        "routing was dearer: {total:?}"
    );

    let metrics = proxy.admin_client().get("/metrics").await.text();
    let saved = sum_of(&metrics, "tollgate_savings_usd_total");
    let extra = sum_of(&metrics, "tollgate_extra_cost_usd_total");
    assert!(
        saved > 0.0 && extra > 0.0,
        "the cache saved, the choice cost"
    );
    let ledger_says = total.savings.as_usd_f64();
    assert!(
        (saved - extra - ledger_says).abs() < 1e-12,
        "{saved} - {extra}"
    );

    let month: Value = proxy
        .admin_client()
        .get("/api/finance?by=model")
        .await
        .json();
    let shown = month["total"]["savings_usd"].as_f64().expect("a number");
    assert!((shown - ledger_says).abs() < 1e-12, "{month}");
    let (usd, euros) = (&month["total"]["cost_usd"], &month["total"]["cost_eur"]);
    let half = usd.as_f64().expect("a number") / 2.0;
    assert!((euros.as_f64().expect("a number") - half).abs() < 1e-12);
    assert_eq!(month["rows"].as_array().expect("rows").len(), 2);

    let insights: Value = proxy.admin_client().get("/api/insights").await.json();
    assert_eq!(insights["patterns"].as_array().expect("patterns").len(), 1);
    let wrong = proxy.admin_client().get("/api/finance?by=modle").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert!(wrong.text().contains("did you mean `model`?"));
    proxy.stop().await;
}

#[tokio::test]
async fn repeats_are_known_by_their_fingerprint_when_nothing_is_cached() {
    let upstream = Upstream::plain("an answer").await;
    let yaml = two_models(&upstream.base_url(), "");
    let proxy = Proxy::start(&yaml).await;
    for prompt in ["the same", "another", "the same"] {
        let reply = proxy.client().chat(&chat("small", prompt)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let ledger = proxy.gateway.ledger.reports().expect("a view");
    let repeats = ledger.repeats(TimeRange::since(0)).expect("repeats");
    assert_eq!(repeats.len(), 1);
    assert_eq!(repeats[0].within_hour.requests, 1);
    assert!(repeats[0].within_hour.cost.is_positive());
    proxy.stop().await;
}
