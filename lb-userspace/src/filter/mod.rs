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

use std::sync::Arc;

pub use list::{BadLine, NoPrefix, PrefixList, Prefixes, prefix};
pub use tree::Tree;

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
}
