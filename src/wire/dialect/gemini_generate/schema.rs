//! Schemas. Google has two ways to say one: a subset of `OpenAPI`'s (`parameters`, `responseSchema`: types
//! in capitals, `nullable`) and JSON Schema itself (`parametersJsonSchema`, `responseJsonSchema`). The
//! first is read into the second; what is written for Google from another dialect is the second.

use crate::types::chat::RawJson;
use crate::wire::json_in::{Kind, Raw};
use crate::wire::json_out::{JsonOut, Members};

/// Deepest nesting that is followed; deeper parts are kept as they are.
const MAX_DEPTH: u32 = 32;

/// A schema of the `OpenAPI` subset as JSON Schema.
pub(super) fn to_json_schema(schema: Raw<'_>) -> RawJson {
    let mut json = JsonOut::with_capacity(schema.get().len());
    write(&mut json, schema, MAX_DEPTH);
    RawJson::new(&json.into_string())
}

fn write(json: &mut JsonOut, schema: Raw<'_>, depth: u32) {
    let object = schema.object().filter(|_| depth > 0);
    let Some(object) = object else {
        return json.raw_text(schema.get());
    };
    let is_nullable = object.get("nullable").and_then(Raw::boolean) == Some(true);
    json.object(|it| {
        for (name, value) in object.iter() {
            match name {
                "type" => write_type(it, value, is_nullable),
                "nullable" => {}
                "properties" | "$defs" | "defs" => write_each(it, name, value, depth),
                "anyOf" | "prefixItems" => write_list(it, name, value, depth),
                "items" | "additionalProperties" => write(it.member(name), value, depth - 1),
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
                | "maxProperties" => write_count(it, name, value),
                _ => it.member(name).raw_text(value.get()),
            }
        }
    });
}

fn write_type(it: &mut Members<'_>, value: Raw<'_>, is_nullable: bool) {
    let Some(name) = value.text() else {
        return it.member("type").raw_text(value.get());
    };
    let name = name.to_ascii_lowercase();
    if is_nullable {
        it.array("type", |list| {
            list.string(&name);
            list.string("null");
        });
    } else {
        it.string("type", &name);
    }
}

/// Counts are 64-bit numbers, which protobuf writes as strings.
fn write_count(it: &mut Members<'_>, name: &str, value: Raw<'_>) {
    match super::members::count(value) {
        Some(count) => it.integer(name, count),
        None => it.member(name).raw_text(value.get()),
    }
}

fn write_each(it: &mut Members<'_>, name: &str, value: Raw<'_>, depth: u32) {
    let Some(schemas) = value.object() else {
        return it.member(name).raw_text(value.get());
    };
    it.object(name, |it| {
        for (name, schema) in schemas.iter() {
            write(it.member(name), schema, depth - 1);
        }
    });
}

fn write_list(it: &mut Members<'_>, name: &str, value: Raw<'_>, depth: u32) {
    let Some(schemas) = value.array().filter(|_| value.kind() == Kind::Array) else {
        return it.member(name).raw_text(value.get());
    };
    it.array(name, |list| {
        for schema in schemas {
            write(list, schema, depth - 1);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_and_nullable_become_json_schema() {
        let openapi = r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true},
            "n":{"type":"ARRAY","items":{"type":"INTEGER"},"minItems":"1"}},"required":["type"]}"#;
        let expect = r#"{"type":"object","properties":{"type":{"type":["string","null"]},"n":{"type":"array","items":{"type":"integer"},"minItems":1}},"required":["type"]}"#;
        let raw = Raw::parse(openapi).expect("JSON");
        assert_eq!(to_json_schema(raw).get(), expect);
    }
}
