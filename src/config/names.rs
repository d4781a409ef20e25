//! Names that the apiserver would accept, told apart before it is asked.

/// Whether `text` can name a namespace: a DNS label (RFC 1123).
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Whether `text` can name most objects: a DNS subdomain, of which Kubernetes bounds only the whole length.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for name in ["a", "team-1", "0", &"a".repeat(63)] {
            assert!(is_label(name) && is_subdomain(name), "{name}");
        }
        for name in ["a.b", &"a".repeat(64), &"a".repeat(253)] {
            assert!(!is_label(name) && is_subdomain(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a b", "a..b", ".a", "ä", &"a".repeat(254)] {
            assert!(!is_label(name) && !is_subdomain(name), "{name}");
        }
    }
}
