//! anylb: an anycast layer-4 load balancer. This library is the agent; the binary `anylb` only parses and dispatches.
//!
//! | module | holds | pure |
//! |---|---|---|
//! | [`model`] | a checked configuration | yes |
//! | [`config`] | TOML to model, errors with a caret | yes |
//! | [`filter`] | allow and deny lists as search trees | yes |
//! | [`rows`] | tables: weighted rendezvous with bounded loads, previous inputs as alternates | yes |
//! | [`health`] | rise and fall as a state machine; the probes that feed it | machine only |
//! | [`bgp`] | codec, state machine, sessions; knows nothing of load balancing | machine only |
//! | [`bfd`] | codec, state machine, the process of the sessions; knows nothing of load balancing, nor of BGP | machine only |
//! | [`plan`] | desired state against what the kernel holds: an ordered list of operations | yes |
//! | [`dataplane`] | the only module that knows aya: load, pin, attach, read, apply | no |
//! | [`netlink`] | routes, neighbours, links, addresses | no |
//! | [`path_mtu`] | what routers say of the tunnels' packets | all but the sockets |
//! | [`agent`] | the reconcile loop that joins them | no |
//! | [`backend`] | the backend role | no |
//! | [`mod@bench`] | line rate of an interface, from the generator's side | in parts |
//! | [`doctor`] | what of this host stands in the way | judging only |
//! | [`status`] | what the agent tells: the shapes behind `--json` and the admin API | yes |
//! | [`api`] | admin socket, metrics listener | no |
//! | [`cli`] | commands, tables | no |

#![deny(unsafe_code)]

pub mod agent;
pub mod api;
pub mod backend;
pub mod bench;
pub mod bfd;
pub mod bgp;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod doctor;
pub mod filter;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod health;
pub mod model;
pub mod netlink;
pub mod path_mtu;
pub mod plan;
pub mod rows;
pub mod status;
