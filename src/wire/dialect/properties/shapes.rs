//! Strategies for JSON documents: objects of members that must or may be there, each with members that
//! nobody knows beside them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A strategy for a JSON value.
pub(super) type Json = BoxedStrategy<Value>;

/// A member of an object: its name, whether it must be there, its value.
pub(super) type Member = (&'static str, bool, Json);

/// A member that is always there.
pub(super) fn must(name: &'static str, value: Json) -> Member {
    (name, true, value)
}

/// A member that may be there.
pub(super) fn may(name: &'static str, value: Json) -> Member {
    (name, false, value)
}

/// An object of these members and of some that no dialect knows.
pub(super) fn open(members: Vec<Member>) -> Json {
    (closed(members), unknown())
        .prop_map(|(known, unknown)| merged(known, unknown))
        .boxed()
}

/// An object of these members alone.
pub(super) fn closed(members: Vec<Member>) -> Json {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, must, value)| {
            let value = if must {
                value.prop_map(Some).boxed()
            } else {
                prop::option::weighted(0.4, value).boxed()
            };
            value.prop_map(move |value| value.map(|it| (name.to_owned(), it)))
        })
        .collect();
    members
        .prop_map(|members| Value::Object(members.into_iter().flatten().collect()))
        .boxed()
}

/// `{"type": kind, …}`, open.
pub(super) fn tagged(kind: &'static str, mut members: Vec<Member>) -> Json {
    members.insert(0, must("type", just(kind)));
    open(members)
}

/// `{name: value}`, open.
pub(super) fn only(name: &'static str, value: Json) -> Json {
    open(vec![must(name, value)])
}

/// Both objects' members.
pub(super) fn merged(first: Value, second: Value) -> Value {
    let mut all = Map::new();
    for object in [first, second] {
        if let Value::Object(object) = object {
            all.extend(object);
        }
    }
    Value::Object(all)
}

/// Members that no dialect knows.
fn unknown() -> Json {
    prop::collection::btree_map("x_[a-z]{2,5}", any_json(), 0..2)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
        .boxed()
}

/// Any JSON.
pub(super) fn any_json() -> Json {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text(),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"é]{1,4}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

/// This word.
pub(super) fn just(word: &'static str) -> Json {
    Just(Value::from(word)).boxed()
}

/// One of these words.
pub(super) fn word_of(words: &'static [&'static str]) -> Json {
    prop::sample::select(words).prop_map(Value::from).boxed()
}

/// One of these.
pub(super) fn one_of(all: Vec<Json>) -> Json {
    proptest::strategy::Union::new(all).boxed()
}

/// Some of these.
pub(super) fn list(item: Json, size: impl Into<prop::collection::SizeRange>) -> Json {
    prop::collection::vec(item, size)
        .prop_map(Value::from)
        .boxed()
}

/// What people and models write, never empty: escapes, several bytes, white space inside.
pub(super) fn text() -> Json {
    "[a-zA-Z0-9é🎉\"\\\\\n\t/]( ?[a-zß<>{}\u{1}:,]{1,5}){0,4}"
        .prop_map(Value::from)
        .boxed()
}

/// A name or an id.
pub(super) fn name() -> Json {
    "[a-zA-Z][a-zA-Z0-9_-]{0,9}".prop_map(Value::from).boxed()
}

/// Base64.
pub(super) fn base64() -> Json {
    "([A-Za-z0-9+/]{4}){1,4}".prop_map(Value::from).boxed()
}

/// An address.
pub(super) fn address() -> Json {
    "https://[a-z]{1,6}\\.example/[a-z]{1,6}\\.(png|pdf)\\?q=%20"
        .prop_map(Value::from)
        .boxed()
}

/// `true` or `false`.
pub(super) fn boolean() -> Json {
    any::<bool>().prop_map(Value::from).boxed()
}

/// A count.
pub(super) fn count() -> Json {
    prop_oneof![
        Just(0_u64),
        1_u64..5000,
        any::<u64>().prop_map(|it| it >> 12)
    ]
    .prop_map(Value::from)
    .boxed()
}

/// A count that is not zero.
pub(super) fn some() -> Json {
    (1_u64..100_000).prop_map(Value::from).boxed()
}

/// A number that floats hold exactly; whole ones without a point, as writers put them.
pub(super) fn number() -> Json {
    prop_oneof![
        (-2_i64..3).prop_map(Value::from),
        (1_u32..128).prop_map(|it| json!(f64::from(2 * it - 1) / 128.0)),
    ]
    .boxed()
}

/// The JSON text of an object, as models write arguments.
pub(super) fn object() -> Json {
    prop::collection::btree_map("[a-z]{1,4}", any_json(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
        .boxed()
}

/// The same as text.
pub(super) fn object_text() -> Json {
    object().prop_map(|it| Value::from(it.to_string())).boxed()
}

/// A JSON Schema.
pub(super) fn schema() -> Json {
    object()
        .prop_map(|properties| json!({"type": "object", "properties": properties}))
        .boxed()
}

/// A prompt-caching mark, as Anthropic writes it.
pub(super) fn cache_control() -> Json {
    one_of(vec![
        Just(json!({"type": "ephemeral"})).boxed(),
        Just(json!({"type": "ephemeral", "ttl": "1h"})).boxed(),
    ])
}
