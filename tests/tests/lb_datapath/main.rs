//! The LB program in the kernel: packets in, verdict and bytes out, counters; and the same decision on the host.

mod attack;
mod both;
mod exits;
mod filters;
mod flow_table;
mod fragments;
mod icmp;
mod l2;
mod mutated;
mod prefix;
mod rates;
mod stage;
mod state;
mod tunnels;
