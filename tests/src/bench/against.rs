//! Another XDP program beside ours: the same packets, the same wrapper, the same rounds.

mod preparation;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::programs::{Program, Xdp};
use aya::{Btf, Ebpf, EbpfLoader};

pub use self::preparation::Preparation;
use super::series::{Case, Figures};
use super::wrapper::{Frame, Probe};

const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
/// Before the names of our cases.
const PREFIX: &str = "against-";
/// Ethernet with a tag, IPv6, TCP: what a program may change that translates addresses.
const HEADERS: usize = 80;

/// The other program, loaded, with its maps filled.
pub struct Against {
    object: Ebpf,
    file: PathBuf,
    program: String,
}

/// What is not measured, since the other program does something else with the packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Otherwise {
    case: String,
    found: u32,
    ours: u32,
}

impl Against {
    /// Loads a program of the object in `file`, the only XDP program of it where none is named, and prepares its maps. They are
    /// pinned below `scratch`, on a BPF file system.
    pub fn load(
        file: &Path,
        program: Option<&str>,
        preparation: &Preparation,
        scratch: &Path,
    ) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        std::fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        let pinned = preparation.pinned(scratch)?;
        let types = Btf::from_sys_fs().ok();
        let mut loader = EbpfLoader::new();
        loader.btf(types.as_ref());
        preparation.configure(&mut loader);
        for (map, path) in &pinned {
            loader.map_pin_path(map, path);
        }
        let mut object = loader.load(&bytes)?;
        let program = chosen(&object, program)?;
        xdp(&mut object, &program)?.load()?;
        preparation.fill(&mut object, &pinned)?;
        Ok(Self {
            object,
            file: file.to_owned(),
            program,
        })
    }

    /// After each of our cases the other program's with the same packet, where it forwards or passes as ours does.
    pub fn beside(&self, ours: Vec<Case>) -> Result<(Vec<Case>, Vec<Otherwise>)> {
        let mut cases = Vec::new();
        let mut otherwise = Vec::new();
        for our in ours {
            let name = our.name.clone();
            let theirs = self
                .case(&our)
                .with_context(|| format!("{self} with the packet of {name}"))?;
            let found = theirs.verdict;
            if is_forwarded(found) == is_forwarded(our.verdict)
                && (is_forwarded(found) || found == our.verdict)
            {
                cases.extend([our, theirs]);
            } else {
                let ours = our.verdict;
                cases.push(our);
                otherwise.push(Otherwise {
                    case: name,
                    found,
                    ours,
                });
            }
        }
        Ok((cases, otherwise))
    }

    fn case(&self, our: &Case) -> Result<Case> {
        let frame = our.probe.frame();
        let frame = Frame {
            restore: frame.restore.max(HEADERS.min(frame.bytes.len())),
            ..frame.clone()
        };
        let probe = Probe::new(self.fd()?, frame)?;
        Ok(Case {
            name: format!("{PREFIX}{}", our.name),
            verdict: probe.verdict(),
            probe,
        })
    }

    fn fd(&self) -> Result<BorrowedFd<'_>> {
        let program = self.object.program(&self.program);
        let program: &Xdp = program.context("a loaded program")?.try_into()?;
        Ok(program.fd()?.as_fd())
    }
}

/// Takes the other program's figures out, each under the name of our case.
pub fn split(figures: Vec<Figures>) -> (Vec<Figures>, Vec<Figures>) {
    let (mut theirs, ours): (Vec<_>, Vec<_>) = figures
        .into_iter()
        .partition(|case| case.name.starts_with(PREFIX));
    for case in &mut theirs {
        case.name.drain(..PREFIX.len());
    }
    (ours, theirs)
}

fn is_forwarded(verdict: u32) -> bool {
    matches!(verdict, XDP_TX | XDP_REDIRECT)
}

/// The program to measure.
fn chosen(object: &Ebpf, wanted: Option<&str>) -> Result<String> {
    let programs = object.programs();
    let xdp = programs.filter(|(_, program)| matches!(program, Program::Xdp(_)));
    let names: Vec<&str> = xdp.map(|(name, _)| name).collect();
    match (wanted, names.as_slice()) {
        (Some(wanted), _) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (_, []) => bail!("no XDP program in it"),
        (Some(wanted), _) => bail!("no XDP program {wanted} in it: {}", names.join(", ")),
        (None, _) => bail!(
            "several XDP programs: name one with --against-program: {}",
            names.join(", ")
        ),
    }
}

fn xdp<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp> {
    let program = object.program_mut(name);
    let program = program.with_context(|| format!("no program {name} in the object"))?;
    let program = program.try_into();
    program.with_context(|| format!("{name} is no XDP program"))
}

