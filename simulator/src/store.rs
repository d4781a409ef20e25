//! Organizations, secrets and versions in memory, and the operations on them.
//! Pure: no clock, no network, no lock. The time of every change is handed in.

use std::collections::{BTreeMap, HashSet};

use axum::http::StatusCode;
use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use crate::seed::{LastActive, ListOrder, SecretSeed, Seed, SeedError, Settings};
use crate::wire::{self, ApiError, Status};

/// The whole state of the simulated platform.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    /// The secrets of each, oldest first, by id.
    organizations: BTreeMap<String, IndexMap<String, SecretRow>>,
    ids: IdSource,
    /// No two changes bear the same time, and none an earlier one than the change before: clients
    /// tell changes by `updated_at`, and the wall clock may step back.
    last_change: Timestamp,
}

#[derive(Debug)]
struct SecretRow {
    id: String,
    name: String,
    description: Option<String>,
    expired_at: Option<String>,
    created_at: Timestamp,
    versions: Vec<VersionRow>,
    next_number: u64,
}

#[derive(Debug)]
struct VersionRow {
    id: String,
    number: u64,
    value: Vec<u8>,
    status: Status,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A window of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows to leave out.
    pub offset: usize,
    /// Rows to show, 1 to 100.
    pub limit: usize,
}

/// How much of the state a request is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Whether values are shown.
    pub values: bool,
    /// Versions created after this are not shown yet.
    pub until: Option<Timestamp>,
}

/// Names a secret.
#[derive(Clone, Copy, Debug)]
pub struct SecretPath<'a> {
    /// Its organization.
    pub organization: &'a str,
    /// Its id.
    pub secret: &'a str,
}

impl Store {
    /// A store that holds what the seed says.
    pub fn new(seed: &Seed, now: Timestamp) -> Result<Self, SeedError> {
        seed.check()?;
        let secrets = || seed.organizations.iter().flat_map(|o| &o.secrets);
        let taken = secrets()
            .flat_map(|secret| &secret.versions)
            .filter_map(|version| version.id.clone())
            .chain(secrets().map(|secret| secret.id.clone()))
            .collect();
        let mut store = Self {
            settings: seed.settings.clone(),
            organizations: BTreeMap::new(),
            ids: IdSource { taken, drawn: 0 },
            last_change: now,
        };
        for organization in &seed.organizations {
            let seeded = |secret: &SecretSeed| Ok((secret.id.clone(), store.seeded(secret, now)?));
            let rows = organization.secrets.iter().map(seeded).collect::<Result<_, SeedError>>()?;
            store.organizations.insert(organization.id.clone(), rows);
        }
        Ok(store)
    }

    fn seeded(&mut self, seed: &SecretSeed, now: Timestamp) -> Result<SecretRow, SeedError> {
        let mut row = SecretRow {
            id: seed.id.clone(),
            name: seed.name.clone(),
            description: seed.description.clone(),
            expired_at: seed.expired_at.clone(),
            created_at: now,
            versions: Vec::new(),
            next_number: 1,
        };
        for version in &seed.versions {
            let number = version.version.unwrap_or(row.next_number);
            let value = version.bytes().map_err(|cause| SeedError::Value { secret: seed.id.clone(), number, cause })?;
            let created_at = version.created_at.unwrap_or(now);
            row.versions.push(VersionRow {
                id: version.id.clone().unwrap_or_else(|| self.ids.draw()),
                number,
                value,
                status: version.status,
                created_at,
                updated_at: created_at,
            });
            row.next_number = number + 1;
        }
        Ok(row)
    }

    /// What the platform leaves open, as this store behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ids of all organizations.
    pub fn organizations(&self) -> impl Iterator<Item = &str> {
        self.organizations.keys().map(String::as_str)
    }

    /// Number that the next version of a secret would get.
    pub fn next_number(&self, path: SecretPath<'_>) -> Result<u64, ApiError> {
        Ok(self.secret(path)?.next_number)
    }

    /// A page of the secrets of an organization, with all of their versions.
    pub fn list_secrets(&self, organization: &str, page: Page, view: View) -> Result<wire::SecretList, ApiError> {
        let rows = self.organization(organization)?;
        Ok(wire::SecretList {
            organization_id: organization.to_owned(),
            secrets: self
                .ordered(rows.values())
                .into_iter()
                .skip(page.offset)
                .take(page.limit)
                .map(|row| self.show_secret(organization, row, view))
                .collect(),
            offset: page.offset,
            limit: page.limit,
            has_next: page.offset.saturating_add(page.limit) < rows.len(),
        })
    }

