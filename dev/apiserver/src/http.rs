//! From an HTTP request to what it asks for, and from an outcome to an HTTP answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};

use crate::client::Broken;
use crate::kinds::Kind;
use crate::object;
use crate::refusal::Refusal;

pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many.
    List,
    /// Follows many.
    Watch,
    /// Makes one.
    Create,
    /// Replaces one.
    Update,
    /// Changes one.
    Patch,
    /// Deletes one.
    Delete,
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Who asks.
    pub client: String,
    /// What is to be done.
    pub verb: Verb,
    /// The API group; empty for the core.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The plural name, such as `secrets`.
    pub resource: String,
    /// Such as `status`; else empty.
    pub subresource: String,
    /// The namespace; empty for requests of the whole cluster.
    pub namespace: String,
    /// The object's name; empty for lists and creates.
    pub name: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// Whether only metadata is wanted.
    pub metadata_only: bool,
    /// The body, as it came.
    pub body: Bytes,
    pub(crate) content_type: String,
    user_agent: String,
}

impl Request {
    pub(crate) fn parse(client: &str, head: &http::request::Parts, body: Bytes) -> Result<Self, Refusal> {
        let path = head.uri.path();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::not_modelled(path)),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => (*namespace, rest),
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", ""),
            [resource, name] => (*resource, *name, ""),
            [resource, name, subresource] => (*resource, *name, *subresource),
            _ => return Err(Refusal::not_modelled(path)),
        };
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let watched = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let verb = match (&head.method, name.is_empty()) {
            (&Method::GET, true) if watched => Verb::Watch,
            (&Method::GET, true) => Verb::List,
            (&Method::GET, false) => Verb::Get,
            (&Method::POST, true) => Verb::Create,
            (&Method::PUT, false) => Verb::Update,
            (&Method::PATCH, false) => Verb::Patch,
            (&Method::DELETE, false) => Verb::Delete,
            (method, _) => return Err(Refusal::not_modelled(&format!("{method} {path}"))),
        };
        if query.contains_key("dryRun") {
            return Err(Refusal::not_modelled("dryRun"));
        }
        let header = |name| text(&head.headers, name);
        Ok(Self {
            client: client.to_owned(),
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            query,
            metadata_only: header(header::ACCEPT).contains("as=PartialObjectMetadata"),
            body,
            content_type: header(header::CONTENT_TYPE),
            user_agent: header(header::USER_AGENT),
        })
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Under which name fields are owned.
    pub(crate) fn manager(&self) -> &str {
        let agent = self.user_agent.split('/').next().filter(|agent| !agent.is_empty());
        self.parameter("fieldManager").or(agent).unwrap_or("unknown")
    }

    /// The body as JSON; an empty one is null.
    pub(crate) fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request(format!("error decoding body: {error}")))
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// An object as a client wants to see it.
pub(crate) fn shown(object: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
    } else {
        object.clone()
    }
}

/// The answer to a delete after which the object is gone.
pub(crate) fn gone(kind: &Kind, object: &Value) -> Value {
    let mut details = crate::refusal::details(&kind.group, &kind.plural, object::name(object));
    details["uid"] = object["metadata"]["uid"].clone();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// An answer in one piece.
pub(crate) fn whole(code: u16, body: &Value, retry_after: Option<u32>) -> Response<Body> {
    let bytes = Bytes::from(body.to_string());
    let mut response = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}

/// An answer that breaks off in the middle.
pub(crate) fn truncated(code: u16, body: &Value) -> Response<Body> {
    let text = body.to_string().into_bytes();
    let half = Bytes::copy_from_slice(&text[..text.len() / 2]);
    let pieces = futures::stream::iter([Ok(http_body::Frame::data(half)), Err(Broken)]);
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// What a server answers that does not know the path.
pub(crate) fn no_such_path() -> Response<Body> {
    let text = Bytes::from_static(b"404 page not found\n");
    let mut response = Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
