//! What is shipped beside the binary agrees with it: alerts and dashboard name metrics that exist,
//! probes and ports are those that it serves, time-outs leave room for the drain, and the pages
//! list every metric and error code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tollgate::config::snapshot::LedgerLocation;
use tollgate::config::{self, Snapshot};
use tollgate::error::ErrorKind;
use tollgate::types::Outcome;

use super::harness::Proxy;

/// What the server takes beyond the drain deadline to send the last bytes.
const LAST_FLUSH: Duration = Duration::from_secs(2);
const DATA_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9090;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every run of the characters of a metric's name that begins with `tollgate_`.
fn metric_names(text: &str) -> BTreeSet<String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("tollgate_")
        .filter(|(at, _)| !text[..*at].ends_with(inside))
        .map(|(at, _)| text[at..].chars().take_while(|&c| inside(c)).collect())
        .collect()
}

/// The definitions in the source: name and labels.
fn definitions() -> Vec<(String, Vec<String>)> {
    let source = read("src/telemetry/metrics.rs");
    let code = source.split("#[cfg(test)]").next().expect("code");
    let body = &code[code.find("pub fn new()").expect("the definitions")..];
    let body = &body[..body.find("pub fn render").expect("their end")];
    let mut found = Vec::new();
    for (at, _) in body.match_indices("\"tollgate_") {
        let definition = &body[at + 1..];
        let name = definition.split('"').next().expect("a name").to_owned();
        let end = definition[1..]
            .find("\"tollgate_")
            .unwrap_or(definition.len() - 1);
        let labels = definition[..=end]
            .split_once("&[")
            .map_or("", |(_, rest)| rest);
        let labels = labels.split(']').next().unwrap_or_default();
        let labels = labels
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        found.push((name, labels));
    }
    assert!(
        found.len() > 25,
        "the definitions were not found: {found:?}"
    );
    found
}

fn defined_names() -> BTreeSet<String> {
    definitions().into_iter().map(|(name, _)| name).collect()
}

/// The family of a sample's name.
fn family<'n>(name: &'n str, defined: &BTreeSet<String>) -> &'n str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|stem| defined.contains(*stem))
        .unwrap_or(name)
}

/// The queries of the dashboard, one a line.
fn dashboard_queries() -> String {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/tollgate.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(queries.len() > 30, "few queries: {queries:?}");
    queries.join("\n")
}

/// The `expr` lines of the rules.
fn rule_queries() -> String {
    let rules = read("deploy/prometheus/rules.yaml");
    let mut queries = String::new();
    let mut inside = false;
    for line in rules.lines() {
        let text = line.trim_start();
        if text.starts_with("expr:") {
            inside = true;
        } else if ["for:", "labels:", "- ", "#"]
            .iter()
            .any(|end| text.starts_with(end))
        {
            inside = false;
        }
        if inside {
            queries.push_str(text);
            queries.push('\n');
        }
    }
    queries
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let defined = defined_names();
    for (what, text) in [
        ("rules.yaml", read("deploy/prometheus/rules.yaml")),
        ("rules_test.yaml", read("deploy/prometheus/rules_test.yaml")),
        ("hpa.yaml", read("deploy/kubernetes/optional/hpa.yaml")),
        ("the dashboard", dashboard_queries()),
        ("observability.md", read("docs/observability.md")),
        ("troubleshooting.md", read("docs/troubleshooting.md")),
    ] {
        for name in metric_names(&text) {
            let family = family(&name, &defined);
            assert!(defined.contains(family), "{what}: no metric `{name}`");
        }
    }
}

#[test]
fn every_metric_is_explained_with_its_labels() {
    let page = read("docs/observability.md");
    for (name, labels) in definitions() {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")))
            .unwrap_or_else(|| panic!("observability.md does not explain `{name}`"));
        for label in labels {
            assert!(
                row.contains(&format!("`{label}`")),
                "{name}: no `{label}` in {row}"
            );
        }
    }
}

#[test]
fn queries_use_labels_and_outcomes_that_exist() {
    let mut labels: BTreeSet<String> = definitions().into_iter().flat_map(|(_, all)| all).collect();
    labels.extend(["job", "instance", "le"].map(str::to_owned));
    let queries = rule_queries() + &dashboard_queries();
    for matcher in ["=~\"", "!~\"", "=\"", "!=\""] {
        for (at, _) in queries.match_indices(matcher) {
            let name = last_word(&queries[..at]);
            assert!(
                name.is_empty() || labels.contains(name),
                "no label `{name}`"
            );
            if name == "outcome" {
                let values = &queries[at + matcher.len()..];
                for value in values.split('"').next().unwrap_or_default().split('|') {
                    serde_json::from_value::<Outcome>(value.into())
                        .unwrap_or_else(|error| panic!("outcome `{value}`: {error}"));
                }
            }
        }
    }
    for (at, _) in queries.match_indices("by (") {
        let names = queries[at + 4..].split(')').next().unwrap_or_default();
        for name in names.split(',').map(str::trim) {
            assert!(labels.contains(name), "no label `{name}` to sum by");
        }
    }
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    &text[start.map_or(0, |at| at + 1)..]
}