/// Object and program.
impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.file_name().map(OsString::from);
        let file = file.unwrap_or_default();
        write!(f, "{} of {}", self.program, file.display())
    }
}

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [found, ours] = [self.found, self.ours].map(|verdict| {
            let names = ["ABORTED", "DROP", "PASS", "TX", "REDIRECT"];
            names.get(verdict as usize).copied().unwrap_or("invalid")
        });
        write!(f, "{}: {found}, ours: {ours}", self.case)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use anylb::dataplane::{layout, objects};
    use aya::maps::MapData;
    use lb_common::generator::Order;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;
    use crate::bench::{bpf, node};
    use crate::harness::bpffs::Bpffs;
    use crate::harness::privileged;

    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;

    fn file(name: &str, object: &[u8]) -> Result<PathBuf> {
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, object)?;
        Ok(file)
    }

    #[test]
    fn our_own_object_with_our_maps_does_what_ours_does() -> Result<()> {
        if !privileged::available("our_own_object_with_our_maps_does_what_ours_does") {
            return Ok(());
        }
        let bpffs = Bpffs::mount(&std::env::temp_dir().join("anylb-test-against"))?;
        let (cases, _) = node::cases(bpffs.path(), 1)?;
        let few = cases.into_iter().filter(|case| case.name.ends_with("-1"));
        let cases: Vec<Case> = few.filter(|case| case.name.contains("-gue-")).collect();
        let count = cases.len();
        let object = file("anylb-test-against.o", objects::LB)?;
        let maps = layout::directory(&bpffs.path().join("node")).join("maps");
        // A loader writes the program's variables: the root is given as it is.
        let root = MapData::from_pin(maps.join("ROOT"))?;
        let root: String = bpf::lookup(root.fd().as_fd(), 0, 8)?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let prepared = format!("pins = {maps:?}\nglobals = {{ ROOT = {root:?} }}");
        let with_pins: Preparation = toml::from_str(&prepared)?;
        let scratch = bpffs.path().join("with-pins");
        let same = Against::load(&object, Some("lb"), &with_pins, &scratch)?;
        assert_eq!(same.to_string(), "lb of anylb-test-against.o");
        let (both, otherwise) = same.beside(cases)?;
        assert_eq!((both.len(), otherwise), (2 * count, Vec::new()));
        for pair in both.chunks(2) {
            assert_eq!(pair[1].name, format!("{PREFIX}{}", pair[0].name));
            pair[1].probe.round(100)?;
        }

        let nothing = Preparation::default();
        let scratch = bpffs.path().join("empty");
        let empty = Against::load(&object, Some("lb"), &nothing, &scratch)?;
        let ours = both.into_iter().step_by(2).collect();
        let (alone, otherwise) = empty.beside(ours)?;
        assert_eq!((alone.len(), otherwise.len()), (count, count));
        assert!(
            otherwise[0].to_string().ends_with(": PASS, ours: TX"),
            "{}",
            otherwise[0]
        );

        let refusal = |program| match Against::load(&object, program, &nothing, &scratch) {
            Ok(_) => "none".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        assert!(
            refusal(None).contains("--against-program"),
            "{}",
            refusal(None)
        );
        let unknown = refusal(Some("xdp_lb"));
        assert!(
            unknown.starts_with("no XDP program xdp_lb in it: "),
            "{unknown}"
        );
        Ok(())
    }

    /// The program counts and drops the packets whose last bytes are in its map.
    #[test]
    fn maps_hold_what_the_file_says() -> Result<()> {
        if !privileged::available("maps_hold_what_the_file_says") {
            return Ok(());
        }
        let bpffs = Bpffs::mount(&std::env::temp_dir().join("anylb-test-prepared"))?;
        let object = file("anylb-test-prepared.o", objects::GENERATOR)?;
        let packet = [7; 64];
        let mut order = Order::new_zeroed();
        order.mark = u64::from_ne_bytes([7; 8]);
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x} ");
                text
            })
        };
        let (order, returned) = (hex(order.as_bytes()), hex(&[1; 16]));
        let load = |name: &str, maps: &str| -> Result<Against> {
            let preparation: Preparation = toml::from_str(maps)?;
            Against::load(
                &object,
                Some("count"),
                &preparation,
                &bpffs.path().join(name),
            )
        };
        let verdict =
            |against: &Against| -> Result<u32> { Ok(bpf::test_run(against.fd()?, &packet, 1)?.0) };
        assert_eq!(verdict(&load("empty", "")?)?, XDP_PASS);

        let filled = format!(
            "[maps.ORDER]\nentries = [{{ key = \"00000000\", value = \"{order}\" }}]\n\
             [maps.RETURNED]\nentries = [{{ key = \"00:00:00:00\", value = \"{returned}\" }}]\n"
        );
        assert_eq!(verdict(&load("filled", &filled)?)?, XDP_DROP);

        for (maps, expected) in [
            ("[maps.OTHER]\n", "maps.OTHER: the object has no such map: "),
            (
                "[maps.ORDER]\nentries = [{ key = \"00\", value = \"00\" }]\n",
                "maps.ORDER.entries[0]: the key has 1 bytes, the map's have 4",
            ),
            (
                "[maps.ORDER]\nentries = [{ key = \"00000000\", value = \"00\" }]\n",
                "maps.ORDER.entries[0]: the value has 1 bytes, the map's have ",
            ),
            (
                "[maps.ORDER]\nentries = [{ key = \"0\", value = \"00\" }]\n",
                "not an even number of hexadecimal digits",
            ),
            (
                "[maps.ORDER]\nentries = [{ key = \"00000000\" }]\n",
                "maps.ORDER.entries[0]: give it one of value, map and program",
            ),
            (
                "[maps.ORDER]\npin = \"/nowhere\"\n",
                "maps.ORDER: nothing at /nowhere",
            ),
        ] {
            let Err(error) = load("refused", maps) else {
                panic!("not refused: {maps}");
            };
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
        }
        Ok(())
    }

    #[test]
    fn figures_are_told_apart() {
        let figures = |name: &str| Figures {
            name: name.to_owned(),
            rounds: vec![1.0],
        };
        let (ours, theirs) = split(vec![figures("vip-1"), figures("against-vip-1")]);
        assert_eq!(
            (ours, theirs),
            (vec![figures("vip-1")], vec![figures("vip-1")])
        );
    }
}
