//! The backend's decision on the host, and the same packets through its programs in the kernel.

mod agent;
mod cases;
mod check;
mod datagram;
mod decision;
mod headers;
mod hook;
mod host;
mod kernel;
mod mss;
mod plain;
mod stage;
