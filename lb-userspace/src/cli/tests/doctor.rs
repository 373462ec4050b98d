use super::super::args::Format;
use super::super::doctor;
use super::super::output::Style;
use super::{same_as, too_wide};
use crate::doctor::facts::testing::well;
use crate::doctor::facts::{Facts, PeerState};
use crate::doctor::judge::judge;
use crate::status::Exit;

fn ill() -> Facts {
    let mut facts = well();
    facts.jit = Some(false);
    let nic = facts.interfaces[0].nic.as_mut().unwrap();
    nic.offloads = Some(["rx-lro".into(), "rx-gro-hw".into()].into());
    nic.xdp = None;
    facts.pools[0].backends[1].answer = Err("connection refused".into());
    facts.peers[0].state = PeerState::Silent("Connection refused (os error 111)".into());
    facts.clock = None;
    facts
}

#[test]
fn every_view_of_a_host() {
    for (facts, format, file, exit) in [
        (well(), Format::Table, "doctor-well.txt", Exit::Ok),
        (ill(), Format::Table, "doctor.txt", Exit::Degraded),
        (ill(), Format::Wide, "doctor-wide.txt", Exit::Degraded),
        (ill(), Format::Json, "doctor.json", Exit::Degraded),
    ] {
        let style = Style {
            format,
            colour: false,
        };
        let answer = doctor::answer(judge(&facts), style).unwrap();
        same_as(file, &answer.text);
        assert_eq!(answer.exit, exit, "{file}");
        if format == Format::Table {
            let lines = answer.text.lines().filter(|line| !line.starts_with('!'));
            let tables: String = lines.map(|line| format!("{line}\n")).collect();
            assert_eq!(too_wide(&tables), Vec::<&str>::new(), "{file}");
        }
    }
}
