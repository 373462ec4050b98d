//! Changes of the table that an operator makes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use anylb::model::AdminState;

use super::files::{BACKENDS_FIRST, Pools};
use super::report::Report;
use super::site::Site;
use super::trial::{Event, Excused, Ground};

/// A swap holds up nobody; this much is the scheduler's on a busy machine.
const STALL: Duration = Duration::from_millis(250);
const LIGHT: u16 = 25;
const HEAVY: u16 = 300;

/// Three backends at once.
pub async fn added(site: &mut Site, report: &mut Report) -> Result<()> {
    let happens = async |site: &mut Site, hops: u8| {
        site.apply(&Pools::full().with_hops(hops)).await?;
        Ok(Excused::new())
    };
    Event {
        name: "backends-added",
        start: Pools::first(),
        stall_limit: STALL,
        happens,
    }
    .run(site, report)
    .await
}

/// Two backends.
pub async fn drained(site: &mut Site, report: &mut Report) -> Result<()> {
    let two = two_backends(site);
    let happens = async |site: &mut Site, _| {
        for backend in two {
            site.set_admin(backend, AdminState::Draining)?;
        }
        Ok(Excused::new())
    };
    Event {
        name: "backends-drained",
        start: Pools::full(),
        stall_limit: STALL,
        happens,
    }
    .run(site, report)
    .await
}

/// One backend gets much less, another much more.
pub async fn weights_changed(site: &mut Site, report: &mut Report) -> Result<()> {
    let [light, heavy] = two_backends(site);
    let happens = async |site: &mut Site, hops: u8| {
        let weights = BTreeMap::from([(light, LIGHT), (heavy, HEAVY)]);
        site.apply(&Pools {
            weights,
            ..Pools::full().with_hops(hops)
        })
        .await?;
        Ok(Excused::new())
    };
    Event {
        name: "weights-changed",
        start: Pools::full(),
        stall_limit: STALL,
        happens,
    }
    .run(site, report)
    .await
}

fn two_backends(site: &mut Site) -> [u8; 2] {
    let all: Vec<u8> = (1..=BACKENDS_FIRST).collect();
    site.dice.pick_two(&all)
}