    /// One secret with all of its versions.
    pub fn get_secret(&self, path: SecretPath<'_>, view: View) -> Result<wire::Secret, ApiError> {
        Ok(self.show_secret(path.organization, self.secret(path)?, view))
    }

    /// A page of the versions of a secret.
    pub fn list_versions(&self, path: SecretPath<'_>, page: Page, view: View) -> Result<wire::VersionList, ApiError> {
        let rows = self.visible(self.secret(path)?, view);
        Ok(wire::VersionList {
            pagination: wire::Pagination {
                count: rows.len(),
                has_next: page.offset.saturating_add(page.limit) < rows.len(),
                limit: page.limit,
                offset: page.offset,
            },
            versions: rows.into_iter().skip(page.offset).take(page.limit).map(|row| row.show(path, view)).collect(),
        })
    }

    /// One version.
    pub fn get_version(&self, path: SecretPath<'_>, version: &str, view: View) -> Result<wire::Version, ApiError> {
        let secret = self.secret(path)?;
        self.visible(secret, view)
            .into_iter()
            .find(|row| row.id == version)
            .map(|row| row.show(path, view))
            .ok_or_else(|| no_version(version))
    }

    /// Adds an active version with the next number.
    pub fn create_version(
        &mut self,
        path: SecretPath<'_>,
        value: Vec<u8>,
        values: bool,
        now: Timestamp,
    ) -> Result<wire::Version, ApiError> {
        let limit = self.settings.max_value_bytes;
        if value.is_empty() {
            return Err(ApiError::bad_request("\"value\" must not be empty"));
        }
        if value.len() > limit {
            return Err(ApiError::bad_request(format!("\"value\" must not be larger than {limit} bytes")));
        }
        self.secret(path)?;
        let (id, now) = (self.ids.draw(), self.tick(now));
        let secret = self.secret_mut(path)?;
        let row = VersionRow {
            id,
            number: secret.next_number,
            value,
            status: Status::Active,
            created_at: now,
            updated_at: now,
        };
        let shown = row.show(path, View { values, until: None });
        secret.next_number += 1;
        secret.versions.push(row);
        Ok(shown)
    }

    /// Sets the status of a version; setting the one it has changes nothing, `updated_at` included.
    pub fn update_version(
        &mut self,
        path: SecretPath<'_>,
        version: &str,
        status: Status,
        values: bool,
        now: Timestamp,
    ) -> Result<wire::Version, ApiError> {
        if status == Status::Inactive {
            self.refuse_last_active(path, version)?;
        }
        let now = self.tick(now);
        let row = self.version_mut(path, version)?;
        if row.status != status {
            row.status = status;
            row.updated_at = now;
        }
        Ok(row.show(path, View { values, until: None }))
    }

    /// Removes a version; its id and number are never given again.
    pub fn delete_version(&mut self, path: SecretPath<'_>, version: &str) -> Result<wire::Deleted, ApiError> {
        self.refuse_last_active(path, version)?;
        self.version_mut(path, version)?;
        self.secret_mut(path)?.versions.retain(|row| row.id != version);
        Ok(wire::Deleted { message: format!("secret_version_id {version} successfully deleted") })
    }

    /// Adds a secret at the end of the organization's list, without versions, and gives its id.
    pub fn create_secret(&mut self, organization: &str, name: &str, now: Timestamp) -> Result<String, ApiError> {
        self.organization(organization)?;
        let (id, created_at) = (self.ids.draw(), self.tick(now));
        let row = SecretRow {
            id: id.clone(),
            name: name.to_owned(),
            description: None,
            expired_at: None,
            created_at,
            versions: Vec::new(),
            next_number: 1,
        };
        self.organizations.entry(organization.to_owned()).or_default().insert(id.clone(), row);
        Ok(id)
    }

    /// Removes a secret with all of its versions.
    pub fn delete_secret(&mut self, path: SecretPath<'_>) -> Result<(), ApiError> {
        self.secret(path)?;
        if let Some(rows) = self.organizations.get_mut(path.organization) {
            rows.shift_remove(path.secret);
        }
        Ok(())
    }

    fn refuse_last_active(&self, path: SecretPath<'_>, version: &str) -> Result<(), ApiError> {
        if self.settings.last_active_version == LastActive::Allow {
            return Ok(());
        }
        let mut active = self.secret(path)?.versions.iter().filter(|row| row.status == Status::Active);
        match (active.next(), active.next()) {
            (Some(only), None) if only.id == version => Err(ApiError::new(
                StatusCode::CONFLICT,
                format!("secret_version_id {version} is the last active version"),
            )),
            _ => Ok(()),
        }
    }

