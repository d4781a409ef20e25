//! Carries out what the rules ask to see. Reads only.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tokio::time::Instant;

use crate::api::v1alpha1::{ObjectSeen, SecretVersion};
use crate::domain::class::Class;
use crate::domain::decide::is_forced;
use crate::domain::follow::followed;
use crate::domain::observed::{NameFound, Side, Sight, Source, Trouble, Version, Versions};
use crate::domain::reason::Reason;
use crate::domain::step::Look;
use crate::remote::{self, ServedValue, Values};
use crate::secret::SecretBytes;

use super::error::{Error, remote_trouble};
use super::guard::LONGEST_WAIT;
use super::index::{ConnectionKey, Key};
use super::memory::{Named, lock};
use super::pass::{Pass, source_key};
use super::target;
use super::wants::{Answer, Wanted};

/// Types of Secret whose contents never go to the remote.
const PRIVATE_TYPES: [(&str, &str); 3] = [
    ("kubernetes.io/service-account-token", "it holds a ServiceAccount's token"),
    ("bootstrap.kubernetes.io/token", "it holds a bootstrap token"),
    ("helm.sh/release.v1", "it holds a Helm release"),
];

/// Looks, and notes what was seen.
pub(super) async fn look(pass: &mut Pass<'_>, what: Look) -> Result<(), Error> {
    match what {
        Look::Live => live(pass).await,
        Look::Source => source(pass).await,
        Look::Target { version_id } => target::look(pass, &version_id).await,
        Look::Name(name) => name_of(pass, &name).await,
        Look::Versions { values } => {
            if !page(pass, None)? {
                versions(pass, values).await;
            }
            Ok(())
        }
        Look::Version { id } => {
            if !page(pass, Some(&id))? {
                version(pass, id).await;
            }
            Ok(())
        }
        Look::Gone { id } => {
            gone(pass, id).await;
            Ok(())
        }
    }
}

/// Takes the lock of the place, then reads the resource from the apiserver.
async fn live(pass: &mut Pass<'_>) -> Result<(), Error> {
    pass.take_lock().await;
    let found = pass.api().get_opt(pass.name()).await.map_err(|e| Error::kube("reading the resource", e))?;
    let Some(cr) = found.filter(|cr: &SecretVersion| cr.metadata.uid == pass.observed.cr.metadata.uid) else {
        return Err(Error::Gone);
    };
    // Lock and client are those of the connection that the cache named.
    if cr.spec.connection_ref != pass.observed.cr.spec.connection_ref {
        return Err(Error::Conflict);
    }
    pass.observed.live = true;
    pass.set_cr(cr, false);
    pass.survey();
    Ok(())
}

async fn source(pass: &mut Pass<'_>) -> Result<(), Error> {
    let Some(key) = source_key(&pass.observed.cr) else { return Ok(()) };
    let wanted =
        pass.observed.cr.spec.value_from.as_ref().and_then(|v| v.secret_key_ref.as_ref()).map(|s| s.key.clone());
    let api: Api<Secret> = Api::namespaced(pass.ctx.client.clone(), &key.namespace);
    let found = match api.get_opt(&key.name).await {
        Ok(found) => found,
        Err(error) => {
            pass.observed.seen.trouble = Some(Error::kube("reading the source", error).trouble(Side::Remote));
            return Ok(());
        }
    };
    let Some(mut secret) = found else {
        pass.observed.seen.source = Some(Source::NotFound);
        return Ok(());
    };
    let kind = secret.type_.as_deref().unwrap_or_default();
    let private = PRIVATE_TYPES.iter().find(|(name, _)| *name == kind).map(|(_, why)| *why);
    let credential =
        (!pass.ctx.connections.of_secret(&key).is_empty()).then_some("it holds the credential of a connection");
    if let Some(why) = private.or(credential) {
        pass.observed.seen.source = Some(Source::Refused(why));
        return Ok(());
    }
    let object = seen(&secret);
    let bytes = secret.data.as_mut().and_then(|data| data.remove(&wanted.unwrap_or_default()));
    match bytes.map(|b| b.0) {
        None => pass.observed.seen.source = Some(Source::KeyNotFound),
        Some(bytes) if bytes.is_empty() => pass.observed.seen.source = Some(Source::Empty),
        Some(bytes) => {
            pass.source = Some((SecretBytes::from(bytes), object.clone()));
            pass.compare();
            if let Some(Source::Bytes { is_last: Sight::Equal, .. }) = pass.observed.seen.source {
                lock(&pass.memory).source_checked = Some(Box::new(object));
                pass.remember();
            }
        }
    }
    Ok(())
}

/// The ids of all secrets with a name, or why they could not be listed.
type Ids = Result<Vec<String>, remote::Error>;

