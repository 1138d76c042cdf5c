//! What a request to a Kubernetes API server is about: verb, resource, object. From its line and its body, nothing else.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is done, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// GET of one object, or of what is no resource.
    Get,
    /// GET of many.
    List,
    /// GET of many, and of what changes from then on.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, server-side apply too.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of many.
    DeleteCollection,
}

impl Verb {
    /// Whether it can change something.
    pub fn mutates(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// As RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// What is done.
    pub verb: Verb,
    /// Plural of the kind, with the subresource where there is one: `pods`, `pods/status`. Empty for what is no resource.
    pub resource: String,
    /// Namespace; empty for what has none, and for all.
    pub namespace: String,
    /// Name of the object; of one that is created, from the body. Empty for many, and where the server makes the name.
    pub name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.resource)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

impl Target {
    /// Reads a request: `path` without its query, `query` without `?`.
    pub fn of(method: &http::Method, path: &str, query: &str, body: &[u8]) -> Self {
        let place = Place::of(path);
        let one = !place.name.is_empty();
        let watches = query.split('&').any(|part| matches!(part, "watch" | "watch=true" | "watch=1"));
        let verb = match method.as_str() {
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" if one => Verb::Delete,
            "DELETE" => Verb::DeleteCollection,
            _ if watches => Verb::Watch,
            _ if one || place.resource.is_empty() => Verb::Get,
            _ => Verb::List,
        };
        let resource = match place.subresource {
            "" => place.resource.to_owned(),
            subresource => format!("{}/{subresource}", place.resource),
        };
        let name = match verb {
            Verb::Create if !one => name_in(body),
            _ => place.name.to_owned(),
        };
        Self { verb, resource, namespace: place.namespace.to_owned(), name }
    }
}

/// Parts of a path below `/api/v1` or `/apis/group/version`.
#[derive(Default)]
struct Place<'a> {
    namespace: &'a str,
    resource: &'a str,
    name: &'a str,
    subresource: &'a str,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = parts.as_slice() else { return Self::default() };
        let (namespace, rest) = match rest {
            // These two are parts of the namespace itself, everything else lies in it.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", rest),
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default();
        Self { namespace, resource: part(0), name: part(1), subresource: part(2) }
    }
}

fn name_in(body: &[u8]) -> String {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let name = body.as_ref().and_then(|body| body.pointer("/metadata/name")?.as_str());
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &http::Method, path: &str, query: &str, body: &str) -> (String, String) {
        let target = Target::of(method, path, query, body.as_bytes());
        (target.to_string(), target.namespace)
    }

    #[test]
    fn requests_are_read() {
        use http::Method as M;
        let said = |text: &str, namespace: &str| (text.to_owned(), namespace.to_owned());
        let body = r#"{"metadata":{"name":"a-0"}}"#;
        for (method, path, query, expected) in [
            (M::POST, "/api/v1/namespaces/x/pods", "fieldManager=a", said("create pods a-0", "x")),
            (M::GET, "/api/v1/namespaces/x/pods/a", "", said("get pods a", "x")),
            (M::GET, "/api/v1/namespaces/x/pods", "labelSelector=a", said("list pods", "x")),
            (M::GET, "/api/v1/pods", "&watch=true&x=y", said("watch pods", "")),
            (M::GET, "/api/v1/namespaces/x", "", said("get namespaces x", "")),
            (M::PUT, "/api/v1/namespaces/x/finalize", "", said("update namespaces/finalize x", "")),
            (M::GET, "/api/v1/namespaces", "", said("list namespaces", "")),
            (M::PATCH, "/apis/a.dev/v1/namespaces/x/lobbies/l/status", "", said("patch lobbies/status l", "x")),
            (M::DELETE, "/apis/apps/v1/namespaces/x/deployments/d", "", said("delete deployments d", "x")),
            (M::DELETE, "/apis/apps/v1/namespaces/x/deployments", "", said("deletecollection deployments", "x")),
            (M::POST, "/api/v1/namespaces/x/pods/a/eviction", "", said("create pods/eviction a", "x")),
            (M::GET, "/openid/v1/jwks", "", said("get ", "")),
            (M::GET, "/", "", said("get ", "")),
        ] {
            assert_eq!(read(&method, path, query, body), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_names_nothing() {
        assert_eq!(read(&http::Method::POST, "/api/v1/namespaces/x/pods", "", "name: a").0, "create pods");
    }
}
