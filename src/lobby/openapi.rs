//! The OpenAPI document: made from the handlers and the wire types, and completed with what holds for every route.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::codes::{Code, table};
use super::{api, events, extract, guests, regions, relays, route};
use crate::decide::route::{MAX_LATENCIES, MAX_LATENCY_MS, MAX_REGION_NAME};

const INTRODUCTION: &str = "Creates and controls sessions, and sends clients to the nearest relay that has room.\n\nErrors are problems (RFC \
     9457) in `application/problem+json`. Their `code` is stable; `title` and `detail` are for people and may change. New \
     codes may come: treat one that is not known by its status.\n\n";

#[derive(OpenApi)]
#[openapi(
    info(title = "Convene lobby"),
    paths(
        api::create, api::join, api::get, api::rename, api::relocate, api::close, api::list, events::stream, guests::list,
        guests::approve, guests::refuse, regions::list, relays::list, relays::drain, relays::uncordon, route::explain,
        api::jwks
    ),
    tags(
        (name = "sessions", description = "Create, join, read, list, rename, move and close sessions"),
        (name = "guests", description = "Let guests in, where the host is to be asked"),
        (name = "placement", description = "Where sessions can go"),
        (name = "relays", description = "For the administrator: see relays, and have one leave"),
        (name = "keys", description = "What tokens are verified with"),
    )
)]
struct Document;

/// The document.
pub fn document() -> Value {
    let mut document = Document::openapi();
    document.info.description = Some(format!("{INTRODUCTION}{}", table()));
    let bearer = |description: &str| {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some(description.to_owned());
        SecurityScheme::Http(scheme)
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("hostToken", bearer("Secret of a session's host, from the answer that created it"));
    components.add_security_scheme("adminToken", bearer("Secret of the lobby's administrator"));
    let mut document = serde_json::to_value(document).expect("the document is JSON");
    bound_latencies(&mut document);
    allow_one_target(&mut document);
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete(path, method, operation);
        }
    }
    document
}

/// What the types cannot say of the map of latencies.
fn bound_latencies(document: &mut Value) {
    let latencies = &mut document["components"]["schemas"]["ClientPlace"]["properties"]["latencies"];
    latencies["maxProperties"] = MAX_LATENCIES.into();
    latencies["propertyNames"] = json!({"pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_REGION_NAME});
    latencies["additionalProperties"] = json!({"type": "number", "minimum": 0, "maximum": MAX_LATENCY_MS});
}

/// What the types cannot say of a move: a region or a pool, not both.
fn allow_one_target(document: &mut Value) {
    let text = json!({"type": "string"});
    document["components"]["schemas"]["MoveSession"]["not"] =
        json!({"required": ["region", "pool"], "properties": {"region": text, "pool": text}});
}

/// Adds the refusals that any route of this form can give, and the form of all refusals.
fn complete(path: &str, method: &str, operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        // One that is left out is not there; it is never null.
        if let Some(Value::Array(types)) = parameter.pointer("/schema/type")
            && let Some(of) = types.iter().find(|of| **of != "null").cloned()
        {
            parameter["schema"]["type"] = of;
        }
    }
    let takes_body = operation.get("requestBody").is_some();
    let mut common = vec![Code::RequestTimeout, Code::RateLimited, Code::Overloaded];
    if extract::takes_no_unknown_query(path) {
        common.push(Code::InvalidQuery);
    }
    if takes_body {
        common.extend([Code::InvalidBody, Code::BodyTooLarge, Code::UnsupportedMediaType]);
    }
    if takes_body && method != "patch" {
        // An empty body is the value of all defaults.
        operation["requestBody"]["required"] = false.into();
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for code in common {
        mention(responses, code);
    }
    for (status, response) in responses.iter_mut() {
        if status.as_str() < "400" {
            describe_events(response);
            continue;
        }
        response["content"] = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        if matches!(status.as_str(), "429" | "503") {
            response["headers"] = json!({"Retry-After": {
                "description": "Seconds after which to ask again", "schema": {"type": "integer", "minimum": 1},
            }});
        }
    }
}

/// What the types cannot say of a stream of events: each is an object of text fields, of which `data` is JSON.
fn describe_events(response: &mut Value) {
    let Some(stream) = response.pointer_mut("/content/text~1event-stream") else { return };
    let of = stream["schema"].take();
    stream["schema"] = json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "description": "The `type` of the data"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": of},
        },
    });
}

fn mention(responses: &mut Map<String, Value>, code: Code) {
    let facts = code.facts();
    let word = format!("`{}`", facts.word);
    let response = responses.entry(facts.status.as_str()).or_insert_with(|| json!({"description": ""}));
    let told = response["description"].as_str().unwrap_or_default();
    if !told.contains(&word) {
        let joint = if told.is_empty() { "" } else { ", " };
        // In front, since what follows a semicolon is said of the whole.
        response["description"] = format!("{word}{joint}{told}").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_route_and_type() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let expected = [
            "/v1/jwks.json",
            "/v1/regions",
            "/v1/relays",
            "/v1/relays/{pool}/{relay}/drain",
            "/v1/relays/{pool}/{relay}/uncordon",
            "/v1/route",
            "/v1/sessions",
            "/v1/sessions/{id}",
            "/v1/sessions/{id}/events",
            "/v1/sessions/{id}/guests",
            "/v1/sessions/{id}/guests/{guest}/approve",
            "/v1/sessions/{id}/guests/{guest}/refuse",
            "/v1/sessions/{id}/join",
            "/v1/sessions/{id}/move",
        ];
        let mut found: Vec<&str> = paths.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        for name in ["CreateSession", "SessionCreated", "RankedPool", "Problem", "ClientPlace", "Rung"] {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_code_that_a_route_names_stands_in_the_table_under_that_status() {
        let document = document();
        let mut named = 0;
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                for (status, response) in operation["responses"].as_object().expect("responses") {
                    if status.as_str() < "400" {
                        continue;
                    }
                    let of = format!("{method} {path}: {status}");
                    assert!(response["content"].get("application/problem+json").is_some(), "{of}");
                    let description = response["description"].as_str().expect("a description");
                    let words: Vec<&str> = description.split('`').skip(1).step_by(2).collect();
                    assert!(!words.is_empty(), "{of}");
                    for word in words {
                        let known = Code::ALL.iter().map(|code| code.facts()).find(|facts| facts.word == word);
                        assert_eq!(
                            known.map(|facts| facts.status.as_str().to_owned()),
                            Some(status.clone()),
                            "{of} {word}"
                        );
                        named += 1;
                    }
                }
            }
        }
        assert!(named > 40, "{named}");
    }
}