async fn name_of(pass: &mut Pass<'_>, name: &str) -> Result<(), Error> {
    let found = match ids_from_list(pass, name)? {
        Some(found) => found,
        None => match all_ids(pass, name).await {
            Some(found) => found,
            None => return Ok(()),
        },
    };
    let found = match found {
        Ok(ids) => ids,
        Err(error) if matches!(error.status(), Some(403 | 405)) => {
            pass.observed.seen.name = Some(NameFound::Denied);
            pass.survey();
            return Ok(());
        }
        Err(error) => {
            pass.observed.seen.trouble = Some(remote_trouble(&error));
            return Ok(());
        }
    };
    let connection = ConnectionKey::of(&pass.observed.cr);
    let permitted = |id: &String| pass.ctx.connections.permits(&connection, pass.namespace(), id);
    let mut ids: Vec<String> = found.into_iter().filter(permitted).collect();
    ids.sort_unstable();
    pass.observed.seen.name = Some(match ids.len() {
        0 => NameFound::None,
        1 => NameFound::One(ids.remove(0)),
        _ => NameFound::Several(ids),
    });
    // The name may lead to a secret that may only be read, or that somebody else manages.
    if let Some(NameFound::One(id)) = &pass.observed.seen.name {
        let view = pass.ctx.connections.view_of(&pass.observed.cr, Some(id));
        (pass.observed.link, pass.remote) = (view.link, view.client);
    }
    pass.survey();
    Ok(())
}

/// The ids of all secrets with a name, from a list that others were served by, too. It is kept for a moment: what else the
/// resource waits for may take as long.
fn ids_from_list(pass: &mut Pass<'_>, name: &str) -> Result<Option<Ids>, Error> {
    let now = Instant::now();
    let known = lock(&pass.memory).named.clone();
    if let Some(known) = known.filter(|known| known.name == name && now < known.until) {
        return Ok(Some(Ok(known.ids.to_vec())));
    }
    match ask(pass, &Wanted::Name(name.to_owned()))? {
        Some(Answer::Ids(ids)) => {
            let all = ids.to_vec();
            lock(&pass.memory).named = Some(Box::new(Named { name: name.to_owned(), ids, until: now + LONGEST_WAIT }));
            Ok(Some(Ok(all)))
        }
        Some(Answer::Failed(error)) => Ok(Some(Err(error))),
        _ => Ok(None),
    }
}

/// The same, from a list of its own. `None` where the pass is told why there can be none.
async fn all_ids(pass: &mut Pass<'_>, name: &str) -> Option<Ids> {
    if pass.observed.seen.trouble.is_some() {
        return None;
    }
    let (remote, organization) = remote(pass)?;
    let all = remote.list_secrets(&organization, Values::Omit).await;
    Some(all.map(|all| all.into_iter().filter(|s| s.name == name).map(|s| s.id).collect()))
}

/// Asks those who read the pages of the organization, where others may be served by the same answer; it is waited for. Not so
/// where somebody waits for this very resource, and once in a pass.
fn ask(pass: &mut Pass<'_>, wanted: &Wanted) -> Result<Option<Answer>, Error> {
    if is_forced(&pass.observed.cr) {
        return Ok(None);
    }
    let Some(organization) = pass.sweep() else { return Ok(None) };
    let uid = pass.observed.cr.metadata.uid.clone().unwrap_or_default();
    let key = Key::of(&pass.observed.cr);
    match pass.ctx.sweeps.ask(&organization, &uid, &key, wanted) {
        Answer::Wait => Err(Error::Waiting),
        Answer::Throttled(until) => {
            let after = until.saturating_duration_since(Instant::now());
            let error = remote::Error::OverBudget { op: "list_secrets", after };
            pass.observed.seen.trouble = Some(remote_trouble(&error));
            Ok(None)
        }
        answer => Ok(Some(answer)),
    }
}

/// Whether a page of the organization has what an observed resource looks for. What a page lacks is asked for by itself.
fn page(pass: &mut Pass<'_>, id: Option<&str>) -> Result<bool, Error> {
    if pass.asked || pass.observed.cr.spec.value_from.is_some() {
        return Ok(false);
    }
    let Some(place) = pass.place() else { return Ok(false) };
    pass.asked = true;
    let Some(Answer::Secret(info, at)) = ask(pass, &Wanted::Secret(place.secret_id))? else {
        return Ok(pass.observed.seen.trouble.is_some());
    };
    let listed: Vec<Version> = info.versions.iter().map(bare).collect();
    let Some(version) = followed(&pass.observed.cr, &listed) else { return Ok(false) };
    // Not every remote serves values with its pages.
    if info.versions.iter().any(|v| v.id == version.id && matches!(v.value, ServedValue::NotServed)) {
        return Ok(false);
    }
    let mut all: Vec<Version> = info.versions.iter().map(|version| take_in(pass, version.clone())).collect();
    pass.listed_at = Some(at);
    if let Some(id) = id {
        let version = all.into_iter().find(|version| version.id == id);
        pass.observed.seen.version.extend(version.map(|version| (id.to_owned(), Some(version))));
    } else {
        all.sort_by_key(|version| version.number);
        pass.observed.seen.versions = Some(Versions { values: true, all });
    }
    pass.compare();
    Ok(true)
}

