//! Faults as data: which requests are hit, how often, and by what.
//! Decides which fault strikes a request; how a strike is carried out is the business of `api`.

mod action;

use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::call::{Call, Operation};

pub use action::{
    Action, CloseIdleFault, DelayFault, DelayPoint, DropFault, DropPoint, ErrorBody, LateCommitFault, ListLagFault,
    Malformation, OversizeFault, PageShift, RateLimitFault, Span, StatusFault, TrickleFault,
};

/// A fault as it is scripted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Which requests it is for; absent: all.
    #[serde(rename = "match", default)]
    pub matching: Match,
    /// Matching requests to let pass first.
    #[serde(default)]
    pub after: u64,
    /// Requests to hit; absent: all, until the fault is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What happens to them.
    pub action: Action,
}

/// Which requests a fault is for: those that agree with every member given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The HTTP method, in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How the path begins, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// The organization in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The secret in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<String>,
    /// The version in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// Why a fault was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such HTTP status.
    #[error("{0} is not an HTTP status between 200 and 599")]
    Status(u16),
    /// No such header.
    #[error("`{0}` is not an HTTP header, or its value is not one")]
    Header(String),
    /// A bucket that never fills or holds nothing.
    #[error("a rate limit needs `per_second` above 0 and `burst` of at least 1")]
    RateLimit,
}

impl FaultSpec {
    /// What the types cannot say.
    pub fn check(&self) -> Result<(), FaultError> {
        let status = |code: u16| (200..600).contains(&code).then_some(()).ok_or(FaultError::Status(code));
        match &self.action {
            Action::Status(fault) => {
                status(fault.code)?;
                fault.headers.iter().try_for_each(|(name, value)| {
                    let name_fits = axum::http::HeaderName::try_from(name.as_str()).is_ok();
                    let value_fits = axum::http::HeaderValue::try_from(value.as_str()).is_ok();
                    (name_fits && value_fits).then_some(()).ok_or_else(|| FaultError::Header(name.clone()))
                })
            }
            Action::LateCommit(LateCommitFault { code: Some(code), .. }) => status(*code),
            Action::RateLimit(limit) if limit.burst == 0 || limit.per_second.is_nan() || limit.per_second <= 0.0 => {
                Err(FaultError::RateLimit)
            }
            _ => Ok(()),
        }
    }
}

/// What a fault is matched against.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// Its path, as it was sent.
    pub path: &'a str,
    /// The call that it is, where it is one.
    pub call: Option<&'a Call>,
}

impl Match {
    fn agrees(&self, subject: Subject<'_>) -> bool {
        let Subject { method, path, call } = subject;
        let id = |wanted: &Option<String>, of: fn(&Call) -> &str| {
            wanted.as_deref().is_none_or(|wanted| call.is_some_and(|call| of(call) == wanted))
        };
        self.operation.is_none_or(|wanted| call.is_some_and(|call| call.operation == wanted))
            && self.method.as_deref().is_none_or(|wanted| method == wanted)
            && self.path_prefix.as_deref().is_none_or(|wanted| path.starts_with(wanted))
            && id(&self.organization_id, |call| &call.organization_id)
            && id(&self.secret_id, |call| &call.secret_id)
            && id(&self.version_id, |call| &call.version_id)
    }
}

/// A fault that was added, with its counts.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// Names it in the journal and for clearing.
    pub id: u64,
    /// As it was scripted.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// Requests that matched while it was the one to decide.
    pub matched: u64,
    /// Requests that it hit.
    pub applied: u64,
    #[serde(skip)]
    bucket: Option<Bucket>,
}

/// What the faults have in store for one request.
#[derive(Debug, Default)]
pub struct Strike {
    /// The faults that were applied.
    pub ids: Vec<u64>,
    /// How far reads lag.
    pub lag: Duration,
    /// Set where a rate limit refuses it: seconds until the next token, rounded up.
    pub limited: Option<u64>,
    /// What happens to it otherwise.
    pub action: Option<Action>,
}

/// The faults there are, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    last_id: u64,
}

impl Faults {
    /// Those of a seed.
    pub fn new(specs: &[FaultSpec]) -> Result<Self, FaultError> {
        let mut faults = Self::default();
        for spec in specs {
            faults.add(spec.clone())?;
        }
        Ok(faults)
    }

    /// Adds one at the end, and gives its id.
    pub fn add(&mut self, spec: FaultSpec) -> Result<u64, FaultError> {
        spec.check()?;
        self.last_id += 1;
        let bucket = match &spec.action {
            Action::RateLimit(limit) => Some(Bucket::full(limit)),
            _ => None,
        };
        self.faults.push(Fault { id: self.last_id, spec, matched: 0, applied: 0, bucket });
        Ok(self.last_id)
    }

