//! LB node and backend on one box.

use std::os::fd::BorrowedFd;

use anyhow::Result;
use anylb::backend::datapath::Entry;
use lb_common::{backend, lb};
use lb_oracle::dice::Dice;
use lb_oracle::{both, host, make, node};
use lb_tests::harness::netns::Netns;
use lb_tests::harness::privileged;

use crate::backend::Loaded as Backend;
use crate::node::{Loaded as Node, arrival};
use crate::run::{Comparison, Expected, Input, Outcome, Sides, packets};
use crate::sockets::Stage;

struct Both {
    node: Node,
    /// With the program that is in its place behind the LB node's, where one is.
    backend: Option<Backend>,
}

impl Both {
    /// Inside a namespace without sockets.
    fn new(with_backend: bool) -> Result<Self> {
        let node = Node::new("both", Some(&node::Scene::new()), true)?;
        let mut backend = None;
        if with_backend {
            let mut loaded = Backend::new(host_scene(), Entry::LbNode, &Stage::default())?;
            loaded.datapath.attach(&node.pins(), "lo", false)?;
            backend = Some(loaded);
        }
        Ok(Self { node, backend })
    }

    /// Packets of clients and, some, of other LB nodes.
    fn compare(&self, count: u64, should: &[lb::Exit]) -> Result<()> {
        let cast = node::Scene::new().cast();
        let scene = host_scene();
        let (inner, tunnels) = (scene.cast(), scene.tunnels());
        let make = |dice: &mut Dice<'_>| {
            let made = if dice.once_in(3) {
                make::for_backend(dice, &inner, &tunnels)
            } else {
                make::for_node(dice, &cast)
            };
            Input::from(made)
        };
        let mut comparison = Comparison::new(self);
        comparison.run(count, &make)?;
        comparison.finish(
            |exit| should.iter().any(|one| *one as u32 == exit),
            &[("", ""); 0],
        )
    }
}

/// The backend's tables, whose tunnels end where the LB node's scene has this box.
fn host_scene() -> host::Scene {
    host::Scene::beside(&node::Scene::new())
}

impl Sides for Both {
    fn name(&self) -> &'static str {
        "LB node and backend on one box"
    }

    fn program(&self) -> Result<BorrowedFd<'_>> {
        self.node.program()
    }

    fn host(&self, input: &Input) -> Option<Expected> {
        let host = self.backend.as_ref().map(|backend| &backend.host);
        let left = both::run(self.node.node(), host, &input.made.bytes, arrival(input))?;
        let mut exits = vec![left.node as usize];
        let verdict = match left.host {
            Some(exit) => {
                exits.push(lb::Exit::ALL.len() + exit as usize);
                crate::backend::verdict(Entry::LbNode, exit.action())
            }
            None => {
                if left.node == lb::Exit::Local {
                    exits.push(lb::Exit::NoLocalBackend as usize);
                }
                node::verdict(left.node.action())
            }
        };
        Some(Expected {
            outcome: Outcome {
                verdict,
                bytes: left.bytes,
            },
            exits,
            broken: None,
        })
    }

    fn counted(&self) -> Result<Vec<u64>> {
        let mut all = Node::exits(&self.node)?;
        match &self.backend {
            Some(backend) => all.extend(Backend::exits(backend)?),
            None => all.extend(backend::Exit::ALL.iter().map(|_| 0)),
        }
        Ok(all)
    }

    fn exits(&self) -> Vec<&'static str> {
        let node = lb::Exit::ALL.iter().map(|exit| exit.name());
        node.chain(backend::Exit::ALL.iter().map(|exit| exit.name()))
            .collect()
    }
}

fn staged(test: &str, work: impl FnOnce() -> Result<()> + Send) {
    if !privileged::available(test) {
        return;
    }
    let netns = Netns::create(&format!("oracle-{test}")).expect("a namespace");
    netns.run(work).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn a_box_that_is_both_and_oracle_agree() {
    staged("both", || {
        Both::new(true)?.compare(packets() / 4, &[lb::Exit::Local, lb::Exit::Sent])?;
        let gone = [lb::Exit::Local, lb::Exit::NoLocalBackend];
        Both::new(false)?.compare(20_000, &gone)
    });
}
