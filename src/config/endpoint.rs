//! Which remotes may be talked to. Credentials go wherever an endpoint says, so nothing here guesses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The public ABEJA Platform, allowed where nothing else is said.
pub const PUBLIC_ENDPOINT: &str = "https://api.abeja.io";

/// Base URL of a remote in its one spelling: scheme, lower-case host, and the port where it is not the scheme's own.
///
/// Two endpoints are equal when scheme, host and port are, and never because one text begins with the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(String);

/// Why a text is not an endpoint. No message repeats the text: it might hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not an absolute URL.
    #[error("is not a URL: write scheme and host, such as {PUBLIC_ENDPOINT}")]
    NotAUrl,
    /// A character that URL parsers drop or read differently.
    #[error("has a space, a backslash or a character outside ASCII: write the host as DNS has it")]
    Character,
    /// Neither https nor http.
    #[error("has a scheme that is not https: write https://…")]
    Scheme,
    /// http without the development flag.
    #[error(
        "is not https: credentials would travel in the clear (for development, --allow-insecure-endpoints permits it)"
    )]
    Insecure,
    /// The operator's own machine, without the development flag.
    #[error(
        "names the operator's own machine: write the remote's host (for development, --allow-insecure-endpoints permits it)"
    )]
    Loopback,
    /// User or password in the URL.
    #[error("has a user or password in it: credentials belong in a Secret that the connection names")]
    UserInfo,
    /// More than scheme, host and port.
    #[error("has a path, query or fragment: write scheme, host and port only, such as {PUBLIC_ENDPOINT}")]
    Extra,
}

impl Endpoint {
    /// Reads a base URL. `allow_insecure` permits http and the operator's own machine, for development.
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Self, EndpointError> {
        // URL parsers trim and drop such characters, and read a backslash as a slash: what is meant is not what is read.
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return Err(EndpointError::Character);
        }
        let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if allow_insecure => {}
            "http" => return Err(EndpointError::Insecure),
            _ => return Err(EndpointError::Scheme),
        }
        // `https://@host` has an empty user, which the parser forgets.
        if text.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if url.path() != "/" || text.contains(['?', '#']) {
            return Err(EndpointError::Extra);
        }
        let host = url.host().ok_or(EndpointError::NotAUrl)?;
        if !allow_insecure && is_own_machine(&host) {
            return Err(EndpointError::Loopback);
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The endpoints that connections of this installation may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedEndpoints {
    allowed: Vec<Endpoint>,
    allow_insecure: bool,
}

/// Why a connection's URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefused {
    /// Not an endpoint at all.
    #[error("the URL {0}")]
    Malformed(#[from] EndpointError),
    /// An endpoint that the installation does not allow.
    #[error("the URL is not an allowed endpoint: ask the operator's administrator for --allow-endpoint")]
    NotAllowed,
}

impl AllowedEndpoints {
    /// `allowed`: already read under the same `allow_insecure`.
    pub(super) fn new(allowed: Vec<Endpoint>, allow_insecure: bool) -> Self {
        Self { allowed, allow_insecure }
    }

    /// The endpoint of a connection: its own URL, or the public one where it names none.
    pub fn resolve(&self, url: Option<&str>) -> Result<Endpoint, EndpointRefused> {
        let endpoint = Endpoint::parse(url.unwrap_or(PUBLIC_ENDPOINT), self.allow_insecure)?;
        if self.allowed.contains(&endpoint) { Ok(endpoint) } else { Err(EndpointRefused::NotAllowed) }
    }

    /// Whether plain HTTP and loopback addresses are allowed: for development.
    pub fn allow_insecure(&self) -> bool {
        self.allow_insecure
    }

    /// Every allowed endpoint, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.allowed.iter()
    }
}

/// Whether a host is this machine by its spelling. Names that merely resolve to it are the administrator's to allow.
fn is_own_machine(host: &Host<&str>) -> bool {
    let v4 = |ip: Ipv4Addr| ip.is_loopback() || ip.is_unspecified();
    let v6 = |ip: Ipv6Addr| match IpAddr::V6(ip).to_canonical() {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
    };
    match *host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => v4(ip),
        Host::Ipv6(ip) => v6(ip),
    }
}

