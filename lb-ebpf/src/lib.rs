//! The XDP and TC programs of anylb: packet and map access. Decisions come from `lb-common`.
//!
//! | file | holds |
//! |---|---|
//! | `packet.rs` | a packet between `data` and `data_end` |
//! | `skb.rs` | the same in a TC program |
//! | `sockets.rs` | the kernel's TCP sockets |
//! | `given.rs` | the clock, and what the agent has set |
//! | `indexed.rs` | lookups by an index that lies in a map |
//! | `percpu.rs` | counters that only this CPU writes |
//! | `shared.rs` | words that all CPUs write |
//! | `bin/lb.rs` | maps and programs of the LB node |
//! | `bin/lb/watch.rs` | what of them tells of packets |
//! | `bin/backend.rs` | maps and programs of the backend |
//! | `bin/generator.rs` | maps and programs of `anylb bench` |
//!
//! Off the BPF target the crate compiles to the same code without a `main` of use, so that clippy and tests see it.

#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

pub mod given;
pub mod indexed;
pub mod packet;
pub mod percpu;
pub mod shared;
pub mod skb;
pub mod sockets;

/// A panic path that survives makes the verifier refuse the program, instead of being undefined behaviour.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
