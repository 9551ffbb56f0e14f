//! What a tool is called with, where a dialect carries it as a JSON object.

use crate::types::chat::ToolInput;
use crate::wire::json_in::Raw;
use crate::wire::json_out::JsonOut;

/// Writes the input as an object: empty text as `{}`, what is no object under `_invalid_json`, free text
/// under `input`.
pub(in crate::wire) fn write(json: &mut JsonOut, input: &ToolInput) {
    match input {
        ToolInput::Json(text) if text.trim().is_empty() => json.object(|_| {}),
        ToolInput::Json(text) if is_json_object(text) => json.raw_text(text.trim()),
        ToolInput::Json(text) => json.object(|it| it.string("_invalid_json", text)),
        ToolInput::Text(text) => json.object(|it| it.string("input", text)),
    }
}

/// True for the text of a JSON object.
pub(in crate::wire) fn is_json_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && Raw::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_an_object_whatever_the_model_wrote() {
        let check = |text: &str, expect: &str| {
            let mut json = JsonOut::default();
            write(&mut json, &ToolInput::Json(text.to_owned()));
            assert_eq!(json.into_string(), expect);
        };
        check(" {\"a\": 1} ", "{\"a\": 1}");
        check(" ", "{}");
        check("{\"a\":", "{\"_invalid_json\":\"{\\\"a\\\":\"}");
        check("[1]", "{\"_invalid_json\":\"[1]\"}");
    }
}
