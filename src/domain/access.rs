//! Who may use a cluster connection, and for what. Rules are OR-ed; no rule means nobody.

use std::collections::BTreeMap;

use crate::api::v1alpha1::{AccessRule, NamespaceRule, Permission};

/// The most that any rule allows a namespace to do with a secret. `None`: not even to know that the connection exists.
///
/// Where the secret is not known yet, because it is named and not looked up, rules that name secrets do not count
/// against it: they are asked again once the id is known.
pub fn permission(
    rules: &[AccessRule],
    namespace: &str,
    labels: &BTreeMap<String, String>,
    secret_id: Option<&str>,
) -> Option<Permission> {
    rules
        .iter()
        .filter(|rule| names(&rule.namespaces, namespace, labels))
        .filter(|rule| match (&rule.secret_ids, secret_id) {
            (Some(ids), Some(id)) => ids.iter().any(|allowed| allowed == id),
            _ => true,
        })
        .map(|rule| rule.permission)
        .max()
}

fn names(rule: &NamespaceRule, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let by_name = rule.names.as_ref().is_some_and(|all| all.iter().any(|name| name == namespace));
    let by_label = rule.selector.as_ref().is_some_and(|s| s.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v)));
    by_name || by_label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::NamespaceSelector;

    fn rule(
        names: Option<&[&str]>,
        labels: Option<&[(&str, &str)]>,
        permission: Permission,
        ids: Option<&[&str]>,
    ) -> AccessRule {
        AccessRule {
            namespaces: NamespaceRule {
                names: names.map(|all| all.iter().map(|s| (*s).to_owned()).collect()),
                selector: labels.map(|all| NamespaceSelector {
                    match_labels: all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                }),
            },
            permission,
            secret_ids: ids.map(|all| all.iter().map(|s| (*s).to_owned()).collect()),
        }
    }

    #[test]
    fn absent_means_nobody_and_an_empty_selector_means_everybody() {
        let none = BTreeMap::new();
        assert_eq!(permission(&[], "web", &none, Some("1")), None);
        assert_eq!(permission(&[rule(None, None, Permission::Read, None)], "web", &none, Some("1")), None);
        let all = [rule(None, Some(&[]), Permission::Read, None)];
        assert_eq!(permission(&all, "web", &none, Some("1")), Some(Permission::Read));
    }

    #[test]
    fn rules_are_ored_and_the_most_counts() {
        let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
        let rules = [
            rule(Some(&["billing"]), None, Permission::ReadWrite, Some(&["1"])),
            rule(None, Some(&[("tier", "web")]), Permission::Read, None),
        ];
        for (namespace, labels, secret, expected) in [
            ("billing", &BTreeMap::new(), Some("1"), Some(Permission::ReadWrite)),
            ("billing", &BTreeMap::new(), Some("2"), None),
            ("billing", &labels, Some("2"), Some(Permission::Read)),
            ("billing", &labels, Some("1"), Some(Permission::ReadWrite)),
            ("web", &labels, Some("2"), Some(Permission::Read)),
            ("web", &BTreeMap::new(), Some("2"), None),
            ("billing", &BTreeMap::new(), None, Some(Permission::ReadWrite)),
        ] {
            assert_eq!(permission(&rules, namespace, labels, secret), expected, "{namespace} {secret:?}");
        }
    }
}