#[cfg(test)]
mod tests {
    /// Places are compared as texts, and both spellings end up in them.
    #[test]
    fn the_client_spells_an_endpoint_the_same() {
        for text in [
            "https://api.abeja.io",
            "https://API.abeja.io:443/",
            "http://127.0.0.1:8300",
            "https://h:8443/",
            "http://[::1]:80",
        ] {
            let endpoint = Endpoint::parse(text, true).unwrap();
            assert_eq!(crate::remote::base_url(endpoint.as_str(), true).unwrap(), endpoint.as_str(), "{text}");
        }
    }

    use super::*;

    #[test]
    fn one_spelling_for_one_place() {
        for (text, expected) in [
            ("https://api.abeja.io", "https://api.abeja.io"),
            ("https://api.abeja.io/", "https://api.abeja.io"),
            ("HTTPS://API.Abeja.IO:443", "https://api.abeja.io"),
            ("https://api.abeja.io:8443/", "https://api.abeja.io:8443"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://10.0.0.1", "https://10.0.0.1"),
        ] {
            assert_eq!(Endpoint::parse(text, false).map(|e| e.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        use EndpointError as E;
        for (text, expected) in [
            ("", E::NotAUrl),
            ("api.abeja.io", E::NotAUrl),
            ("https://", E::NotAUrl),
            ("https:///", E::NotAUrl),
            ("https://api.abeja.io:99999", E::NotAUrl),
            (" https://api.abeja.io", E::Character),
            ("https://api.abeja.io\n", E::Character),
            ("https://api.abeja.io\\@evil.example", E::Character),
            ("https://аpi.abeja.io", E::Character),
            ("ftp://api.abeja.io", E::Scheme),
            ("file:///etc/passwd", E::Scheme),
            ("http://api.abeja.io", E::Insecure),
            ("https://user:word@api.abeja.io", E::UserInfo),
            ("https://@api.abeja.io", E::UserInfo),
            ("https://api.abeja.io@evil.example", E::UserInfo),
            ("https://api.abeja.io/v1", E::Extra),
            ("https://api.abeja.io/?", E::Extra),
            ("https://api.abeja.io?x=1", E::Extra),
            ("https://api.abeja.io/#", E::Extra),
            ("https://localhost", E::Loopback),
            ("https://LOCALHOST.:8443", E::Loopback),
            ("https://x.localhost", E::Loopback),
            ("https://127.0.0.1", E::Loopback),
            ("https://127.1", E::Loopback),
            ("https://0x7f000001", E::Loopback),
            ("https://2130706433", E::Loopback),
            ("https://0.0.0.0", E::Loopback),
            ("https://[::1]", E::Loopback),
            ("https://[::]", E::Loopback),
            ("https://[::ffff:127.0.0.1]", E::Loopback),
        ] {
            assert_eq!(Endpoint::parse(text, false), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_development_flag_permits_http_and_loopback_alone() {
        for text in ["http://127.0.0.1:8090", "http://localhost", "https://[::1]:1"] {
            assert!(Endpoint::parse(text, true).is_ok(), "{text}");
        }
        assert_eq!(Endpoint::parse("http://u:p@127.0.0.1", true), Err(EndpointError::UserInfo));
        assert_eq!(Endpoint::parse("gopher://127.0.0.1", true), Err(EndpointError::Scheme));
    }

    #[test]
    fn only_an_equal_endpoint_is_allowed() {
        let allowed = AllowedEndpoints::new(vec![Endpoint::parse(PUBLIC_ENDPOINT, false).unwrap()], false);
        assert_eq!(allowed.resolve(None).unwrap().as_str(), PUBLIC_ENDPOINT);
        assert_eq!(allowed.resolve(Some("https://API.abeja.io:443/")).unwrap().as_str(), PUBLIC_ENDPOINT);
        for text in [
            "https://api.abeja.io.evil.example",
            "https://api.abeja.io:8443",
            "https://evil.example",
            "https://api.abeja.io.",
        ] {
            assert_eq!(allowed.resolve(Some(text)), Err(EndpointRefused::NotAllowed), "{text}");
        }
        assert_eq!(
            allowed.resolve(Some("http://api.abeja.io")),
            Err(EndpointRefused::Malformed(EndpointError::Insecure))
        );
    }

    #[test]
    fn no_error_repeats_what_was_given() {
        let error = Endpoint::parse("https://user:hunter2@api.abeja.io", false).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        assert!(!EndpointRefused::from(error).to_string().contains("hunter2"));
    }
}
