//! `service.announce`.

use super::fields::Fields;
use super::place::{Placed, Span};
use super::policy::PolicyDraft;
use super::unique::repeated;
use super::value::{self, Reject};
use crate::bgp::PeerName;
use crate::model::Announce;

/// `announce` as far as it could be read.
pub struct AnnounceDraft {
    /// What is said about the VIP.
    pub policy: PolicyDraft,
    /// To whom; none: to all.
    pub peers: Option<Placed<Vec<Placed<PeerName>>>>,
    /// Its table.
    pub place: Span,
}

impl AnnounceDraft {
    /// Reads the table.
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let peers = fields.list("peers", value::peer);
        if let Some(peers) = &peers {
            if fields.is_empty("peers") {
                let reject = Reject::value("must name at least one peer")
                    .help("without `peers` the VIP is announced to all of them");
                fields.errors().add(reject.at("peers", &peers.span));
            }
            repeated(fields.errors(), &peers.value, |peer| {
                format!("the peer {peer} is listed twice")
            });
        }
        AnnounceDraft {
            policy: PolicyDraft::read(fields),
            peers,
            place: fields.place.clone(),
        }
    }

    /// How the VIP is announced.
    pub fn finish(self) -> Announce {
        let peers = self.peers.map(|peers| peers.value.into_iter());
        Announce {
            policy: self.policy.finish(),
            peers: peers.map(|peers| peers.map(|peer| peer.value).collect()),
        }
    }

    /// Whether that peer is among its peers; `None`: it names none.
    pub fn names(&self, peer: PeerName) -> Option<bool> {
        let peers = self.peers.as_ref()?;
        Some(peers.value.iter().any(|named| named.value == peer))
    }
}