/// A shipped routing file, with its secrets in place.
fn shipped(path: &str, secrets: &Path) -> Snapshot {
    let text = read(path).replace("/run/secrets/tollgate", &secrets.display().to_string());
    for name in ["openai_api_key", "anthropic_api_key", "mistral_api_key"] {
        std::fs::write(secrets.join(name), "secret\n").expect("a secret");
    }
    let env = |_: &str| Some("secret".to_owned());
    config::load(&text, path, &env, 0).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn shipped_routing_files_are_sound_and_listen_where_the_manifests_say() {
    let secrets = tempfile::tempdir().expect("a directory");
    let deployment = read("deploy/kubernetes/deployment.yaml");
    let compose = read("deploy/compose.yaml");
    for path in [
        "deploy/kubernetes/routes.yaml",
        "deploy/compose/config/routes.yaml",
        "deploy/compose/replicas/config/routes.yaml",
    ] {
        let snapshot = shipped(path, secrets.path());
        let server = &snapshot.server;
        assert_eq!(server.listen, format!("0.0.0.0:{DATA_PORT}"), "{path}");
        assert_eq!(
            server.admin_listen,
            format!("0.0.0.0:{ADMIN_PORT}"),
            "{path}"
        );
        assert!(server.admin_token.is_some(), "{path}");
        assert!(
            snapshot.providers.iter().all(|provider| provider.enabled),
            "{path}"
        );
    }
    for (name, port) in [("http", DATA_PORT), ("admin", ADMIN_PORT)] {
        let line = format!("{{ name: {name}, containerPort: {port} }}");
        assert!(deployment.contains(&line), "deployment.yaml: no {line}");
        assert!(
            compose.contains(&format!("- 127.0.0.1:{port}:{port}")),
            "compose.yaml: {port}"
        );
    }
    assert!(read("Dockerfile").contains(&format!("EXPOSE {DATA_PORT} {ADMIN_PORT}")));
    let defaults = config::builtin::built_in(0).expect("sound").server;
    assert_eq!(defaults.listen, format!("127.0.0.1:{DATA_PORT}"));
    assert_eq!(defaults.admin_listen, format!("127.0.0.1:{ADMIN_PORT}"));
}

/// Several replicas need a store and a ledger that they share, and a journal each.
#[test]
fn the_examples_of_several_replicas_share_what_they_must() {
    let secrets = tempfile::tempdir().expect("a directory");
    let routes = "deploy/compose/replicas/config/routes.yaml";
    let snapshot = shipped(routes, secrets.path());
    assert!(snapshot.state.shared.is_some());
    assert!(matches!(
        snapshot.state.ledger,
        LedgerLocation::Postgres { .. }
    ));
    let compose = read("deploy/compose/replicas/compose.yaml");
    let balancer = read("deploy/compose/replicas/nginx.conf");
    for (replica, name) in [("a", "tollgate"), ("b", "tollgate-b"), ("c", "tollgate-c")] {
        let journal = format!("journal-{replica}:/var/lib/tollgate");
        assert_eq!(compose.matches(&journal).count(), 1, "{journal}");
        let server = format!("server {name}:{DATA_PORT};");
        assert!(balancer.contains(&server), "nginx.conf: no {server}");
    }
    assert!(seconds_after(&compose, "stop_grace_period: ") > snapshot.server.drain);
    let set = read("deploy/kubernetes/optional/replicas.yaml");
    let said = set.lines().filter(|line| line.starts_with('#'));
    let said: String = said
        .map(|line| format!("{}\n", line.trim_start_matches(['#', ' '])))
        .collect();
    assert!(said.contains("store: \"redis://") && said.contains("ledger: \"postgres://"));
    let before_stop = seconds_after(&set, "sleep: { seconds: ");
    let grace = seconds_after(&set, "terminationGracePeriodSeconds: ");
    assert!(grace > before_stop + snapshot.server.drain + LAST_FLUSH);
}

#[test]
fn every_grace_period_is_longer_than_the_drain() {
    let secrets = tempfile::tempdir().expect("a directory");
    let kubernetes = shipped("deploy/kubernetes/routes.yaml", secrets.path())
        .server
        .drain;
    let compose = shipped("deploy/compose/config/routes.yaml", secrets.path())
        .server
        .drain;
    let deployment = read("deploy/kubernetes/deployment.yaml");
    let before_stop = seconds_after(&deployment, "sleep: { seconds: ");
    let cases = [
        (
            "terminationGracePeriodSeconds",
            seconds_after(&deployment, "terminationGracePeriodSeconds: "),
            before_stop + kubernetes,
        ),
        (
            "stop_grace_period",
            seconds_after(&read("deploy/compose.yaml"), "stop_grace_period: "),
            compose,
        ),
        (
            "TimeoutStopSec",
            seconds_after(&read("deploy/systemd/tollgate.service"), "TimeoutStopSec="),
            kubernetes,
        ),
    ];
    for (name, grace, drain) in cases {
        assert!(
            grace > drain + LAST_FLUSH,
            "{name}: {grace:?} for a drain of {drain:?}"
        );
    }
}

fn seconds_after(text: &str, key: &str) -> Duration {
    let rest = text
        .split(key)
        .nth(1)
        .unwrap_or_else(|| panic!("no `{key}`"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Duration::from_secs(
        digits
            .parse()
            .unwrap_or_else(|error| panic!("{key}: {error}")),
    )
}

#[tokio::test]
async fn probes_and_scrapes_ask_for_paths_that_are_served() {
    let proxy = Proxy::start(config::builtin::BUILT_IN).await;
    let admin = proxy.admin_client();
    let mut paths = BTreeSet::new();
    for file in [
        "deploy/kubernetes/deployment.yaml",
        "deploy/kubernetes/optional/servicemonitor.yaml",
        "deploy/compose/prometheus.yaml",
    ] {
        let text = read(file);
        for key in ["httpGet: { path: ", "      path: ", "metrics_path: "] {
            for rest in text.split(key).skip(1) {
                let path: String = rest
                    .chars()
                    .take_while(|c| !c.is_whitespace() && *c != ',')
                    .collect();
                paths.insert(path);
            }
        }
    }
    let expected = ["/livez", "/metrics", "/readyz"].map(str::to_owned);
    assert_eq!(paths, BTreeSet::from(expected));
    for path in paths {
        assert_eq!(admin.get(&path).await.status, 200, "{path}");
    }
    proxy.stop().await;
}

/// Every kind; the match has to be extended with the enumeration.
fn all_kinds() -> Vec<ErrorKind> {
    use ErrorKind as K;
    let all = [
        K::InvalidRequest,
        K::InvalidApiKey,
        K::ModelNotAllowed,
        K::ModelNotFound,
        K::NotFound,
        K::MethodNotAllowed,
        K::RequestTooLarge,
        K::HeadersTooLarge,
        K::RequestTimeout,
        K::RateLimitExceeded,
        K::BudgetExceeded,
        K::UpstreamError,
        K::UpstreamTimeout,
        K::NoCandidateAvailable,
        K::Overloaded,
        K::NotCached,
        K::PreviousResponseNotFound,
        K::IdempotencyKeyReused,
        K::Internal,
    ];
    for kind in all {
        match kind {
            K::InvalidRequest
            | K::InvalidApiKey
            | K::ModelNotAllowed
            | K::ModelNotFound
            | K::NotFound
            | K::MethodNotAllowed
            | K::RequestTooLarge
            | K::HeadersTooLarge
            | K::RequestTimeout
            | K::RateLimitExceeded
            | K::BudgetExceeded
            | K::UpstreamError
            | K::UpstreamTimeout
            | K::NoCandidateAvailable
            | K::Overloaded
            | K::NotCached
            | K::PreviousResponseNotFound
            | K::IdempotencyKeyReused
            | K::Internal => {}
        }
    }
    all.to_vec()
}

#[test]
fn every_error_is_in_the_reference_and_in_the_troubleshooting() {
    let (api, troubleshooting) = (read("docs/api.md"), read("docs/troubleshooting.md"));
    for kind in all_kinds() {
        let row = kind.presentation();
        let line = format!(
            "| {} | `{}` | `{}` | `{}` |",
            row.status.as_u16(),
            row.code,
            row.error_type,
            row.retryable
        );
        assert!(api.contains(&line), "docs/api.md has no row {line}");
        let heading = format!("`{}`", row.code);
        assert!(
            troubleshooting
                .lines()
                .any(|line| line.starts_with('#') && line.contains(&heading)),
            "docs/troubleshooting.md has no section {heading}"
        );
    }
}

#[test]
fn the_image_is_built_with_the_crate_s_rust() {
    let manifest = read("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .expect("rust-version")
        .trim_end_matches('"');
    assert!(read("Dockerfile").contains(&format!("ARG RUST_VERSION={version}\n")));
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = vec![
        PathBuf::from("README.md"),
        PathBuf::from("ARCHITECTURE.md"),
        PathBuf::from("CONTRIBUTING.md"),
        PathBuf::from("CHANGELOG.md"),
    ];
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
        pages.extend(
            entries
                .map(|entry| Path::new(folder).join(entry.expect("an entry").file_name()))
                .filter(|path| path.extension().is_some_and(|suffix| suffix == "md")),
        );
    }
    for page in pages {
        let text = read(&page.display().to_string());
        let folder = root().join(&page).parent().expect("a folder").to_path_buf();
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let (file, _anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(folder.join(file).exists(), "{}: {target}", page.display());
        }
    }
}
