//! Method and path to what is asked for.
//!
//! The path is normalised once and matched whole; what goes upstream is a fixed path of the
//! endpoint, never the client's. Both base URLs that people write (`…/v1` and without) work.

use std::borrow::Cow;

use http::Method;

use crate::types::Endpoint;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// An answer of a model.
    Generate(Endpoint),
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`: the id, decoded; it may contain slashes.
    Model(String),
    /// `POST /v1/route`: explain without calling an upstream.
    Explain,
    /// `POST /v1/feedback`
    Feedback,
    /// `GET /v1/requests/{request_id}`: the id, not yet checked.
    RequestRecord(String),
    /// No such path.
    NotFound,
    /// The path exists; these methods are for it (the value of `allow`).
    MethodNotAllowed(&'static str),
}

/// Longest path that is looked at; model ids are capped well below it.
const MAX_PATH_BYTES: usize = 1024;

/// Finds the route of a request. `path` is the URI's path, without its query.
#[must_use]
pub fn route(method: &Method, path: &str) -> Route {
    if path.len() > MAX_PATH_BYTES {
        return Route::NotFound;
    }
    let path = collapse_slashes(path);
    let below = path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/'));
    let Some(below) = below else {
        return Route::NotFound;
    };
    let below = below.strip_suffix('/').unwrap_or(below);
    let (found, allow) = match below {
        "chat/completions" => (Route::Generate(Endpoint::ChatCompletions), "POST"),
        "completions" => (Route::Generate(Endpoint::Completions), "POST"),
        "embeddings" => (Route::Generate(Endpoint::Embeddings), "POST"),
        "models" => (Route::Models, "GET"),
        "route" => (Route::Explain, "POST"),
        "feedback" => (Route::Feedback, "POST"),
        _ => {
            let found = if let Some(id) = below.strip_prefix("models/") {
                decode_id(id).map(Route::Model)
            } else if let Some(id) = below.strip_prefix("requests/") {
                decode_id(id).map(Route::RequestRecord)
            } else {
                None
            };
            (found.unwrap_or(Route::NotFound), "GET")
        }
    };
    if found == Route::NotFound || method.as_str() == allow {
        return found;
    }
    Route::MethodNotAllowed(allow)
}

/// `//` is `/`: base URLs end with a slash now and then.
fn collapse_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut collapsed = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !collapsed.ends_with('/') {
            collapsed.push(character);
        }
    }
    Cow::Owned(collapsed)
}

/// The last part of a path with its percent-encoding resolved, once. Ids are names: dot segments,
/// back slashes, control characters, encoded percent signs and broken encodings are none.
fn decode_id(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2)?;
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
        rest = &after[2..];
    }
    let id = String::from_utf8(bytes).ok()?;
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    let odd = |character: char| character.is_control() || matches!(character, '\\' | '%');
    (id.split('/').all(is_name) && !id.contains(odd)).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(request: &str, expect: &Route) {
        let (method, path) = request.split_once(' ').expect("method and path");
        let method: Method = method.parse().expect("a method");
        assert_eq!(route(&method, path), *expect, "{request}");
    }

    fn model(id: &str) -> Route {
        Route::Model(id.to_owned())
    }

    #[test]
    fn every_endpoint_with_and_without_v1() {
        for base in ["", "/v1", "/", "/v1/", "//v1"] {
            let on = |rest: &str| rest.replacen("BASE", base, 1);
            let chat = Route::Generate(Endpoint::ChatCompletions);
            check(&on("POST BASE/chat/completions"), &chat);
            check(&on("POST BASE/chat/completions/"), &chat);
            check(
                &on("POST BASE/completions"),
                &Route::Generate(Endpoint::Completions),
            );
            check(
                &on("POST BASE/embeddings"),
                &Route::Generate(Endpoint::Embeddings),
            );
            check(&on("GET BASE/models"), &Route::Models);
            check(&on("GET BASE/models/gpt-4o"), &model("gpt-4o"));
            check(&on("POST BASE/route"), &Route::Explain);
            check(&on("POST BASE/feedback"), &Route::Feedback);
            check(
                &on("GET BASE/requests/abc"),
                &Route::RequestRecord("abc".to_owned()),
            );
        }
    }

    #[test]
    fn the_method_must_fit_the_path() {
        check("GET /v1/chat/completions", &Route::MethodNotAllowed("POST"));
        check("DELETE /v1/models/gpt-4o", &Route::MethodNotAllowed("GET"));
        check("POST /v1/models", &Route::MethodNotAllowed("GET"));
        check("POST /v1/nothing", &Route::NotFound);
    }

    #[test]
    fn model_ids_may_have_slashes_and_encoding() {
        check(
            "GET /v1/models/meta-llama/Llama-3.3-70B",
            &model("meta-llama/Llama-3.3-70B"),
        );
        check(
            "GET /v1/models/meta-llama%2FLlama-3.3",
            &model("meta-llama/Llama-3.3"),
        );
        check("GET /v1/models/qwen3%3a8b", &model("qwen3:8b"));
        check("GET /v1/models/mod%C3%A8le", &model("modèle"));
    }

    #[test]
    fn tricks_find_nothing() {
        for path in [
            "/v1/models/../admin",
            "/v1/models/%2e%2e/admin",
            "/v1/models/a%2f..%2fb",
            "/v1/models/%252e",
            "/v1/models/a%00",
            "/v1/models/a%5cb",
            "/v1/models/a%",
            "/v1/models/a%zz",
            "/v1/models/%ff",
            "/v1/models/./a",
            "/v1%2fmodels",
            "/v1/chat%2fcompletions",
            "/v1/../v1/models",
            "/v1/./models",
            "/V1/models",
            "/v1/Models",
            "/v1;x/models",
            "/v1/models;x",
            "/",
            "",
            "*",
        ] {
            check(&format!("GET {path}"), &Route::NotFound);
        }
        check(
            &format!("GET /v1/models/{}", "a".repeat(2000)),
            &Route::NotFound,
        );
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "(/|%|\\.|[a-z0-9]|v1|models|\\PC){0,30}") {
            let _ = route(&Method::GET, &path);
        }
    }
}
