//! `providers.NAME.auth`: what is accepted, and what is said otherwise.

use super::*;

const SIGV4: &str = "auth: { sigv4: { region: eu-west-1, access_key_id: \"${AWS_ID}\", \
                     secret_access_key: \"${AWS_KEY}\", session_token: \"${AWS_SESSION}\" } }";
const ENTRA: &str =
    "auth: { entra: { tenant: \"${TENANT}\", client_id: app, client_secret: \"${SECRET}\" } }";
const KEY_PEM: &str = include_str!("../../../tests/fixtures/google/test_only_key.pem");

fn with_auth(auth: &str) -> String {
    BASE.replace("api_key: \"${P_KEY}\"", auth)
}

fn load_with(auth: &str, known: &'static [(&'static str, &'static str)]) -> Snapshot {
    let env = |name: &str| {
        let found = known.iter().find(|(have, _)| *have == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    load(&with_auth(auth), "f", &env, 0).expect("a sound file")
}

/// Expects exactly this problem, wherever in the line.
fn check_auth(auth: &str, expect: &str) {
    let problems = problems_of(&with_auth(auth));
    let [problem] = problems.as_slice() else {
        panic!("not one problem: {problems:#?}");
    };
    let (place, message) = problem.split_once(": ").expect("a place");
    assert!(place.starts_with("f:3:"), "{place}");
    assert_eq!(message, expect, "{auth}");
}

#[test]
fn aws_credentials_come_from_the_environment() {
    let snapshot = load_with(SIGV4, &[("AWS_ID", "AKID"), ("AWS_KEY", "hush")]);
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    let Signer::SigV4(params) = &snapshot.providers[0].signer else {
        panic!("not SigV4");
    };
    assert_eq!(
        (&*params.region, &*params.service),
        ("eu-west-1", "bedrock")
    );
    assert!(params.session_token.is_none());
    assert!(!format!("{snapshot:?}").contains("hush"));

    let snapshot = load_with(
        SIGV4,
        &[
            ("AWS_ID", "AKID"),
            ("AWS_KEY", "hush"),
            ("AWS_SESSION", "s"),
        ],
    );
    assert!(
        matches!(&snapshot.providers[0].signer, Signer::SigV4(it) if it.session_token.is_some())
    );
}

#[test]
fn what_is_missing_switches_the_provider_off() {
    let snapshot = load_with(SIGV4, &[("AWS_ID", "AKID")]);
    assert!(!snapshot.providers[0].enabled);
    assert_eq!(
        snapshot.warnings[0].message,
        "the variable `AWS_KEY` is not set: the provider is switched off"
    );
    let snapshot = load_with(ENTRA, &[("TENANT", "t")]);
    assert!(!snapshot.providers[0].enabled);
    let google =
        "auth: { google_service_account: { credentials: \"${GOOGLE_APPLICATION_CREDENTIALS}\" } }";
    assert!(!load_with(google, &[]).providers[0].enabled);
}

#[test]
fn an_entra_application_knows_its_endpoint() {
    let snapshot = load_with(ENTRA, &[("TENANT", "t/1"), ("SECRET", "hush")]);
    let Signer::Grant(params) = &snapshot.providers[0].signer else {
        panic!("no grant");
    };
    assert_eq!(
        &*params.token_url,
        "https://login.microsoftonline.com/t%2F1/oauth2/v2.0/token"
    );
    assert!(!format!("{snapshot:?}").contains("hush"));
    let other = load_with(ENTRA, &[("TENANT", "t/1"), ("SECRET", "other")]);
    let Signer::Grant(other) = &other.providers[0].signer else {
        panic!("no grant");
    };
    assert_ne!(
        params.identity, other.identity,
        "a rotated secret buys anew"
    );
}

#[test]
fn a_service_account_s_key_is_judged_when_the_file_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.json");
    let auth = format!(
        "auth: {{ google_service_account: {{ credentials: \"file:{}\" }} }}",
        path.display()
    );
    let key = serde_json::json!({
        "type": "service_account", "client_email": "a@b", "private_key": KEY_PEM,
    });
    std::fs::write(&path, serde_json::to_string_pretty(&key).expect("JSON")).expect("written");
    let snapshot = load_base(&with_auth(&auth)).expect("a sound file");
    let Signer::Grant(params) = &snapshot.providers[0].signer else {
        panic!("no grant");
    };
    assert_eq!(&*params.token_url, "https://oauth2.googleapis.com/token");
    assert!(!format!("{snapshot:?}").contains("PRIVATE"));

    for (json, problem) in [
        (
            r#"{"type": "authorized_user"}"#,
            "its `type` is `authorized_user`",
        ),
        (r#"{"type": "service_account"}"#, "it has no `client_email`"),
        (
            r#"{"type": "service_account", "client_email": "a", "private_key": "hush"}"#,
            "its `private_key` is no PEM of a PKCS#8 key",
        ),
        ("{", "no JSON (line 1, column 1)"),
    ] {
        std::fs::write(&path, json).expect("written");
        let problems = problems_of(&with_auth(&auth));
        let shown = problems.join("\n");
        assert!(
            shown.contains(problem) && !shown.contains("hush"),
            "{shown}"
        );
    }
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    check_auth(
        "auth: { sigv5: {} }",
        "providers.p.auth.sigv5: unknown key `sigv5`; did you mean `sigv4`?",
    );
    check_auth(
        "api_key: \"${P_KEY}\", auth: { query: key, header: x }",
        "providers.p.auth: a provider's requests are signed in one way; keep one of `header`, `query`",
    );
    check_auth(
        "auth: { query: key }",
        "providers.p.auth.query: there is no key to carry; add `api_key`",
    );
    check_auth(
        "auth: { sigv4: { region: \"${AWS_REGION}\", access_key_id: a, secret_access_key: \"${P_KEY}\" } }",
        "providers.p.auth.sigv4.region: `${AWS_REGION}` is no region: small letters, digits and `-`",
    );
    check_auth(
        "api_key: \"${P_KEY}\", auth: { entra: { tenant: t, client_id: a, client_secret: \"${P_KEY}\" } }",
        "providers.p.api_key: not used: `auth.entra` signs the requests; remove one of the two",
    );
}

#[test]
fn every_example_of_the_page_on_providers_loads() {
    let page = include_str!("../../../docs/providers.md");
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 16, "{} examples", examples.len());
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key.json");
    let json = serde_json::json!({
        "type": "service_account", "client_email": "a@b", "private_key": KEY_PEM,
    });
    std::fs::write(&key, json.to_string()).expect("written");
    let set = |name: &str| {
        Some(match name {
            "GOOGLE_APPLICATION_CREDENTIALS" => key.display().to_string(),
            _ => "set".to_owned(),
        })
    };
    for example in examples {
        let model = example.split("models:\n  ").nth(1).expect("a model");
        let model = model.split(':').next().expect("a name");
        let text =
            format!("version: 1\n{example}matrix: {{ default: {{ simple: [\"{model}\"] }} }}\n");
        let snapshot = load(&text, "f", &set, 0).unwrap_or_else(|all| panic!("{example}{all:#?}"));
        assert!(
            snapshot.warnings.is_empty(),
            "{example}{:?}",
            snapshot.warnings
        );
        assert!(snapshot.providers[0].enabled, "{example}");
        // Without its secrets it loads too, switched off, and says which variable it lacks.
        let snapshot = load(&text, "f", &|_| None, 0).expect("only warnings");
        assert_eq!(snapshot.providers[0].enabled, !example.contains("${"));
    }
}
