//! `/_control`: what a test or a person does to the simulator itself. Without credentials, and
//! from loopback addresses only. None of it enters the journal.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::FaultSpec;
use crate::journal::Entry;
use crate::seed::{CredentialSeed, Seed, Settings, VersionSeed};
use crate::store::{Page, SecretPath, View};
use crate::wire::{self, ApiError, Status};
use crate::world::{Peer, Simulator};

/// The routes below `/_control`.
pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/state", get(state))
        .route("/seed", put(seed))
        .route("/journal", get(read_journal).delete(clear_journal))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/versions", post(edit_version))
        .route("/secrets", post(edit_secret))
        .route("/credentials", get(list_credentials).post(add_credential))
        .route("/credentials/{name}", delete(revoke_credential))
        // A world and what is in it may be of any size, and who controls it is trusted.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(loopback_only))
}

/// A dump of values must not be one open port away from a network.
async fn loopback_only(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    if peer.address.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        let refusal = "the control API answers loopback addresses only";
        Refused::new(StatusCode::FORBIDDEN, &refusal).into_response()
    }
}

/// A refusal, with a text that says what to change.
struct Refused {
    status: StatusCode,
    reason: String,
}

impl Refused {
    fn new(status: StatusCode, reason: &impl ToString) -> Self {
        Self { status, reason: reason.to_string() }
    }

    #[allow(clippy::needless_pass_by_value)] // so that it fits map_err
    fn invalid(reason: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &reason)
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::new(error.status, &error.description)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.reason }))).into_response()
    }
}

/// Reads JSON whatever the content type says: it is typed by hand often enough.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(Refused::invalid)
}

/// Everything the simulator holds, values included, tokens not.
#[derive(Serialize)]
struct Dump {
    settings: Settings,
    organizations: Vec<OrganizationState>,
    credentials: Vec<String>,
}

#[derive(Serialize)]
struct OrganizationState {
    id: String,
    secrets: Vec<SecretState>,
}

#[derive(Serialize)]
struct SecretState {
    #[serde(flatten)]
    secret: wire::Secret,
    /// The number that the next version gets: it tells how many there ever were.
    next_version: u64,
}

async fn state(State(simulator): State<Simulator>) -> Result<Json<Dump>, Refused> {
    let world = simulator.lock();
    let store = &world.store;
    let everything = Page { offset: 0, limit: usize::MAX };
    let view = View { values: true, until: None };
    let organizations = store
        .organizations()
        .map(|organization| {
            let list = store.list_secrets(organization, everything, view)?;
            let secrets = list.secrets.into_iter().map(|secret| {
                let next_version = store.next_number(SecretPath { organization, secret: &secret.id })?;
                Ok(SecretState { secret, next_version })
            });
            Ok(OrganizationState { id: organization.to_owned(), secrets: secrets.collect::<Result<_, ApiError>>()? })
        })
        .collect::<Result<_, ApiError>>()?;
    Ok(Json(Dump {
        settings: store.settings().clone(),
        organizations,
        credentials: world.credentials.names().map(str::to_owned).collect(),
    }))
}

async fn seed(State(simulator): State<Simulator>, body: String) -> Result<StatusCode, Refused> {
    let seed = Seed::from_yaml(&body).map_err(Refused::invalid)?;
    simulator.reset(&seed).map_err(Refused::invalid)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    #[serde(default)]
    since: u64,
}

#[derive(Serialize)]
struct JournalPage {
    /// For `since` of the next reading.
    last_seq: u64,
    entries: Vec<Entry>,
}

async fn read_journal(State(simulator): State<Simulator>, Query(query): Query<JournalQuery>) -> Json<JournalPage> {
    let world = simulator.lock();
    Json(JournalPage {
        last_seq: world.journal.last_seq(),
        entries: world.journal.since(query.since).cloned().collect(),
    })
}

async fn clear_journal(State(simulator): State<Simulator>) -> StatusCode {
    simulator.lock().journal.clear();
    StatusCode::NO_CONTENT
}

async fn list_faults(State(simulator): State<Simulator>) -> Response {
    Json(simulator.lock().faults.list()).into_response()
}

