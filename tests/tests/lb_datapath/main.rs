//! The LB program in the kernel: packets in, verdict and bytes out, counters; and the same decision on the host.

mod both;
mod exits;
mod icmp;
mod mutated;
mod stage;
mod state;
mod tunnels;