    /// All of them, used up ones included.
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Removes one, and says whether it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    /// Decides what happens to a request: every lag and rate limit that matches, and the first
    /// of the other faults that does.
    pub fn strike(&mut self, subject: Subject<'_>, now: Instant) -> Strike {
        let mut strike = Strike::default();
        for fault in &mut self.faults {
            let alone = !matches!(fault.spec.action, Action::ListLag(_) | Action::RateLimit(_));
            if (alone && strike.action.is_some()) || !fault.spec.matching.agrees(subject) {
                continue;
            }
            fault.matched += 1;
            let spent = fault.spec.count.is_some_and(|count| fault.applied >= count);
            if spent || fault.matched <= fault.spec.after {
                continue;
            }
            match &fault.spec.action {
                Action::ListLag(lag) => strike.lag = strike.lag.max(lag.duration.0),
                Action::RateLimit(limit) => {
                    let Some(bucket) = &mut fault.bucket else {
                        continue;
                    };
                    let Some(wait) = bucket.refuse(limit, now) else {
                        continue;
                    };
                    strike.limited = strike.limited.max(Some(wait));
                }
                action => strike.action = Some(action.clone()),
            }
            fault.applied += 1;
            strike.ids.push(fault.id);
        }
        strike
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Bucket {
    fn full(limit: &RateLimitFault) -> Self {
        Self { tokens: f64::from(limit.burst), filled_at: None }
    }

    /// Takes a token, or says how many whole seconds until there is one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // ceil of a small positive
    fn refuse(&mut self, limit: &RateLimitFault, now: Instant) -> Option<u64> {
        let passed = self.filled_at.map_or(Duration::ZERO, |at| now.duration_since(at));
        self.filled_at = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * limit.per_second).min(f64::from(limit.burst));
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        Some(((1.0 - self.tokens) / limit.per_second).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(specs: &[&str]) -> Faults {
        let specs: Vec<FaultSpec> = specs.iter().map(|spec| serde_json::from_str(spec).unwrap()).collect();
        Faults::new(&specs).unwrap()
    }

    fn strike(faults: &mut Faults, method: &Method, path: &str) -> Strike {
        let call = Call::parse(method, &path.parse().unwrap()).ok();
        let subject = Subject { method, path, call: call.as_ref() };
        faults.strike(subject, Instant::now())
    }

    const VERSIONS: &str = "/secret-manager/organizations/o/secrets/s/versions";

    #[test]
    fn after_and_count_bound_a_fault() {
        let mut faults = faults(&[r#"{"after": 1, "count": 2, "action": {"drop": {"at": "after_commit"}}}"#]);
        let hits: Vec<bool> = (0..5).map(|_| strike(&mut faults, &Method::GET, VERSIONS).action.is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert_eq!((faults.list()[0].matched, faults.list()[0].applied), (5, 2));
    }

    #[test]
    fn every_member_of_a_match_must_agree() {
        for (matching, agrees) in [
            ("{}", true),
            (r#"{"operation": "list_versions"}"#, true),
            (r#"{"operation": "create_version"}"#, false),
            (r#"{"method": "GET", "secret_id": "s", "organization_id": "o"}"#, true),
            (r#"{"method": "GET", "secret_id": "t"}"#, false),
            (r#"{"version_id": "v"}"#, false),
            (r#"{"path_prefix": "/secret-manager/organizations/o/"}"#, true),
            (r#"{"path_prefix": "/secret-manager/organizations/p/"}"#, false),
        ] {
            let spec = format!(r#"{{"match": {matching}, "action": {{"malformed": "empty_body"}}}}"#);
            let hit = strike(&mut faults(&[&spec]), &Method::GET, VERSIONS).action.is_some();
            assert_eq!(hit, agrees, "{matching}");
        }
    }

    #[test]
    fn one_fault_strikes_at_a_time_and_lags_join_it() {
        let mut faults = faults(&[
            r#"{"count": 1, "action": {"malformed": "empty_body"}}"#,
            r#"{"count": 1, "action": {"malformed": "not_utf8"}}"#,
            r#"{"action": {"list_lag": {"duration": "2s"}}}"#,
        ]);
        let first = strike(&mut faults, &Method::GET, VERSIONS);
        assert_eq!((first.ids, first.lag), (vec![1, 3], Duration::from_secs(2)));
        assert_eq!(strike(&mut faults, &Method::GET, VERSIONS).ids, [2, 3]);
        assert_eq!(strike(&mut faults, &Method::GET, VERSIONS).ids, [3]);
    }

    #[test]
    fn a_bucket_refuses_when_empty_and_fills_with_time() {
        let limit = RateLimitFault { per_second: 0.5, burst: 2 };
        let (mut bucket, start) = (Bucket::full(&limit), Instant::now());
        let mut at = |second| bucket.refuse(&limit, start + Duration::from_secs(second));
        assert_eq!([at(0), at(0), at(0), at(1), at(2)], [None, None, Some(2), Some(1), None]);
        assert_eq!([at(100), at(100), at(100)], [None, None, Some(2)], "no more than the burst");
    }

    #[test]
    fn impossible_faults_are_refused() {
        for (action, error) in [
            (r#"{"status": {"code": 99}}"#, FaultError::Status(99)),
            (r#"{"late_commit": {"after": "1s", "code": 700}}"#, FaultError::Status(700)),
            (r#"{"status": {"code": 307, "headers": {"a b": "c"}}}"#, FaultError::Header("a b".to_owned())),
            (r#"{"rate_limit": {"per_second": 0, "burst": 1}}"#, FaultError::RateLimit),
        ] {
            let spec = serde_json::from_str(&format!(r#"{{"action": {action}}}"#)).unwrap();
            assert_eq!(Faults::new(&[spec]).unwrap_err(), error);
        }
    }
}
