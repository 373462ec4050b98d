//! An embedded BGP speaker that only announces: received routes are framed, checked for errors that end a session,
//! and dropped.
//!
//! It knows nothing of load balancing. Its user gives it a [`SpeakerConfig`] and a `watch` channel with the
//! [`RouteSet`] that every peer shall hear; it keeps the sessions and tells each peer the difference to what it heard
//! before.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | [`config`], [`route`] | what the user says: peers, routes | yes |
//! | [`fsm`] | RFC 4271's state machine for one peer, two connections and their collision | yes |
//! | [`speaker`] | listeners and one task per peer | no |
//! | [`status`] | what it tells about its peers | yes |
//!
//! Invariant: no OPEN is sent before the first route set is known, and no End-of-RIB before a route set says that it
//! is complete; both would make a peer that holds our routes through a restart drop them.

pub mod config;
pub mod error;
pub mod fsm;
pub mod route;
pub mod speaker;
pub mod status;

pub use config::{GracefulRestart, PeerConfig, SpeakerConfig};
pub use error::SpeakerError;
pub use fsm::State;
pub use route::{Family, Route, RouteSet};
pub use speaker::Speaker;
pub use status::PeerStatus;
