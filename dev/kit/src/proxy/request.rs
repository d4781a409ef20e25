//! What a request to the apiserver asks for, read from its method and URL.

use std::fmt;

use reqwest::Method;

/// A request as a [rule](super::Rule) sees it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The plural name and, after a slash, the subresource: `secrets`, `secretversions/status`. Empty for URLs that name
    /// none, such as `/version`.
    pub resource: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The object's name; empty for lists and creates.
    pub name: String,
    /// The query, as it was sent.
    pub query: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    pub(super) fn read(method: &Method, path: &str, query: &str, body: Vec<u8>) -> Self {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", rest),
        };
        let (resource, name) = match rest {
            [] => (String::new(), ""),
            [resource] => ((*resource).to_owned(), ""),
            [resource, name] => ((*resource).to_owned(), *name),
            [resource, name, sub @ ..] => (format!("{resource}/{}", sub.join("/")), *name),
        };
        let watch = query.split('&').any(|pair| matches!(pair, "watch" | "watch=1" | "watch=true"));
        let verb = match (method, name) {
            (&Method::GET, _) if watch => "watch",
            (&Method::GET, "") => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, "") => "deletecollection",
            (&Method::DELETE, _) => "delete",
            _ => "",
        };
        let (verb, namespace, name, query) = (verb.into(), namespace.into(), name.into(), query.into());
        Self { verb, resource, namespace, name, query, body }
    }

    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it asks for a later page of a list.
    pub fn is_continued(&self) -> bool {
        self.query.split('&').any(|pair| pair.starts_with("continue="))
    }
}

impl fmt::Debug for Request {
    /// The body is left out: it may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, namespace, name, query: _, body: _ } = self;
        write!(f, "{verb} {resource} {namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_the_apiserver_reads_them() {
        let custom = "/apis/secrets.abeja.io/v1alpha1";
        for (method, path, query, expected) in [
            (Method::GET, "/api/v1/secrets".to_owned(), "", ["list", "secrets", "", ""]),
            (Method::GET, "/api/v1/secrets".to_owned(), "a=b&watch=true", ["watch", "secrets", "", ""]),
            (Method::GET, "/api/v1/namespaces/n/secrets/s".to_owned(), "", ["get", "secrets", "n", "s"]),
            (Method::GET, "/api/v1/namespaces/n".to_owned(), "", ["get", "namespaces", "", "n"]),
            (
                Method::PATCH,
                format!("{custom}/namespaces/n/secretversions/v"),
                "",
                ["patch", "secretversions", "n", "v"],
            ),
            (
                Method::PATCH,
                format!("{custom}/namespaces/n/secretversions/v/status"),
                "",
                ["patch", "secretversions/status", "n", "v"],
            ),
            (Method::POST, format!("{custom}/namespaces/n/secretversions"), "", ["create", "secretversions", "n", ""]),
            (Method::DELETE, "/api/v1/namespaces/n/secrets".to_owned(), "", ["deletecollection", "secrets", "n", ""]),
            (Method::GET, "/version".to_owned(), "", ["list", "", "", ""]),
        ] {
            let request = Request::read(&method, &path, query, Vec::new());
            let found = [request.verb, request.resource, request.namespace, request.name];
            assert_eq!(found, expected, "{method} {path}?{query}");
        }
    }
}