    fn tick(&mut self, now: Timestamp) -> Timestamp {
        let step = self.last_change + SignedDuration::from_micros(1);
        self.last_change = now.max(step);
        self.last_change
    }

    fn organization(&self, id: &str) -> Result<&IndexMap<String, SecretRow>, ApiError> {
        self.organizations.get(id).ok_or_else(|| no_organization(id))
    }

    fn secret(&self, path: SecretPath<'_>) -> Result<&SecretRow, ApiError> {
        self.organization(path.organization)?.get(path.secret).ok_or_else(|| no_secret(path.secret))
    }

    fn secret_mut(&mut self, path: SecretPath<'_>) -> Result<&mut SecretRow, ApiError> {
        self.organizations
            .get_mut(path.organization)
            .ok_or_else(|| no_organization(path.organization))?
            .get_mut(path.secret)
            .ok_or_else(|| no_secret(path.secret))
    }

    fn version_mut(&mut self, path: SecretPath<'_>, version: &str) -> Result<&mut VersionRow, ApiError> {
        self.secret_mut(path)?.versions.iter_mut().find(|row| row.id == version).ok_or_else(|| no_version(version))
    }

    fn visible<'a>(&self, secret: &'a SecretRow, view: View) -> Vec<&'a VersionRow> {
        let old_enough = |row: &&VersionRow| view.until.is_none_or(|until| row.created_at <= until);
        self.ordered(secret.versions.iter().filter(old_enough))
    }

    fn ordered<T>(&self, oldest_first: impl Iterator<Item = T>) -> Vec<T> {
        let mut rows: Vec<T> = oldest_first.collect();
        if self.settings.list_order == ListOrder::NewestFirst {
            rows.reverse();
        }
        rows
    }

    fn show_secret(&self, organization: &str, row: &SecretRow, view: View) -> wire::Secret {
        let path = SecretPath { organization, secret: &row.id };
        wire::Secret {
            id: row.id.clone(),
            organization_id: organization.to_owned(),
            user_id: "3614618482910".to_owned(),
            name: row.name.clone(),
            description: row.description.clone(),
            properties: None,
            provider: wire::PROVIDER,
            rotation: false,
            integration_service_type: None,
            integration_service_ids: Vec::new(),
            expired_at: row.expired_at.clone(),
            created_at: row.created_at,
            updated_at: row.created_at,
            versions: self.visible(row, view).into_iter().map(|version| version.show(path, view)).collect(),
        }
    }
}