async fn add_fault(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refused> {
    let spec: FaultSpec = parse(&body)?;
    let id = simulator.lock().faults.add(spec).map_err(Refused::invalid)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

async fn clear_faults(State(simulator): State<Simulator>) -> StatusCode {
    simulator.lock().faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(simulator): State<Simulator>, Path(id): Path<u64>) -> Result<StatusCode, Refused> {
    found(simulator.lock().faults.remove(id))
}

/// What somebody at the platform's console does to versions.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum VersionEdit {
    Create(CreateVersion),
    Update(UpdateVersion),
    Delete(DeleteVersion),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateVersion {
    organization_id: String,
    secret_id: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateVersion {
    organization_id: String,
    secret_id: String,
    version_id: String,
    status: Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // the names that the API has
struct DeleteVersion {
    organization_id: String,
    secret_id: String,
    version_id: String,
}

async fn edit_version(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refused> {
    let edit: VersionEdit = parse(&body)?;
    let now = simulator.now();
    let store = &mut simulator.lock().store;
    Ok(match edit {
        VersionEdit::Create(edit) => {
            let value = VersionSeed { value: edit.value, value_base64: edit.value_base64, ..VersionSeed::default() };
            let value = value.bytes().map_err(Refused::invalid)?;
            let path = path(&edit.organization_id, &edit.secret_id);
            let created = store.create_version(path, value, false, now)?;
            (StatusCode::CREATED, Json(created)).into_response()
        }
        VersionEdit::Update(edit) => {
            let path = path(&edit.organization_id, &edit.secret_id);
            Json(store.update_version(path, &edit.version_id, edit.status, false, now)?).into_response()
        }
        VersionEdit::Delete(edit) => {
            let path = path(&edit.organization_id, &edit.secret_id);
            Json(store.delete_version(path, &edit.version_id)?).into_response()
        }
    })
}

/// What somebody at the platform's console does to secrets.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretEdit {
    Create(CreateSecret),
    Delete(DeleteSecret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateSecret {
    organization_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteSecret {
    organization_id: String,
    secret_id: String,
}

async fn edit_secret(State(simulator): State<Simulator>, body: Bytes) -> Result<Response, Refused> {
    let edit: SecretEdit = parse(&body)?;
    let store = &mut simulator.lock().store;
    Ok(match edit {
        SecretEdit::Create(edit) => {
            let id = store.create_secret(&edit.organization_id, &edit.name, simulator.now())?;
            (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
        }
        SecretEdit::Delete(edit) => {
            store.delete_secret(path(&edit.organization_id, &edit.secret_id))?;
            StatusCode::NO_CONTENT.into_response()
        }
    })
}

async fn list_credentials(State(simulator): State<Simulator>) -> Json<Vec<String>> {
    Json(simulator.lock().credentials.names().map(str::to_owned).collect())
}

async fn add_credential(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Refused> {
    let credential: CredentialSeed = parse(&body)?;
    credential.check().map_err(Refused::invalid)?;
    simulator.lock().credentials.add(credential);
    Ok(StatusCode::CREATED)
}

async fn revoke_credential(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    found(simulator.lock().credentials.revoke(&name))
}

fn path<'a>(organization: &'a str, secret: &'a str) -> SecretPath<'a> {
    SecretPath { organization, secret }
}

fn found(there: bool) -> Result<StatusCode, Refused> {
    if there {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refused::new(StatusCode::NOT_FOUND, &"there is none of that name"))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test]
    async fn only_loopback_addresses_are_answered() {
        for (address, status) in [
            ("127.0.0.1:1", StatusCode::OK),
            ("[::1]:1", StatusCode::OK),
            ("[::ffff:127.0.0.1]:1", StatusCode::OK),
            ("192.0.2.1:1", StatusCode::FORBIDDEN),
            ("[2001:db8::1]:1", StatusCode::FORBIDDEN),
        ] {
            let simulator = Simulator::new(&Seed::default(), false).unwrap();
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = "/state".parse().unwrap();
            request.extensions_mut().insert(Peer { connection: 1, address: address.parse().unwrap() });
            let service = TowerToHyperService::new(router().with_state(simulator));
            let response = service.call(request).await.unwrap();
            assert_eq!(response.status(), status, "{address}");
        }
    }
}
