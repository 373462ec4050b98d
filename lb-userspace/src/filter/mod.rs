//! Allow and deny lists of services, and the trees that the datapath looks sources up in. Pure.
//!
//! | file | holds |
//! |---|---|
//! | [`list`] | prefixes of both families, from inline ones or the text of a file |
//! | [`tree`] | both lists as ranges, and those as elements of a map |
//!
//! The longest prefix around a source decides, whichever list it is from; deny where both have it. Without one, who has an allow list
//! wants nobody else, an empty one included.

#![forbid(unsafe_code)]

pub mod list;
pub mod tree;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use list::{BadLine, NoPrefix, PrefixList, Prefixes, prefix};
pub use tree::Tree;

/// What of a service's lists decides about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decides<'f> {
    /// The source is in this prefix of the list of those who may.
    Allow(&'f PrefixList, IpNet),
    /// There is such a list, and it is in none.
    NotAllowed(&'f PrefixList),
    /// It is in this prefix of the list of those who may not.
    Deny(&'f PrefixList, IpNet),
}

/// The lists of a service, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Who may; none: everybody.
    pub allow: Option<Arc<PrefixList>>,
    /// Who may not.
    pub deny: Option<Arc<PrefixList>>,
    /// Both.
    pub tree: Arc<Tree>,
}

impl Filter {
    /// Both lists together; none where they let everybody through.
    pub fn of(allow: Option<Arc<PrefixList>>, deny: Option<Arc<PrefixList>>) -> Option<Self> {
        let deny = deny.filter(|list| !list.prefixes.is_empty());
        if allow.is_none() && deny.is_none() {
            return None;
        }
        let prefixes =
            |list: &Option<Arc<PrefixList>>| list.as_ref().map(|list| Arc::clone(&list.prefixes));
        let tree = Tree::of(prefixes(&allow).as_deref(), prefixes(&deny).as_deref());
        Some(Self {
            allow,
            deny,
            tree: Arc::new(tree),
        })
    }

    /// What decides about a source; none: neither list speaks of it.
    pub fn decides(&self, source: IpAddr) -> Option<Decides<'_>> {
        let longest = |list: &'_ PrefixList| list.prefixes.longest(source);
        let denied = self.deny.as_deref();
        let denied = denied.and_then(|list| Some((list, longest(list)?)));
        let allow = self.allow.as_deref();
        match (allow, allow.and_then(longest), denied) {
            (Some(list), Some(prefix), Some((_, denied)))
                if prefix.prefix_len() > denied.prefix_len() =>
            {
                Some(Decides::Allow(list, prefix))
            }
            (_, _, Some((list, prefix))) => Some(Decides::Deny(list, prefix)),
            (Some(list), Some(prefix), None) => Some(Decides::Allow(list, prefix)),
            (Some(list), None, None) => Some(Decides::NotAllowed(list)),
            (None, _, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_of_two_that_are_equal_the_deny_list() {
        let list = |text: &str| {
            let prefixes = Arc::new(Prefixes::of_text(text).expect("a list"));
            let file = None;
            Some(Arc::new(PrefixList { file, prefixes }))
        };
        let allow = list("10.0.0.0/8\n10.1.1.0/24\n2001:db8::/32");
        let deny = list("10.1.0.0/16\n10.1.1.0/24\n10.2.0.0/15");
        let none = list("");
        for (allow, deny, source, expected) in [
            (&allow, &deny, "10.9.0.1", "allow 10.0.0.0/8"),
            (&allow, &deny, "10.1.2.1", "deny 10.1.0.0/16"),
            (&allow, &deny, "10.1.1.1", "deny 10.1.1.0/24"),
            (&allow, &deny, "2001:db8::1", "allow 2001:db8::/32"),
            (&allow, &deny, "192.0.2.1", "not allowed"),
            (&deny, &allow, "10.1.1.1", "deny 10.1.1.0/24"),
            (&deny, &allow, "10.1.2.1", "allow 10.1.0.0/16"),
            (&none, &None, "10.1.2.1", "not allowed"),
            (&None, &deny, "10.3.0.1", "deny 10.2.0.0/15"),
            (&None, &deny, "192.0.2.1", "nothing"),
        ] {
            let filter = Filter::of(allow.clone(), deny.clone()).expect("lists");
            let found = match filter.decides(source.parse().expect("an address")) {
                Some(Decides::Allow(_, prefix)) => format!("allow {prefix}"),
                Some(Decides::NotAllowed(_)) => "not allowed".to_owned(),
                Some(Decides::Deny(_, prefix)) => format!("deny {prefix}"),
                None => "nothing".to_owned(),
            };
            assert_eq!(found, expected, "{source}");
        }
    }
}
