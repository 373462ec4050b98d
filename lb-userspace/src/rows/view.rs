//! Health as this node sees it. A view moves first hops; it never makes an input, so that a wrong verdict, or two nodes
//! with two opinions, can take no reachable backend out of a row.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Backends that are not simply up; everything not named is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    down: BTreeSet<IpAddr>,
    gone: BTreeSet<IpAddr>,
}

impl View {
    /// `down`: the check has failed; such a backend gets no first hops and stands last among the alternates. `gone`: it has
    /// been unreachable as a host for `dead_hold`, so that nothing can live there, or the operator has disabled it; it is
    /// left out of the hops.
    pub fn new(
        down: impl IntoIterator<Item = IpAddr>,
        gone: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            down: down.into_iter().map(|a| a.to_canonical()).collect(),
            gone: gone.into_iter().map(|a| a.to_canonical()).collect(),
        }
    }

    /// Gets no new flows. True for backends that are gone as well.
    pub fn is_down(&self, address: IpAddr) -> bool {
        self.down.contains(&address) || self.is_gone(address)
    }

    /// Is left out of the hops.
    pub fn is_gone(&self, address: IpAddr) -> bool {
        self.gone.contains(&address)
    }
}
