//! One call against the state: credential, rights, parameters, body, store, in this order.
//! Pure but for the state it changes: no clock, no network, no faults.

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::{self, Credentials};
use crate::call::{Call, Operation, Parameters};
use crate::store::{SecretPath, Store, View};
use crate::wire::{self, Answer, ApiError, Status};

/// A request that was read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The call, or why it is none.
    pub(crate) call: Result<Call, ApiError>,
}

/// How a fault bends the execution of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bend {
    /// Versions created after this are not shown.
    pub(crate) until: Option<Timestamp>,
    /// Lists begin at their first row whatever `offset` says.
    pub(crate) from_start: bool,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    /// Whether a write was carried out.
    pub(crate) committed: bool,
    /// The version that a creation made.
    pub(crate) created: Option<String>,
}

/// Carries a request out, or refuses it as the platform would.
pub(crate) fn execute(
    store: &mut Store,
    credentials: &Credentials,
    request: &Request,
    bend: Bend,
    now: Timestamp,
) -> Outcome {
    match attempt(store, credentials, request, bend, now) {
        Ok(outcome) => outcome,
        Err(error) => Outcome { answer: error.into(), committed: false, created: None },
    }
}

fn attempt(
    store: &mut Store,
    credentials: &Credentials,
    request: &Request,
    bend: Bend,
    now: Timestamp,
) -> Result<Outcome, ApiError> {
    let credential = credentials.identify(&request.headers).ok_or_else(auth::unauthorized)?;
    let call = request.call.as_ref().map_err(Clone::clone)?;
    credential.permits(call)?;
    let Parameters { mut page, return_secret_value } = Parameters::parse(&request.uri)?;
    if bend.from_start {
        page.offset = 0;
    }
    let view = View { values: return_secret_value, until: bend.until };
    let path = SecretPath { organization: &call.organization_id, secret: &call.secret_id };
    let version = call.version_id.as_str();
    match call.operation {
        Operation::ListSecrets => read(&store.list_secrets(path.organization, page, view)?),
        Operation::GetSecret => read(&store.get_secret(path, view)?),
        Operation::ListVersions => read(&store.list_versions(path, page, view)?),
        Operation::GetVersion => read(&store.get_version(path, version, view)?),
        Operation::CreateVersion => {
            let value = value_of(&request.body)?;
            let created = store.create_version(path, value, view.values, now)?;
            Ok(Outcome { created: Some(created.id.clone()), ..written(&created)? })
        }
        Operation::UpdateVersion => {
            let status = status_of(&request.body)?;
            written(&store.update_version(path, version, status, view.values, now)?)
        }
        Operation::DeleteVersion => written(&store.delete_version(path, version)?),
    }
}

fn read(shown: &impl Serialize) -> Result<Outcome, ApiError> {
    let body = serde_json::to_vec(shown)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"))?;
    Ok(Outcome { answer: Answer::json(StatusCode::OK, body), committed: false, created: None })
}

fn written(shown: &impl Serialize) -> Result<Outcome, ApiError> {
    Ok(Outcome { committed: true, ..read(shown)? })
}

fn value_of(body: &[u8]) -> Result<Vec<u8>, ApiError> {
    #[derive(Deserialize)]
    struct Create {
        value: String,
    }
    let create: Create = serde_json::from_slice(body)
        .map_err(|_| ApiError::bad_request("the body must be JSON with a string \"value\""))?;
    wire::decode(&create.value).ok_or_else(|| ApiError::bad_request("\"value\" must be base64"))
}

fn status_of(body: &[u8]) -> Result<Status, ApiError> {
    #[derive(Deserialize)]
    struct Update {
        status: Status,
    }
    serde_json::from_slice(body)
        .map(|update: Update| update.status)
        .map_err(|_| ApiError::bad_request("the body must be JSON with \"status\" \"active\" or \"inactive\""))
}
