//! The files that ship: they load, agree with each other, and cost what the catalogue says.

use super::*;

const SHIPPED: &str = include_str!("../../../routes.yaml");
const SHIPPED_SCHEMA: &str = include_str!("../../../deploy/routes.schema.json");
const SHIPPED_REFERENCE: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_shipped_file_loads_with_nothing_but_keys_missing() {
    let snapshot = load(SHIPPED, "routes.yaml", &|_| None, 0).expect("a sound file");
    for warning in &snapshot.warnings {
        assert!(warning.message.contains("is not set"), "{warning}");
    }
    assert_eq!(snapshot.matrix.rows.len(), BUILT_IN_TASKS.len());
    let every_key = load(SHIPPED, "routes.yaml", &|_| Some("k".to_owned()), 0).expect("sound");
    assert!(every_key.warnings.is_empty(), "{:?}", every_key.warnings);
}

#[test]
fn the_shipped_schema_and_reference_are_those_of_the_loader() {
    let schema = serde_json::to_string_pretty(json_schema()).expect("JSON") + "\n";
    let reference = reference::markdown();
    // `TOLLGATE_WRITE_GENERATED=1 cargo test --lib shipped` brings both up to date.
    if std::env::var_os("TOLLGATE_WRITE_GENERATED").is_some() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::write(root.join("deploy/routes.schema.json"), &schema).expect("written");
        std::fs::write(root.join("docs/configuration.md"), &reference).expect("written");
        return;
    }
    assert!(
        schema == SHIPPED_SCHEMA,
        "run: tollgate schema > deploy/routes.schema.json"
    );
    assert!(
        reference == SHIPPED_REFERENCE,
        "run: tollgate reference > docs/configuration.md"
    );
}

#[test]
fn the_shipped_models_cost_what_the_catalogue_says() {
    for text in [SHIPPED, builtin::BUILT_IN] {
        let snapshot = load(text, "f", &|_| None, 0).expect("a sound file");
        for model in snapshot
            .models
            .iter()
            .filter(|model| !model.price.is_free())
        {
            let entry = catalogue::find(&model.upstream_model).expect("in the catalogue");
            let price = entry.price_list().expect("a price");
            assert_eq!(*model.price, price, "{}", model.id);
            let holds = entry.price_holds_to_tokens.unwrap_or(u64::MAX);
            assert!(
                model.context_tokens.expect("a context") <= holds,
                "{}: dearer above {holds}",
                model.id
            );
        }
    }
}

#[test]
fn the_catalogue_is_plausible() {
    let lines = include_str!("../../../models/catalogue.jsonl")
        .lines()
        .count();
    let entries = catalogue::entries();
    assert_eq!(entries.len(), lines, "a line that does not parse");
    assert!(entries.len() >= 60);
    for entry in entries {
        assert!(entry.input > 0.0, "{}", entry.name);
        assert!(
            entry
                .cached_input
                .is_none_or(|cached| cached <= entry.input),
            "{}",
            entry.name
        );
        assert!(
            entry.output.is_none_or(|output| output >= entry.input),
            "{}",
            entry.name
        );
        let embeds = entry.supports.iter().any(|word| word == "embeddings");
        assert_eq!(entry.output.is_none(), embeds, "{}", entry.name);
        let current = entry
            .deprecated_on
            .as_ref()
            .is_none_or(|until| *until > entry.date);
        assert!(
            current && entry.source.starts_with("https://"),
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_built_in_tasks_are_those_of_the_classifier() {
    let tasks: Vec<&str> = crate::classify::Task::ALL
        .iter()
        .map(|task| task.as_str())
        .collect();
    assert_eq!(tasks, BUILT_IN_TASKS);
}