impl VersionRow {
    fn show(&self, path: SecretPath<'_>, view: View) -> wire::Version {
        wire::Version {
            id: self.id.clone(),
            organization_id: path.organization.to_owned(),
            secret_id: path.secret.to_owned(),
            version: self.number,
            status: self.status,
            provider: wire::PROVIDER,
            value: view.values.then(|| wire::encode(&self.value)),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

fn no_organization(id: &str) -> ApiError {
    ApiError::not_found(format!("organization_id {id} not found"))
}

fn no_secret(id: &str) -> ApiError {
    ApiError::not_found(format!("secret_id {id} not found"))
}

fn no_version(id: &str) -> ApiError {
    ApiError::not_found(format!("secret_version_id {id} not found"))
}

/// Draws 13-digit ids that never repeat, are the same on every run, and are in no order: a client
/// that sorts by id shall be found out.
#[derive(Debug)]
struct IdSource {
    taken: HashSet<String>,
    drawn: u64,
}

impl IdSource {
    const FIRST: u64 = 1_000_000_000_000;
    const SPAN: u64 = 9_000_000_000_000;
    /// Shares no factor with `SPAN`, so the walk meets every id before it meets one twice.
    const STRIDE: u64 = 3_141_592_653_589;

    fn draw(&mut self) -> String {
        loop {
            self.drawn += 1;
            let step = u128::from(self.drawn) * u128::from(Self::STRIDE) % u128::from(Self::SPAN);
            let id = (u128::from(Self::FIRST) + step).to_string();
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: SecretPath<'static> = SecretPath { organization: "org", secret: "sec" };
    const ALL: Page = Page { offset: 0, limit: 100 };
    const VALUES: View = View { values: true, until: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_750_000_000 + second).unwrap()
    }

    fn store(settings: &str) -> Store {
        let seed = format!("settings: {settings}\norganizations: [{{id: org, secrets: [{{id: sec, name: n}}]}}]");
        Store::new(&Seed::from_yaml(&seed).unwrap(), at(0)).unwrap()
    }

    fn create(store: &mut Store, value: &[u8], second: i64) -> wire::Version {
        store.create_version(PATH, value.to_vec(), true, at(second)).unwrap()
    }

    fn numbers(list: &wire::VersionList) -> Vec<u64> {
        list.versions.iter().map(|version| version.version).collect()
    }

    #[test]
    fn numbers_rise_and_never_return() {
        let mut store = store("{}");
        let first = create(&mut store, b"a", 1);
        let second = create(&mut store, b"a", 2);
        assert_eq!((first.version, second.version), (1, 2));
        store.delete_version(PATH, &second.id).unwrap();
        let third = create(&mut store, b"a", 3);
        assert_eq!(third.version, 3);
        assert_ne!(third.id, second.id);
    }

    #[test]
    fn ids_have_13_digits_and_are_distinct() {
        let mut source = IdSource { taken: HashSet::new(), drawn: 0 };
        let ids: HashSet<_> = (0..10_000).map(|_| source.draw()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 13));
    }

    #[test]
    fn times_of_changes_never_repeat_nor_fall() {
        let mut store = store("{}");
        let first = create(&mut store, b"a", 10);
        let second = create(&mut store, b"b", 5);
        assert!(second.created_at > first.created_at);
        let inactive = store.update_version(PATH, &first.id, Status::Inactive, false, at(5)).unwrap();
        assert!(inactive.updated_at > second.created_at);
        let again = store.update_version(PATH, &first.id, Status::Inactive, false, at(20)).unwrap();
        assert_eq!(again.updated_at, inactive.updated_at);
    }

    #[test]
    fn pages_cover_the_list_once() {
        let mut store = store("{}");
        for second in 0..101 {
            create(&mut store, b"v", second);
        }
        let page = |offset, limit| {
            let page = Page { offset, limit };
            store.list_versions(PATH, page, VALUES).unwrap()
        };
        let (first, rest) = (page(0, 100), page(100, 100));
        assert_eq!(first.versions.len(), 100);
        assert!(first.pagination.has_next);
        assert_eq!(numbers(&rest), [101]);
        assert!(!rest.pagination.has_next);
        assert_eq!(rest.pagination.count, 101);
        assert!(page(500, 100).versions.is_empty());
        assert!(!page(1, 100).pagination.has_next, "the page ends with the list");
    }

    #[test]
    fn newest_first_reverses() {
        let mut store = store("{list_order: newest_first}");
        create(&mut store, b"a", 1);
        create(&mut store, b"b", 2);
        assert_eq!(numbers(&store.list_versions(PATH, ALL, VALUES).unwrap()), [2, 1]);
    }

    #[test]
    fn young_versions_can_be_hidden() {
        let mut store = store("{}");
        create(&mut store, b"a", 1);
        let young = create(&mut store, b"b", 10);
        let view = View { values: true, until: Some(at(5)) };
        let list = store.list_versions(PATH, ALL, view).unwrap();
        assert_eq!((numbers(&list), list.pagination.count), (vec![1], 1));
        assert_eq!(store.get_secret(PATH, view).unwrap().versions.len(), 1);
        let error = store.get_version(PATH, &young.id, view).unwrap_err();
        assert_eq!(error.status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn values_are_bytes_within_a_limit() {
        let mut store = store("{max_value_bytes: 3}");
        let version = create(&mut store, &[0, 0xff, 0x0a], 1);
        assert_eq!(version.value.as_deref(), Some("AP8K"));
        for wrong in [&b""[..], b"abcd"] {
            let error = store.create_version(PATH, wrong.to_vec(), true, at(2)).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn the_last_active_version_is_kept_where_asked() {
        let mut store = store("{last_active_version: refuse}");
        let first = create(&mut store, b"a", 1);
        let refused = store.delete_version(PATH, &first.id).unwrap_err();
        assert_eq!(refused.status, StatusCode::CONFLICT);
        let refused = store.update_version(PATH, &first.id, Status::Inactive, false, at(2)).unwrap_err();
        assert_eq!(refused.status, StatusCode::CONFLICT);
        create(&mut store, b"b", 3);
        store.delete_version(PATH, &first.id).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut store = store("{}");
        let other = SecretPath { organization: "org", secret: "other" };
        for error in [
            store.list_secrets("no", ALL, VALUES).unwrap_err(),
            store.get_secret(other, VALUES).unwrap_err(),
            store.delete_version(PATH, "9").unwrap_err(),
            store.update_version(PATH, "9", Status::Active, false, at(1)).unwrap_err(),
        ] {
            assert_eq!(error.status, StatusCode::NOT_FOUND);
            assert!(error.description.ends_with("not found"));
        }
    }
}
