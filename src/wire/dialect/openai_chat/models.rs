//! `GET /v1/models` and `GET /v1/models/{id}`.

use bytes::Bytes;
use serde::Serialize;

/// A model as a client may ask for it.
#[derive(Clone, Copy, Debug)]
pub struct ModelEntry<'a> {
    /// The name for `model`.
    pub id: &'a str,
    /// Since when it is offered, seconds since the Unix epoch.
    pub created: u64,
    /// Who serves it: the provider's name, `tollgate` for virtual models.
    pub owned_by: &'a str,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

impl<'a> From<ModelEntry<'a>> for Model<'a> {
    fn from(entry: ModelEntry<'a>) -> Self {
        Self {
            id: entry.id,
            object: "model",
            created: entry.created,
            owned_by: entry.owned_by,
        }
    }
}

/// One model.
#[must_use]
pub fn one(entry: ModelEntry<'_>) -> Bytes {
    Bytes::from(serde_json::to_vec(&Model::from(entry)).unwrap_or_default())
}

/// The list of models.
#[must_use]
pub fn list<'a>(entries: impl IntoIterator<Item = ModelEntry<'a>>) -> Bytes {
    let list = List {
        object: "list",
        data: entries.into_iter().map(Model::from).collect(),
    };
    Bytes::from(serde_json::to_vec(&list).unwrap_or_default())
}
