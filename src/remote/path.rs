//! Ids as parts of a URL. No id can leave its segment, whatever it is made of.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::error::Error;

/// Everything but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Checks the base URL of a remote, and writes it the one way that two spellings of it are compared in: as the HTTP
/// client reads it, without a slash at the end.
pub fn base_url(url: &str, allow_insecure: bool) -> Result<String, Error> {
    let refused = |what| Err(Error::Url { what });
    let Ok(parsed) = Url::parse(url) else { return refused("is not a URL") };
    match parsed.scheme() {
        "https" => {}
        "http" if allow_insecure => {}
        "http" => return refused("must begin with https://"),
        _ => return refused("must begin with https:// or http://"),
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return refused("names no host");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return refused("must not hold a credential");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return refused("must not have a query or a fragment");
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// A URL under the base, from segments that are encoded here.
pub(super) fn under(op: &'static str, base: &str, segments: &[&str], query: &str) -> Result<Url, Error> {
    let mut text = format!("{base}/secret-manager");
    for segment in segments {
        // URL parsers resolve dots even where they are encoded, so no encoding keeps these in their place.
        if matches!(*segment, "" | "." | "..") {
            return Err(Error::Unaddressable { op });
        }
        text.push('/');
        text.extend(utf8_percent_encode(segment, SEGMENT));
    }
    if !query.is_empty() {
        text.push('?');
        text.push_str(query);
    }
    Url::parse(&text).map_err(|_| Error::Unaddressable { op })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_their_segment() {
        let table = [
            ("123", "123"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            ("a/b", "a%2Fb"),
            ("../x", "..%2Fx"),
            ("%2e%2e", "%252e%252e"),
            ("a?b#c", "a%3Fb%23c"),
            ("a\r\nb", "a%0D%0Ab"),
            ("a b\\c;d", "a%20b%5Cc%3Bd"),
            ("é", "%C3%A9"),
        ];
        for (id, encoded) in table {
            let url = under("op", "https://h/base", &["organizations", id, "secrets"], "a=1").unwrap();
            assert_eq!(url.as_str(), format!("https://h/base/secret-manager/organizations/{encoded}/secrets?a=1"));
        }
        for id in ["", ".", ".."] {
            assert_eq!(under("op", "https://h", &["organizations", id], ""), Err(Error::Unaddressable { op: "op" }));
        }
    }

    #[test]
    fn base_urls() {
        assert_eq!(base_url("https://api.abeja.io", false).unwrap(), "https://api.abeja.io");
        assert_eq!(base_url("https://API.abeja.io:443/x/", false).unwrap(), "https://api.abeja.io/x");
        assert_eq!(base_url("http://127.0.0.1:8080", true).unwrap(), "http://127.0.0.1:8080");
        let refused =
            ["", "api.abeja.io", "http://h", "ftp://h", "https://u@h", "https://:p@h", "https://h?q", "https://h#f"];
        for url in refused {
            assert!(matches!(base_url(url, false), Err(Error::Url { .. })), "{url}");
        }
    }
}
