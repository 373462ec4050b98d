//! The loaded programs against the same decisions on the host: a million packets of every form, each with the same action and the
//! same bytes on both sides, and every exit reached as often.
//!
//! | file | holds |
//! |---|---|
//! | [`run`] | how many packets, of which seed; batches, and the packet in one that does not agree |
//! | [`node`] | the LB node's program |
//! | [`backend`] | the backend's programs, on XDP and on TC ingress |
//! | [`both`] | the two on one box |
//! | [`sockets`] | a namespace with listeners, connections and half of some |
//!
//! `ANYLB_ORACLE_PACKETS` sets how many packets each program gets, `ANYLB_SEED` which ones.

mod backend;
mod both;
mod node;
mod run;
mod sockets;
