//! What of ours is in the kernel: maps and programs as the kernel itself describes them.
//!
//! Everything is asked of descriptors that the agent holds or may open by their pins: asking by number would need
//! CAP_SYS_ADMIN.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::UNIX_EPOCH;

use aya::maps::MapData;
use aya::programs::ProgramInfo;

use super::maps::{self, SHAPES};
use super::{Dataplane, DataplaneError, flows};
use crate::status::{BpfMap, BpfProgram, BpfState};

impl Dataplane {
    /// Maps and programs of this datapath.
    pub fn inventory(&self) -> Result<BpfState, DataplaneError> {
        let named = SHAPES
            .iter()
            .map(|shape| (shape.name.to_owned(), self.pins.maps().join(shape.name)));
        let flows = (flows::MAP.to_owned(), self.flows.path(&self.pins.flows()));
        let mut numbered = Vec::new();
        for (noun, directory) in [
            ("table", self.pins.tables()),
            ("filter", self.pins.filters()),
            ("buckets", self.pins.buckets()),
        ] {
            let mut pins = maps::numbered_pins(&directory)?;
            pins.sort_unstable();
            let name = |index: u32| (format!("{noun} {index}"), directory.join(index.to_string()));
            numbered.extend(pins.into_iter().map(name));
        }
        let mut all = Vec::new();
        for (name, pin) in named.chain([flows]).chain(numbered) {
            let map = MapData::from_pin(&pin).map_err(DataplaneError::map("maps"))?;
            let map = describe(&name, map.fd().as_fd()).map_err(DataplaneError::pin(pin))?;
            all.push(map);
        }
        let info = self.program()?.info().map_err(DataplaneError::load)?;
        let stats_enabled = stats_enabled();
        Ok(BpfState {
            maps: all,
            programs: vec![program(&info, "xdp", stats_enabled)],
            stats_enabled,
        })
    }

    /// What is wrong with the way from an interface to the program, where anything is.
    pub fn misattached(&self, interface: &str) -> Option<String> {
        let loaded = self.program().ok()?.info().ok()?.id();
        match self.links.get(interface)?.as_ref()?.program_id() {
            Ok(found) if found == loaded => None,
            Ok(found) => Some(format!(
                "carries program {found}, and not {loaded}, which this agent has loaded"
            )),
            Err(error) => Some(format!("the link cannot be asked for its program: {error}")),
        }
    }
}

/// `kernel.bpf_stats_enabled`; off where it cannot be read.
pub(crate) fn stats_enabled() -> bool {
    fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() == "1")
}

/// A program as the kernel describes it.
pub(crate) fn program(info: &ProgramInfo, kind: &str, stats_enabled: bool) -> BpfProgram {
    let loaded = info.loaded_at();
    let since_epoch = loaded.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    BpfProgram {
        name: info.name_as_str().unwrap_or_default().to_owned(),
        kind: kind.to_owned(),
        id: info.id(),
        tag: format!("{:016x}", info.tag()),
        loaded_time_secs: since_epoch.map(|since| since.as_secs()),
        code_bytes: info.size_jitted(),
        runs: stats_enabled.then(|| info.run_count()),
        run_time_ns: stats_enabled
            .then(|| u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX)),
    }
}

/// A map as the kernel describes it beside the descriptor: that is where its memory is told.
pub(crate) fn describe(name: &str, map: BorrowedFd<'_>) -> io::Result<BpfMap> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    parse(name, &text).ok_or_else(|| io::Error::other("this descriptor is no map"))
}

fn parse(name: &str, fdinfo: &str) -> Option<BpfMap> {
    let field = |wanted: &str| -> Option<u64> {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(field, _)| *field == wanted)?;
        value.trim().parse().ok()
    };
    let small = |wanted: &str| u32::try_from(field(wanted)?).ok();
    Some(BpfMap {
        name: name.to_owned(),
        kind: kind_name(small("map_type")?),
        id: small("map_id")?,
        entries: small("max_entries")?,
        key_bytes: small("key_size")?,
        value_bytes: small("value_size")?,
        memory_bytes: field("memlock"),
    })
}

/// Names of `enum bpf_map_type` in the words of bpftool, as far as anylb has such maps.
fn kind_name(number: u32) -> String {
    match number {
        1 => "hash".into(),
        2 => "array".into(),
        6 => "percpu_array".into(),
        9 => "lru_hash".into(),
        11 => "lpm_trie".into(),
        12 => "array_of_maps".into(),
        27 => "ringbuf".into(),
        other => format!("type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FDINFO: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\nmap_type:\t2\nkey_size:\t4\nvalue_size:\t8\n\
                          max_entries:\t65536\nmap_flags:\t0x400\nmap_extra:\t0x0\nmemlock:\t528384\nmap_id:\t17\nfrozen:\t0\n";

    #[test]
    fn a_map_is_what_the_kernel_says_beside_its_descriptor() {
        let expected = BpfMap {
            name: "table 3".into(),
            kind: "array".into(),
            id: 17,
            entries: 65_536,
            key_bytes: 4,
            value_bytes: 8,
            memory_bytes: Some(528_384),
        };
        assert_eq!(parse("table 3", FDINFO), Some(expected.clone()));
        let silent = FDINFO.replace("memlock:\t528384\n", "");
        let memory_bytes = None;
        assert_eq!(
            parse("table 3", &silent),
            Some(BpfMap {
                memory_bytes,
                ..expected
            })
        );
    }

    #[test]
    fn a_descriptor_of_something_else_is_no_map() {
        assert_eq!(parse("x", "pos:\t0\nflags:\t02\n"), None);
        let file = fs::File::open("/proc/self/status").expect("a file");
        assert!(describe("x", file.as_fd()).is_err());
    }
}
