//! The decisions without a kernel: whatever comes, they keep what they promise, and write every byte that they add.

use lb_oracle::dice::Dice;
use lb_oracle::host::{self, Host};
use lb_oracle::make::{self, Made};
use lb_oracle::node::{self, Arrival, Node};
use lb_oracle::promise;

const PACKETS: u64 = 50_000;

#[test]
fn an_lb_node_keeps_its_promises() {
    let scene = node::Scene::new();
    let (node, cast) = (Node::new(&scene), scene.cast());
    for number in 0..PACKETS {
        let made = make::for_node(&mut Dice::of(1, number), &cast);
        let arrival = Arrival::WIRE;
        let left = node.run(&made.bytes, arrival).expect("a packet of a test");
        let other = Arrival {
            fill: 0x5a,
            ..arrival
        };
        let again = node.run(&made.bytes, other).expect("a packet of a test");
        assert_eq!(
            left.bytes(),
            again.bytes(),
            "never written: {}",
            told(&made)
        );
        let kept = promise::of_node(&made.bytes, left.exit, left.bytes());
        assert_eq!(kept, Ok(()), "{:?}, {number}: {}", left.exit, told(&made));
    }
}

#[test]
fn a_backend_keeps_its_promises() {
    let scene = host::Scene::new();
    let (cast, tunnels) = (scene.cast(), scene.tunnels());
    let host = Host::new(scene);
    for number in 0..PACKETS {
        let made = make::for_backend(&mut Dice::of(1, number), &cast, &tunnels);
        let left = host.run(&made.bytes, 0xa5).expect("a packet of a test");
        let again = host.run(&made.bytes, 0x5a).expect("a packet of a test");
        assert_eq!(
            left.bytes(),
            again.bytes(),
            "never written: {}",
            told(&made)
        );
        let kept = promise::of_host(&made.bytes, left.exit, left.bytes());
        assert_eq!(kept, Ok(()), "{:?}, {number}: {}", left.exit, told(&made));
    }
}

fn told(made: &Made) -> String {
    format!("{} {:02x?}", made.story(), made.bytes)
}