async fn versions(pass: &mut Pass<'_>, values: bool) {
    let (Some((remote, organization)), Some(place)) = (remote(pass), pass.place()) else { return };
    let asked = if values { Values::Include } else { Values::Omit };
    let asked_at = Instant::now();
    match remote.list_versions(&organization, &place.secret_id, asked).await {
        Ok(listed) => {
            let mut all: Vec<Version> = listed.into_iter().map(|v| take_in(pass, v)).collect();
            all.sort_by_key(|v| v.number);
            pass.listed_at = Some(asked_at);
            pass.observed.seen.versions = Some(Versions { values, all });
            note_missing(pass);
            pass.compare();
        }
        Err(error) => pass.observed.seen.trouble = Some(remote_trouble(&error)),
    }
}

/// Notes since when lists lack which recorded ids.
fn note_missing(pass: &mut Pass<'_>) {
    let now = Instant::now();
    let all = pass.observed.seen.versions.as_ref().map_or(&[][..], |v| v.all.as_slice());
    let recorded: Vec<String> =
        pass.observed.cr.status.iter().flat_map(|s| &s.history).map(|r| r.version_id.clone()).collect();
    {
        let mut memory = lock(&pass.memory);
        let listed = |id: &str| all.iter().any(|v| v.id == id);
        memory.missing.retain(|id, _| !listed(id));
        let known: Vec<String> =
            recorded.into_iter().chain(memory.known.iter().cloned()).filter(|id| !listed(id)).collect();
        for id in known {
            memory.missing.entry(id).or_insert(now);
        }
        memory.gone.retain(|id| !listed(id));
    }
    pass.remember();
}

async fn version(pass: &mut Pass<'_>, id: String) {
    let (Some((remote, organization)), Some(place)) = (remote(pass), pass.place()) else { return };
    match remote.get_version(&organization, &place.secret_id, &id, Values::Include).await {
        Ok(version) => {
            let version = take_in(pass, version);
            pass.observed.seen.version.insert(id, Some(version));
            pass.compare();
        }
        // Lists and reads may show a change at different times.
        Err(error) if is_absence(&error) && pass.observed.seen.find(&id).is_some() => {
            let message = format!("the remote lists version {id}, and does not know it when it is read");
            pass.observed.seen.trouble =
                Some(Trouble { side: Side::Remote, class: Class::Transient, reason: Reason::ListIncomplete, message });
        }
        Err(error) if is_absence(&error) && pass.observed.cr.spec.value_from.is_none() => {
            pass.observed.seen.version.insert(id, None);
        }
        Err(error) => pass.observed.seen.trouble = Some(remote_trouble(&error)),
    }
}

/// A version that lists have lacked for the settle time: is it gone, or does the list lie?
async fn gone(pass: &mut Pass<'_>, id: String) {
    let (Some((remote, organization)), Some(place)) = (remote(pass), pass.place()) else { return };
    match remote.get_version(&organization, &place.secret_id, &id, Values::Omit).await {
        Err(error) if is_absence(&error) => {
            {
                let mut memory = lock(&pass.memory);
                memory.known.remove(&id);
                memory.gone.insert(id);
            }
            pass.remember();
        }
        Err(error) => pass.observed.seen.trouble = Some(remote_trouble(&error)),
        Ok(_) => {
            let message = format!(
                "the remote serves version {id}, and its list lacks it; nothing is decided until the list is complete"
            );
            pass.observed.seen.trouble =
                Some(Trouble { side: Side::Remote, class: Class::Transient, reason: Reason::ListIncomplete, message });
        }
    }
}

/// Whether the API itself says that what was asked for is not there.
fn is_absence(error: &remote::Error) -> bool {
    error.status() == Some(404) && error.is_api_error()
}

/// Keeps the value of a version for this pass, and gives the rest to the rules.
pub(super) fn take_in(pass: &mut Pass<'_>, version: remote::Version) -> Version {
    let seen = bare(&version);
    if !matches!(version.value, ServedValue::NotServed) || !pass.values.contains_key(&version.id) {
        pass.values.insert(version.id, version.value);
    }
    seen
}

/// A version as the rules see it, with nothing compared yet.
pub(super) fn bare(version: &remote::Version) -> Version {
    Version {
        id: version.id.clone(),
        number: version.number,
        state: version.state,
        created_at: version.created_at.clone(),
        updated_at: version.updated_at.clone(),
        digest: None,
        is_source: Sight::Unknown,
        is_intent: Sight::Unknown,
        is_earlier: Sight::Unknown,
    }
}

/// The client, and the organization of the place. A pass that has none is told so.
pub(super) fn remote(pass: &mut Pass<'_>) -> Option<(remote::Client, String)> {
    if let (Some(client), Some(organization)) = (pass.remote.clone(), pass.organization()) {
        Some((client, organization))
    } else {
        pass.observed.seen.trouble = Some(Trouble {
            side: Side::Remote,
            class: Class::Bug,
            reason: Reason::InternalError,
            message: "a look at the remote was decided without a connection".to_owned(),
        });
        None
    }
}

/// An object as it was read.
pub(super) fn seen<K: kube::Resource>(object: &K) -> ObjectSeen {
    let meta = object.meta();
    ObjectSeen {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    }
}
