//! What the loader says about good and bad files.

use super::snapshot::{LedgerLocation, ProviderEndpoint, Signer};
use super::*;
use crate::types::{Price, ServiceTier, TaskName, Tier};

mod budgets;
mod hostile;
mod prices;
mod shipped;
mod signing;

/// A file that is sound; tests change a piece of it.
const BASE: &str = "\
version: 1
providers:
  p: { base_url: https://p.example/v1, api_key: \"${P_KEY}\" }
  q: { base_url: http://127.0.0.1:1/v1 }
models:
  big: { provider: p, price: { input: 2, output: 10 }, tier: premium }
  small: { provider: q, price: { input: 0.1, output: 0.5 } }
matrix:
  code_review: { simple: [small], complex: [big, small] }
  default: { simple: [small] }
teams: { search: { tier: standard } }
keys:
  - { id: k1, sha256: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", team: search }
auth: { mode: keys }
";

/// What a short request costs at a model today.
fn usual(model: &snapshot::Model) -> Price {
    *model.price.at(0).applied(ServiceTier::Standard, 1).price
}

fn env(name: &str) -> Option<String> {
    (name == "P_KEY").then(|| "key-of-p".to_owned())
}

fn load_base(text: &str) -> Result<Snapshot, Vec<Diagnostic>> {
    load(text, "f", &env, 0)
}

fn problems_of(text: &str) -> Vec<String> {
    let problems = match load_base(text) {
        Ok(snapshot) => snapshot.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(ToString::to_string).collect()
}

/// Replaces a piece of the sound file and expects exactly these problems.
fn check(piece: &str, with: &str, expect: &[&str]) {
    assert!(BASE.contains(piece), "no `{piece}` in the sound file");
    assert_eq!(
        problems_of(&BASE.replacen(piece, with, 1)),
        expect,
        "{with}"
    );
}

/// Appends to the sound file and expects exactly these problems.
fn check_with(more: &str, expect: &[&str]) {
    assert_eq!(problems_of(&format!("{BASE}{more}")), expect, "{more}");
}

#[test]
fn a_sound_file_compiles_to_indices_integers_and_secrets() {
    let snapshot = load_base(BASE).expect("a sound file");
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
    let big = snapshot.model("big").expect("the model");
    let price = usual(big);
    assert_eq!(price.input.pico(), 2_000_000);
    assert_eq!(price.cached_input, price.input);
    assert_eq!(price.reasoning, price.output);
    assert_eq!((big.tier, big.deployments.len()), (Tier::Premium, 1));
    let row = &snapshot.matrix.rows[&TaskName::new("code_review")];
    assert_eq!(row.cells["complex"], [0, 1]);
    assert!(matches!(snapshot.providers[0].signer, Signer::Bearer(_)));
    assert!(!format!("{snapshot:?}").contains("key-of-p"));
    let key = snapshot.keys.values().next().expect("the key");
    assert_eq!((key.tier, key.app.as_str()), (Tier::Standard, "default"));
    assert!(snapshot.virtual_models.contains_key("auto"));
    assert!(snapshot.teams.contains_key("default"));
    assert_eq!(
        snapshot.state.ledger,
        LedgerLocation::Sqlite("tollgate.db".into())
    );
    assert_eq!(snapshot.version.as_str().len(), 12);
}

#[test]
fn every_problem_is_found_at_once() {
    let text = BASE
        .replace("provider: q", "providr: q")
        .replace("[big, small]", "[bigg, small]")
        .replace("team: search }", "team: serch }");
    assert_eq!(
        problems_of(&text),
        [
            "f:7:12: models.small.providr: unknown key `providr`; did you mean `provider`?",
            "f:9:45: matrix.code_review.complex[0]: unknown model `bigg`; did you mean `big`?",
            "f:13:97: keys[0].team: unknown team `serch`; did you mean `search`?",
        ]
    );
}

#[test]
fn shapes_are_checked() {
    check(
        "version: 1",
        "version: 2",
        &["f:1:10: version: 2 is out of range; only 1 is allowed"],
    );
    check(
        "version: 1\n",
        "",
        &["f:1:1: missing key `version`; `version`: version of the file's format"],
    );
    check(
        "version: 1",
        "verson: 1",
        &["f:1:1: verson: unknown key `verson`; did you mean `version`?"],
    );
    check(
        "[small], complex",
        "small, complex",
        &["f:9:26: matrix.code_review.simple: expected a list, found text; write a list: `[…]`"],
    );
    check(
        "tier: premium",
        "tier: gold",
        &[
            "f:6:62: models.big.tier: unknown value `gold`; it is one of `local`, `standard`, `premium`",
        ],
    );
    check(
        "tier: premium",
        "context_tokens: \"12\"",
        &[
            "f:6:72: models.big.context_tokens: expected a whole number, found text; leave the quotes out",
        ],
    );
    check(
        "tier: premium",
        "context_tokens: 1e3",
        &["f:6:72: models.big.context_tokens: expected a whole number, found a number"],
    );
    check(
        "tier: premium",
        "region: 1",
        &[
            "f:6:64: models.big.region: expected text, found a whole number; put it in quotes: \"1\"",
        ],
    );
    check("team: search", "team: ", &[]);
    check_with("limits:\n", &[]);
    check_with(
        "limits: { requests_per_minute: -1 }\n",
        &["f:15:32: limits.requests_per_minute: -1 is out of range; allowed: 1 to 4294967295"],
    );
    check_with(
        "classifier: { min_confidence: 1.5 }\n",
        &["f:15:31: classifier.min_confidence: 1.5 is out of range; allowed: 0 to 1"],
    );
    check_with(
        "baseline: big\nbaseline: small\n",
        &[
            "f:16:1: baseline: duplicate key `baseline`; it already stands on line 15; remove one of the two",
        ],
    );
}

#[test]
fn the_matrix_is_judged_as_a_whole() {
    check(
        "default: { simple: [small] }",
        "other: { simple: [small] }",
        &[
            "f:9:3: matrix: missing row `default`: it serves every task without a row of its own; add \
         `default: { simple: […], complex: […], critical: […] }`",
        ],
    );
    check(
        "code_review:",
        "code_reveiw:",
        &["f:9:16: matrix.code_reveiw: unknown task `code_reveiw`; did you mean `code_review`?"],
    );
    check(
        "complex: [big",
        "complx: [big",
        &["f:9:35: matrix.code_review.complx: unknown level `complx`; did you mean `complex`?"],
    );
    check(
        "simple: [small], complex",
        "simple: [], complex",
        &["f:9:26: matrix.code_review.simple: an empty cell; name at least one model"],
    );
    check(
        "code_review: {",
        "code_review: { levels: { a: {}, b: {} }, a: [big], b: [big], c: [big] }\n  other: {",
        &[
            "f:9:38: matrix.code_review.levels.b: never reached: `a` before it holds always; put the \
         level without conditions last",
            "f:9:64: matrix.code_review.c: unknown level `c`; allowed: `a`, `b`",
        ],
    );
    check(
        "complex: [big, small]",
        "complex: [big, big]",
        &["f:9:50: matrix.code_review.complex[1]: `big` is listed twice; remove one"],
    );
}

#[test]
fn references_must_exist_and_make_sense() {
    check(
        "tier: premium",
        "equivalents: [big, smal]",
        &[
            "f:6:70: models.big.equivalents[0]: a model cannot stand in for itself",
            "f:6:75: models.big.equivalents[1]: unknown model `smal`; did you mean `small`?",
        ],
    );
    check_with(
        "aliases: { \"gpt*\": atuo, gpt-4: big }\n",
        &[
            "f:15:20: aliases.gpt*: unknown model or virtual model `atuo`; did you mean `auto`?",
            "f:15:33: aliases.gpt-4: never used: `gpt*` before it matches too; put the narrower pattern first",
        ],
    );
    check_with(
        "virtual_models: { small: {} }\n",
        &["f:15:26: virtual_models.small: `small` is also a name under `models`"],
    );
    check_with(
        "resilience: { fallback: { ladder: [standard, premium] } }\n",
        &[
            "f:15:46: resilience.fallback.ladder[1]: `premium` is not below `standard`: the ladder only \
         goes down; the order is premium, standard, local",
        ],
    );
    check(
        "tier: standard",
        "tier: standard, allow: [\"big*\", \"x*\"]",
        &["f:11:52: teams.search.allow[1]: `x*` covers no model; check its spelling"],
    );
    let elsewhere = "no provider may be called so";
    check(
        "provider: q",
        &format!("provider: \"{elsewhere}\""),
        &[&format!(
            "f:7:22: models.small.provider: unknown provider `{elsewhere}`; allowed: `p`, `q`"
        )],
    );
}

#[test]
fn budgets_must_guard_something() {
    check_with(
        "budgets:\n  - { name: a, limit_usd: 1, period: month, timezone: Europe/Madird }\n  \
         - { name: a, limit_usd: 1, period: day, match: { team: serch } }\n  \
         - { name: b, limit_usd: 1e-13, period: day, match: { team: search, app: default, key: k1 } }\n  \
         - { name: c, limit_usd: 1, period: day, match: { key: k1, team: default } }\n",
        &[
            "f:16:55: budgets[0].timezone: unknown time zone `Europe/Madird`; did you mean `Europe/Madrid`?",
            "f:17:13: budgets[1].name: a second budget with name `a`",
            "f:17:58: budgets[1].match.team: unknown team `serch`; did you mean `search`?",
            "f:18:27: budgets[2].limit_usd: `1e-13` is finer than a pico-USD (12 digits after the point)",
            "f:19:50: budgets[3].match: matches nothing: no key agrees with all of its fields; this \
             budget would guard nothing",
        ],
    );
}

#[test]
fn keys_are_unique_and_hashes_whole() {
    let hash = "a".repeat(64);
    check_with("", &[]);
    check(
        "auth: {",
        &format!("  - {{ id: k1, sha256: \"{hash}\" }}\n  - {{ id: k2, sha256: xyz }}\nauth: {{"),
        &[
            "f:14:11: keys[1].id: a second key with id `k1`",
            "f:14:23: keys[1].sha256: the same key as `k1`",
            "f:15:23: keys[2].sha256: not a SHA-256: 64 hexadecimal digits; `tollgate keys new` prints a \
         key with its entry",
        ],
    );
    check(
        "team: search }",
        "team: search, tier: premium }",
        &[
            "f:13:111: keys[0].tier: above the team's tier: `standard` counts; raise `teams.search.tier`, \
         or lower this one",
        ],
    );
}

#[test]
fn secrets_are_references_and_stay_secret() {
    let unset = "the variable `NO_KEY` is not set: the provider is switched off";
    let text = BASE.replace("${P_KEY}", "${NO_KEY}");
    assert_eq!(
        problems_of(&text),
        [format!(
            "f:3:49: providers.p.api_key: {unset}; set it, or remove this entry: export NO_KEY=…"
        )]
    );
    let snapshot = load_base(&text).expect("only a warning");
    assert!(!snapshot.providers[0].enabled && !snapshot.models[0].deployments[0].enabled);
    assert!(snapshot.providers[1].enabled && snapshot.models[1].deployments[0].enabled);

    let literal = load_base(&BASE.replace("${P_KEY}", "hunter2")).expect("only a warning");
    let shown = format!("{:?}", literal.warnings);
    assert!(
        shown.contains("plain text") && !shown.contains("hunter2"),
        "{shown}"
    );

    check(
        "https://p.example/v1",
        "\"https://${HOST}/v1\"",
        &[
            "f:3:18: providers.p.base_url: `${…}` stands only for secrets: in `api_key`, a provider's `auth`, \
         `admin_token`, `fingerprint_key`, and a webhook's `url` and `secret`; write the value itself, or template the file before it gets here",
        ],
    );
    check(
        "${P_KEY}",
        "Bearer ${P_KEY}",
        &[
            "f:3:49: providers.p.api_key: a reference must be the whole value, as `${VARIABLE}`: letters, \
         digits and `_`",
        ],
    );
    check(
        "${P_KEY}",
        "${P_KEY}x",
        &[
            "f:3:49: providers.p.api_key: a reference must be the whole value, as `${VARIABLE}`: letters, \
         digits and `_`",
        ],
    );
    let misplaced = problems_and_lines(
        &BASE
            .replace("api_key:", "apikey:")
            .replace("${P_KEY}", "hunter2"),
    );
    assert!(
        misplaced.contains("unknown key `apikey`") && !misplaced.contains("hunter2"),
        "{misplaced}"
    );
    let broken = problems_and_lines(&BASE.replace("\"${P_KEY}\" }", "hunter2 "));
    assert!(!broken.contains("hunter2"), "{broken}");
}

fn problems_and_lines(text: &str) -> String {
    format!("{:?}", load_base(text).map(|snapshot| snapshot.warnings))
}

#[test]
fn a_secret_can_be_read_from_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, "key-of-file\n").expect("written");
    let text = BASE.replace("${P_KEY}", &format!("file:{}", file.display()));
    let snapshot = load_base(&text).expect("a sound file");
    assert!(snapshot.warnings.is_empty() && snapshot.providers[0].enabled);
    let text = BASE.replace("${P_KEY}", "file:/no/such/file");
    assert!(!load_base(&text).expect("only a warning").providers[0].enabled);
}

#[test]
fn what_this_build_lacks_is_said_clearly() {
    check_with(
        "state: { store: \"redis://h\" }\n",
        &[
            "f:15:17: state.store: replicas share counters here; the ledger has to be somewhere else; \
         name it as `ledger`: `postgres://…`, or `sqlite:PATH` for each replica its own",
        ],
    );
    check_with(
        "cache: { semantic: { enabled: true } }\n",
        &[
            "f:15:31: cache.semantic.enabled: this build has no semantic cache; set it to false; the \
         exact cache and templates are there",
        ],
    );
    check(
        "q: {",
        "q: { dialect: cobol,",
        &[
            "f:4:17: providers.q.dialect: unknown value `cobol`; it is one of `openai_chat`, \
         `openai_responses`, `anthropic_messages`, `gemini_generate`, `bedrock_converse`",
        ],
    );
    check(
        "q: { base_url: http://127.0.0.1:1/v1 }",
        "q: { dialect: anthropic_messages, simulated: {} }",
        &[
            "f:4:17: providers.q.dialect: simulated providers answer in `openai_chat`, which is \
         translated for every client; leave `dialect` out",
        ],
    );
}

#[test]
fn servers_are_not_opened_by_accident() {
    check_with(
        "server: { listen: 8080, admin_listen: 0.0.0.0:9090 }\n",
        &[
            "f:15:19: server.listen: expected text, found a whole number; put it in quotes: \"8080\"",
            "f:15:39: server.admin_listen: an admin listener off loopback needs `server.admin_token`; set \
         `admin_token: \"${TOLLGATE_ADMIN_TOKEN}\"`, or listen on 127.0.0.1",
        ],
    );
    check_with(
        "server: { listen: nowhere }\n",
        &[
            "f:15:19: server.listen: `nowhere` is no `host:port`; write it as 127.0.0.1:8080 or \"[::1]:8080\"",
        ],
    );
}

#[test]
fn thinking_and_parallel_calls_are_judged_where_the_file_speaks_of_them() {
    let offered = |big: &str, small: &str| {
        let text = BASE
            .replace("tier: premium", &format!("supports: [{big}]"))
            .replace(
                "output: 0.5 }",
                &format!("output: 0.5 }}, supports: [{small}]"),
            );
        let snapshot = load_base(&text).expect("sound");
        let small = snapshot.models[1].supports.expect("a list");
        (
            small.tools,
            small.vision,
            small.reasoning,
            small.parallel_tools,
        )
    };
    assert_eq!(offered("tools, vision", "tools"), (true, false, true, true));
    assert_eq!(
        offered("tools, reasoning", "tools"),
        (true, false, false, true)
    );
    assert_eq!(
        offered("tools, parallel_tools", "tools, reasoning"),
        (true, false, true, false)
    );
}

#[test]
fn deployments_have_stable_names_and_keys_of_their_own() {
    let text = BASE.replace(
        "tier: premium",
        "region: eu, deployments: [{ weight: 2 }, { provider: q, upstream_model: b, region: us }, \
         { api_key: \"${NO_KEY}\" }]",
    );
    let snapshot = load_base(&text).expect("only a warning");
    let deployments = &snapshot.models[0].deployments;
    let ids: Vec<&str> = deployments
        .iter()
        .map(|deployment| deployment.id.as_str())
        .collect();
    assert_eq!(ids, ["big#1", "big#2", "big#3"]);
    assert_eq!(deployments[0].weight, 2);
    assert_eq!(
        (
            deployments[1].provider,
            deployments[1].upstream_model.as_str()
        ),
        (1, "b")
    );
    assert_eq!(deployments[1].region.as_deref(), Some("us"));
    assert!(deployments[0].enabled && deployments[1].enabled && !deployments[2].enabled);
}

#[test]
fn an_azure_style_provider_is_data() {
    let text = BASE.replace(
        "https://p.example/v1, ",
        "\"https://r.example/openai/deployments/{model}/\", auth_header: api-key, \
         query: { api-version: 2025-04-01-preview, a: \"b c\" }, ",
    );
    let snapshot = load_base(&text).expect("a sound file");
    let ProviderEndpoint::Http(endpoint) = &snapshot.providers[0].endpoint else {
        panic!("not HTTP");
    };
    assert_eq!(
        endpoint.base_url,
        "https://r.example/openai/deployments/{model}"
    );
    assert_eq!(endpoint.origin.to_string(), "https://r.example/");
    assert_eq!(
        endpoint.query.as_deref(),
        Some("api-version=2025-04-01-preview&a=b%20c")
    );
    assert!(matches!(&snapshot.providers[0].signer, Signer::Header(name, _) if name == "api-key"));
}

#[test]
fn a_merge_key_takes_over_what_is_not_there() {
    let text = BASE.replace(
        "  small: { provider: q, price: { input: 0.1, output: 0.5 } }",
        "  small: { <<: *x, provider: q }",
    );
    let snapshot = load_base(&text.replace("big: {", "big: &x {")).expect("a sound file");
    assert_eq!(usual(&snapshot.models[1]).input.pico(), 2_000_000);
    assert_eq!(snapshot.models[1].provider, 1);
}

#[test]
fn files_that_are_not_text_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("r.yaml");
    std::fs::write(&file, b"version: 1\nx: \xff\n").expect("written");
    let problems = load_file(&file, &env, 0).expect_err("not UTF-8");
    assert_eq!(
        (problems[0].line, problems[0].message.as_str()),
        (2, "the file is not UTF-8")
    );
}

#[test]
fn a_postgres_ledger_keeps_its_password_to_itself() {
    let with = |state: &str| load_base(&format!("{BASE}\n{state}\n"));
    let place = |ledger: &str| {
        let snapshot = with(&format!("state: {{ ledger: \"{ledger}\" }}")).expect("a sound file");
        let LedgerLocation::Postgres { url, journal } = &snapshot.state.ledger else {
            panic!("{:?}", snapshot.state.ledger);
        };
        assert_eq!(journal, &std::path::PathBuf::from("tollgate.journal"));
        let shown = format!("{:?} {:?}", snapshot.state, snapshot.warnings);
        assert!(!shown.contains("hunter2"), "{shown}");
        (url.to_string(), snapshot.warnings.len())
    };
    let shown = "postgres://u@localhost:5432/d".to_owned();
    assert_eq!(
        place("postgres://u:${P_KEY}@localhost/d"),
        (shown.clone(), 0)
    );
    assert_eq!(place("postgres://u:hunter2@localhost/d"), (shown, 1));
    let (_, warnings) = place("postgres://u:${P_KEY}@db.internal/d");
    assert_eq!(warnings, 1, "a connection that may be unencrypted");

    let wrong = |state: &str| {
        let problems = with(state).expect_err("refused");
        let text = format!("{problems:?}");
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    assert!(wrong("state: { ledger: \"postgres://u:hunter2@h\" }").contains("no database"));
    assert!(
        wrong("state: { store: \"postgres://u:hunter2@h/d\" }").contains("holds the ledger only")
    );
    assert!(
        wrong("state: { ledger: \"mysql://u:hunter2@h/d\" }").contains("unknown store `mysql:…`")
    );
    assert!(
        wrong("state: { ledger: \"postgres://u:${NO_KEY}@h/d\" }")
            .contains("the variable `NO_KEY` is not set: there is no store without it")
    );
    assert!(wrong("state: { ledger: \"${NO_KEY}\" }").contains("the store's address is missing"));
}

#[test]
fn own_tasks_need_names_and_examples_of_their_own() {
    let tasks = |text: &str| format!("tasks:\n  {text}\nteams:");
    let five = "examples: [one thing, two things, three things, four things, five things]";
    check("teams:", &tasks(&format!("refunds: {{ {five} }}")), &[]);
    check(
        "teams:",
        &tasks(&format!("open_qa: {{ {five} }}")),
        &[
            "f:12:12: tasks.open_qa: `open_qa` is a built-in name; choose another; requests of that kind \
           are recognised already",
        ],
    );
    check(
        "teams:",
        &tasks(&format!("Re funds: {{ {five} }}")),
        &[
            "f:12:13: tasks[\"Re funds\"]: `Re funds` cannot be a task's name: lower-case letters, digits, \
           `_` and `-`, at most 64 of them",
        ],
    );
    check(
        "teams:",
        &tasks("refunds: { examples: [a b, '?!', A b] }"),
        &[
            "f:12:24: tasks.refunds.examples: 3 examples; 5 to 500 are needed, ten or more are good",
            "f:12:30: tasks.refunds.examples[1]: an example without words",
            "f:12:36: tasks.refunds.examples[2]: the same example as examples[0]; say it in other words, \
             as another person would",
        ],
    );
    check(
        "teams:",
        &tasks(&format!(
            "refunds: {{ {five} }}\n  returns: {{ examples: [a, b, c, d, Two things] }}"
        )),
        &["f:13:37: tasks.returns.examples[4]: also an example of `refunds`"],
    );
}

#[test]
fn own_tasks_can_have_rows() {
    let five = "examples: [one thing, two things, three things, four things, five things]";
    let text = BASE
        .replacen(
            "teams:",
            &format!("tasks: {{ refunds: {{ {five} }} }}\nteams:"),
            1,
        )
        .replacen(
            "  default:",
            "  refunds: { simple: [small] }\n  default:",
            1,
        );
    let snapshot = load_base(&text).expect("sound");
    assert!(snapshot.matrix.rows.contains_key("refunds"));
    assert_eq!(snapshot.classifier.tasks[0].examples.len(), 5);
    let misspelt = text.replacen("  refunds: { simple", "  refund: { simple", 1);
    assert_eq!(
        problems_of(&misspelt),
        ["f:10:11: matrix.refund: unknown task `refund`; did you mean `refunds`?"]
    );
}
