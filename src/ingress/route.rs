//! Method and path to what is asked for.
//!
//! The path is normalised once and matched whole; what goes upstream is a fixed path of the
//! endpoint, never the client's. Both base URLs that people write (`…/v1` and without) work.

use std::borrow::Cow;

use http::Method;

use crate::error::{ErrorKind, ProxyError};
use crate::types::{Endpoint, RelayPath};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// An answer of a model.
    Generate(Endpoint),
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// Passed through to a provider.
    Relay(RelayPath),
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
    /// `GET` and `DELETE /v1/responses/{id}`: the id, not yet checked.
    Response(String),
    /// `GET /v1/responses/{id}/input_items`
    ResponseInput(String),
    /// `POST /v1/responses/{id}/cancel`
    ResponseCancel(String),
}

/// Longest path that is looked at; model ids are capped well below it.
const MAX_PATH_BYTES: usize = 1024;

/// Finds the route of a request. `path` is the URI's path, without its query.
///
/// # Errors
/// `NotFound`, and `MethodNotAllowed` with the method that [`allow`] gives.
pub fn route(method: &Method, path: &str) -> Result<Route, ProxyError> {
    let Some(found) = of_path(path) else {
        let message = "there is nothing at this path; see the API reference for the endpoints";
        return Err(ProxyError::new(ErrorKind::NotFound, message));
    };
    let allow = found.method();
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        return Ok(found);
    }
    let message = format!("this path takes {allow} only");
    Err(ProxyError::new(ErrorKind::MethodNotAllowed, message))
}

/// The method that `path` takes: what the `allow` header of a 405 says (RFC 9110 §15.5.6).
#[must_use]
pub fn allow(path: &str) -> Option<&'static str> {
    of_path(path).map(|route| route.method())
}

/// The endpoint whose dialect an error at `path` is written in: a client of Anthropic's API reads its
/// envelope only.
#[must_use]
pub fn speaks(path: &str) -> Endpoint {
    match of_path(path) {
        Some(Route::Generate(endpoint)) => endpoint,
        Some(Route::CountTokens) => Endpoint::Messages,
        _ => Endpoint::ChatCompletions,
    }
}

impl Route {
    const fn method(&self) -> &'static str {
        match self {
            Self::Relay(path) => path.methods(),
            Self::Generate(_)
            | Self::CountTokens
            | Self::Explain
            | Self::Feedback
            | Self::ResponseCancel(_) => "POST",
            Self::Response(_) => "GET, DELETE",
            Self::Models | Self::Model(_) | Self::RequestRecord(_) | Self::ResponseInput(_) => {
                "GET"
            }
        }
    }
}

fn of_path(path: &str) -> Option<Route> {
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let path = collapse_slashes(path);
    let below = path
        .strip_prefix("/v1/")
        .or_else(|| path.strip_prefix('/'))?;
    let below = below.strip_suffix('/').unwrap_or(below);
    match below {
        "chat/completions" => Some(Route::Generate(Endpoint::ChatCompletions)),
        "completions" => Some(Route::Generate(Endpoint::Completions)),
        "embeddings" => Some(Route::Generate(Endpoint::Embeddings)),
        "messages" => Some(Route::Generate(Endpoint::Messages)),
        "messages/count_tokens" => Some(Route::CountTokens),
        "responses" => Some(Route::Generate(Endpoint::Responses)),
        "models" => Some(Route::Models),
        "route" => Some(Route::Explain),
        "feedback" => Some(Route::Feedback),
        _ => {
            if let Some(id) = below.strip_prefix("models/") {
                return decode_id(id).map(Route::Model);
            }
            if let Some(id) = below.strip_prefix("requests/") {
                return decode_id(id).map(Route::RequestRecord);
            }
            if let Some(below) = below.strip_prefix("responses/") {
                return kept(below);
            }
            RelayPath::parse(below).map(Route::Relay)
        }
    }
}

/// What is asked of a kept response.
fn kept(below: &str) -> Option<Route> {
    let (id, what) = below.split_once('/').unwrap_or((below, ""));
    let id = decode_id(id).filter(|id| !id.contains('/'))?;
    match what {
        "" => Some(Route::Response(id)),
        "input_items" => Some(Route::ResponseInput(id)),
        "cancel" => Some(Route::ResponseCancel(id)),
        _ => None,
    }
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
        assert_eq!(routed(request).as_ref(), Ok(expect), "{request}");
    }

    fn check_refused(request: &str, expect: ErrorKind) {
        assert_eq!(routed(request), Err(expect), "{request}");
    }

    fn routed(request: &str) -> Result<Route, ErrorKind> {
        let (method, path) = request.split_once(' ').expect("method and path");
        let method: Method = method.parse().expect("a method");
        route(&method, path).map_err(|error| error.kind)
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
                &on("POST BASE/responses"),
                &Route::Generate(Endpoint::Responses),
            );
            check(
                &on("POST BASE/embeddings"),
                &Route::Generate(Endpoint::Embeddings),
            );
            check(
                &on("POST BASE/messages"),
                &Route::Generate(Endpoint::Messages),
            );
            check(&on("POST BASE/messages/count_tokens"), &Route::CountTokens);
            check(&on("GET BASE/models"), &Route::Models);
            check(&on("GET BASE/models/gpt-4o"), &model("gpt-4o"));
            check(&on("POST BASE/route"), &Route::Explain);
            check(&on("POST BASE/feedback"), &Route::Feedback);
            check(
                &on("GET BASE/requests/abc"),
                &Route::RequestRecord("abc".to_owned()),
            );
            let id = || "resp_1".to_owned();
            check(&on("GET BASE/responses/resp_1"), &Route::Response(id()));
            check(&on("DELETE BASE/responses/resp_1"), &Route::Response(id()));
            check(
                &on("GET BASE/responses/resp_1/input_items"),
                &Route::ResponseInput(id()),
            );
            check(
                &on("POST BASE/responses/resp_1/cancel"),
                &Route::ResponseCancel(id()),
            );
        }
    }

    #[test]
    fn the_method_must_fit_the_path() {
        check_refused("GET /v1/chat/completions", ErrorKind::MethodNotAllowed);
        check_refused("DELETE /v1/models/gpt-4o", ErrorKind::MethodNotAllowed);
        check_refused("POST /v1/models", ErrorKind::MethodNotAllowed);
        assert_eq!(allow("/v1/models"), Some("GET"));
        check_refused("POST /v1/nothing", ErrorKind::NotFound);
        check_refused("GET /v1/messages", ErrorKind::MethodNotAllowed);
        assert_eq!(speaks("/v1/messages/"), Endpoint::Messages);
        assert_eq!(speaks("/messages/count_tokens"), Endpoint::Messages);
        assert_eq!(speaks("/v1/nothing"), Endpoint::ChatCompletions);
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
            check_refused(&format!("GET {path}"), ErrorKind::NotFound);
        }
        check_refused(
            &format!("GET /v1/models/{}", "a".repeat(2000)),
            ErrorKind::NotFound,
        );
    }

    proptest! {
        #[test]
        fn any_path_is_survived(path in "(/|%|\\.|[a-z0-9]|v1|models|\\PC){0,30}") {
            let _ = route(&Method::GET, &path);
        }
    }
}
