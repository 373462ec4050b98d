//! The backend's decision on the host, and the same packets through its programs in the kernel.

mod cases;
mod decision;
mod host;
mod kernel;
