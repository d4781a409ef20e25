//! Selectors of labels and fields.

use serde_json::Value;

use crate::http::Request;
use crate::kinds::Kind;
use crate::object;
use crate::refusal::Refusal;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selection {
    pub(crate) fn of(kind: &Kind, request: &Request) -> Result<Self, Refusal> {
        let namespace = Some(request.namespace.clone()).filter(|_| kind.namespaced).filter(|n| !n.is_empty());
        let labels = request.parameter("labelSelector").map(labels).transpose()?.unwrap_or_default();
        let mut fields = Vec::new();
        for part in request.parameter("fieldSelector").into_iter().flat_map(|all| all.split(',')) {
            let (path, equal, value) = if let Some((path, value)) = part.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = part.split_once('=') {
                (path, true, value.trim_start_matches('='))
            } else {
                return Err(Refusal::bad_request(format!("invalid field selector: {part}")));
            };
            let known =
                matches!(path, "metadata.name" | "metadata.namespace") || kind.selectable.iter().any(|p| p == path);
            if !known {
                return Err(Refusal::bad_request(format!("field label not supported: {path}")));
            }
            fields.push((path.to_owned(), equal, value.to_owned()));
        }
        Ok(Self { namespace, labels, fields })
    }

    /// Whether it selects by more than the namespace.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object::text(object, &["metadata", "labels", key]);
        self.namespace.as_deref().is_none_or(|namespace| namespace == object::namespace(object))
            && self.labels.iter().all(|requirement| match requirement {
                Requirement::In(key, values) => label(key).is_some_and(|is| values.iter().any(|v| v == is)),
                Requirement::NotIn(key, values) => label(key).is_none_or(|is| values.iter().all(|v| v != is)),
                Requirement::Exists(key) => label(key).is_some(),
                Requirement::Absent(key) => label(key).is_none(),
            })
            && self.fields.iter().all(|(path, equal, value)| {
                let path: Vec<&str> = path.split('.').collect();
                (object::text(object, &path).unwrap_or_default() == value) == *equal
            })
    }
}

fn labels(text: &str) -> Result<Vec<Requirement>, Refusal> {
    let wrong = || {
        let expected = "expected: in, notin, =, ==, !=, gt, lt";
        let found = text.split_whitespace().nth(1).unwrap_or_default();
        Refusal::bad_request(format!("unable to parse requirement: found '{found}', {expected}"))
    };
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        // A comma within brackets belongs to a set of values.
        let end = match (rest.find(','), rest.find('(')) {
            (Some(comma), Some(open)) if open < comma => rest.find(')').map(|close| close + 1).ok_or_else(wrong)?,
            (Some(comma), _) => comma,
            (None, _) => rest.len(),
        };
        found.push(requirement(rest[..end].trim()).ok_or_else(wrong)?);
        rest = rest[end..].trim_start().trim_start_matches(',').trim_start();
    }
    Ok(found)
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().split_once(char::is_whitespace)?;
        return match operator.trim() {
            "in" => Some(Requirement::In(key.to_owned(), values)),
            "notin" => Some(Requirement::NotIn(key.to_owned(), values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once('=') {
        return Some(Requirement::In(key.trim().to_owned(), vec![value.trim_start_matches('=').trim().to_owned()]));
    }
    match part.strip_prefix('!') {
        Some(key) => Some(Requirement::Absent(key.trim().to_owned())),
        None if part.is_empty() || part.contains(char::is_whitespace) => None,
        None => Some(Requirement::Exists(part.to_owned())),
    }
}
