//! JSON Schemas as Anthropic's structured output takes them: every object closed
//! (`additionalProperties: false`), and without the bounds that its grammar cannot hold. What cannot be
//! enforced is told to the model in the schema's description, as Anthropic's own SDKs do.

use crate::types::chat::{Notes, RawJson};
use crate::wire::json_in::{Kind, Object, Raw};
use crate::wire::json_out::JsonOut;

/// Members that hold a schema for each of their members.
const NAMED_SCHEMAS: &[&str] = &["properties", "$defs", "definitions"];
/// Members that hold schemas in an array.
const LISTED_SCHEMAS: &[&str] = &["anyOf", "allOf", "oneOf", "prefixItems"];
/// Bounds that the grammar does not hold.
const UNHELD: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// `raw` as a schema that can be enforced. `field` names it in the notes.
pub(in crate::wire::dialect) fn closed(
    raw: Raw<'_>,
    field: &'static str,
    notes: &mut Notes,
) -> RawJson {
    let mut out = JsonOut::with_capacity(raw.get().len() + 64);
    Closing { field, notes }.schema(raw, &mut out);
    RawJson::new(&out.into_string())
}

struct Closing<'n> {
    field: &'static str,
    notes: &'n mut Notes,
}

impl Closing<'_> {
    fn schema(&mut self, raw: Raw<'_>, out: &mut JsonOut) {
        let Some(object) = raw.object() else {
            out.raw_text(raw.get());
            return;
        };
        let told = self.told(&object);
        let description = object.get("description").and_then(Raw::string);
        out.object(|it| {
            for (name, value) in object.iter() {
                if name == "additionalProperties" && is_object(&object)
                    || is_unheld(name, value)
                    || name == "description" && !told.is_empty()
                {
                    continue;
                }
                let out = it.member(name);
                if NAMED_SCHEMAS.contains(&name) {
                    self.named(value, out);
                } else if LISTED_SCHEMAS.contains(&name) {
                    self.listed(value, out);
                } else if name == "items" || name == "not" {
                    self.schema(value, out);
                } else {
                    out.raw_text(value.get());
                }
            }
            if !told.is_empty() {
                let before = description.map_or_else(String::new, |text| text + " ");
                it.string("description", &format!("{before}({told})"));
            }
            if is_object(&object) {
                let open = object.get("additionalProperties");
                if open.is_some_and(|open| open.boolean() != Some(false)) {
                    self.notes
                        .changed(self.field, "objects take no further members");
                }
                it.boolean("additionalProperties", false);
            }
        });
    }

    fn named(&mut self, raw: Raw<'_>, out: &mut JsonOut) {
        let Some(object) = raw.object() else {
            out.raw_text(raw.get());
            return;
        };
        out.object(|it| {
            for (name, value) in object.iter() {
                self.schema(value, it.member(name));
            }
        });
    }

    fn listed(&mut self, raw: Raw<'_>, out: &mut JsonOut) {
        let Some(elements) = raw.array() else {
            out.raw_text(raw.get());
            return;
        };
        out.array(|out| {
            for element in elements {
                self.schema(element, out);
            }
        });
    }

    /// The bounds that are taken out, in words.
    fn told(&mut self, object: &Object<'_>) -> String {
        let unheld = object
            .iter()
            .filter(|(name, value)| is_unheld(name, *value));
        let told: Vec<_> = unheld
            .map(|(name, value)| format!("{name}: {}", value.get()))
            .collect();
        if !told.is_empty() {
            self.notes
                .changed(self.field, "bounds are told to the model, not enforced");
        }
        told.join(", ")
    }
}

/// `minItems` is held for 0 and 1 only.
fn is_unheld(name: &str, value: Raw<'_>) -> bool {
    let is_value = matches!(value.kind(), Kind::Number | Kind::Boolean);
    is_value
        && (UNHELD.contains(&name) || (name == "minItems" && value.count().is_none_or(|n| n > 1)))
}

fn is_object(object: &Object<'_>) -> bool {
    let Some(kind) = object.get("type") else {
        return object
            .get("properties")
            .is_some_and(|it| it.kind() == Kind::Object);
    };
    let lists_object = |kinds: Vec<Raw<'_>>| {
        kinds
            .into_iter()
            .any(|kind| kind.text().as_deref() == Some("object"))
    };
    kind.text().as_deref() == Some("object") || kind.array().is_some_and(lists_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expect: &str) {
        let mut notes = Notes::default();
        let raw = Raw::parse(schema).expect("JSON");
        assert_eq!(closed(raw, "response_format", &mut notes).get(), expect);
    }

    #[test]
    fn objects_are_closed_at_every_depth() {
        check(
            r#"{"type":"object","properties":{"b":{"type":"object","properties":{}},"a":{"type":"array","items":{"type":["object","null"]}}}}"#,
            r#"{"type":"object","properties":{"b":{"type":"object","properties":{},"additionalProperties":false},"a":{"type":"array","items":{"type":["object","null"],"additionalProperties":false}}},"additionalProperties":false}"#,
        );
        check(
            r#"{"anyOf":[{"type":"string"}]}"#,
            r#"{"anyOf":[{"type":"string"}]}"#,
        );
    }

    #[test]
    fn bounds_are_told() {
        check(
            r#"{"type":"integer","minimum":1,"description":"a count"}"#,
            r#"{"type":"integer","description":"a count (minimum: 1)"}"#,
        );
        // A property that is called like a bound is none.
        check(
            r#"{"properties":{"minimum":{"type":"string"}}}"#,
            r#"{"properties":{"minimum":{"type":"string"}},"additionalProperties":false}"#,
        );
    }
}
