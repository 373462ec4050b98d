//! An embedded BGP speaker that only announces: received routes are framed, checked for errors that end a session,
//! and dropped.
//!
//! It knows nothing of load balancing. Its user gives it a [`SpeakerConfig`] and a `watch` channel with the
//! [`RouteSet`] that the peers shall hear; it keeps the sessions and tells each peer the difference to what it heard
//! before.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`config`], [`peer_name`], [`interface_name`], [`route`], [`community`], [`path`] | what the user says: peers, routes, policies, paths | yes |
//! | [`codec`], [`notification`] | messages to bytes and back, with the reaction each error asks for | yes |
//! | [`fsm`] | RFC 4271's state machine for one peer, two connections and their collision | yes |
//! | [`rib`] | Adj-RIB-Out: wanted routes against sent ones, as UPDATEs | yes |
//! | `discovery` | who the router on an interface is, by router advertisements | in part |
//! | [`speaker`], `range`, `session`, `channels`, `link`, `listener`, `transport` | listeners and one task per peer | no |
//! | [`status`] | what it tells about its peers | yes |
//!
//! Invariant: no OPEN is sent before the first route set is known, and no End-of-RIB before a route set says that it
//! is complete; both would make a peer that holds our routes through a restart drop them.

mod channels;
pub mod codec;
pub mod community;
pub mod config;
mod discovery;
pub mod error;
pub mod fsm;
pub mod interface_name;
mod link;
mod listener;
pub mod notification;
pub mod path;
pub mod peer_name;
mod range;
mod remote;
pub mod rib;
pub mod route;
mod session;
mod sockopt;
pub mod speaker;
pub mod status;
mod transport;

pub use codec::{Attributes, Open};
pub use community::{AnyCommunity, Communities, Community, LargeCommunity, LinkBandwidth};
pub use config::{GracefulRestart, PeerConfig, SpeakerConfig};
pub use error::SpeakerError;
pub use fsm::State;
pub use interface_name::InterfaceName;
pub use path::Path;
pub use peer_name::{PeerName, first_host, is_half_an_address};
pub use remote::{Absence, Remote};
pub use route::{Family, Policy, Route, RouteSet};
pub use speaker::Speaker;
pub use status::{Discovery, NotificationKey, PeerSettings, PeerStatus, RangeStatus, Strangers};
