//! The OpenAPI document, made from the handlers and the wire types.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Convene lobby",
        description = "Creates and controls sessions, and sends clients to the nearest relay that has room. Errors are problems (RFC 9457) with stable codes."
    ),
    paths(api::create, api::join, api::get, api::close, api::list, api::regions, api::jwks),
    tags(
        (name = "sessions", description = "Create, join, read, list and close sessions"),
        (name = "placement", description = "Where sessions can go"),
        (name = "keys", description = "What tokens are verified with"),
    )
)]
struct Document;

/// The document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let bearer = |description: &str| {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some(description.to_owned());
        SecurityScheme::Http(scheme)
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("hostToken", bearer("Secret of a session's host, from the answer that created it"));
    components.add_security_scheme("adminToken", bearer("Secret of the lobby's administrator"));
    document
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_names_every_route_and_type() {
        let document = serde_json::to_value(super::document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let expected = ["/v1/jwks.json", "/v1/regions", "/v1/sessions", "/v1/sessions/{id}", "/v1/sessions/{id}/join"];
        let mut found: Vec<&str> = paths.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        for name in ["CreateSession", "SessionCreated", "RankedPool", "Problem", "ClientPlace", "Rung"] {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
