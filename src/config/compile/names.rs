//! The names that a file defines, gathered before anything is thrown out, so that one mistake in a
//! model does not make every reference to it look unknown.

use indexmap::IndexSet;

use crate::config::tree::{Node, Value};

/// The tasks that the built-in classifier knows, `other` last.
pub const BUILT_IN_TASKS: [&str; 16] = [
    "code_generation",
    "code_review",
    "math_reasoning",
    "data_analysis",
    "summarization",
    "translation",
    "rewriting",
    "extraction",
    "classification",
    "open_qa",
    "closed_qa",
    "creative_writing",
    "brainstorming",
    "roleplay",
    "conversation",
    "other",
];

/// Names by kind, in the file's order.
#[derive(Debug, Default)]
pub struct Names {
    /// Under `providers`.
    pub providers: IndexSet<String>,
    /// Under `models`.
    pub models: IndexSet<String>,
    /// Under `virtual_models`, with `auto`.
    pub virtual_models: IndexSet<String>,
    /// Under `teams`, with `default`. In a file without `teams` those that keys name: there is nothing
    /// that they could be misspelt from.
    pub teams: IndexSet<String>,
    /// The `id`s under `keys`.
    pub keys: IndexSet<String>,
    /// The `app`s under `keys`, with `default`.
    pub apps: IndexSet<String>,
    /// What an alias may stand for.
    pub targets: IndexSet<String>,
    /// The tasks that a row may be for.
    pub tasks: IndexSet<String>,
    /// True when the file has a matrix at all.
    pub has_matrix: bool,
}

impl Names {
    /// Gathers the names of a tree.
    pub fn of(root: &Node) -> Self {
        let mut names = Self {
            providers: map_keys(root, "providers"),
            models: map_keys(root, "models"),
            virtual_models: map_keys(root, "virtual_models"),
            teams: map_keys(root, "teams"),
            keys: field_of_items(root, "keys", "id"),
            apps: field_of_items(root, "keys", "app"),
            targets: IndexSet::new(),
            tasks: BUILT_IN_TASKS.iter().map(ToString::to_string).collect(),
            has_matrix: root.get("matrix").is_some(),
        };
        names.tasks.extend(map_keys(root, "tasks"));
        names.virtual_models.insert("auto".to_owned());
        if names.teams.is_empty() {
            names.teams = field_of_items(root, "keys", "team");
        }
        names.teams.insert("default".to_owned());
        names.apps.insert("default".to_owned());
        names.targets.clone_from(&names.virtual_models);
        names.targets.extend(names.models.iter().cloned());
        names
    }
}

fn map_keys(root: &Node, key: &str) -> IndexSet<String> {
    let entries = root.get(key).map(Node::entries).unwrap_or_default();
    entries.iter().map(|entry| entry.key.clone()).collect()
}

fn field_of_items(root: &Node, key: &str, field: &str) -> IndexSet<String> {
    let items = root.get(key).map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| match &item.get(field)?.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        })
        .collect()
}
