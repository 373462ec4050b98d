//! Every program of every object, before the verifier of the kernel that runs: what `cargo xtask kernels` asks each kernel.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use anylb::backend::kernel_types::Offsets;
use anylb::dataplane::objects;
use aya::maps::MapData;
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use aya_obj::generated::{bpf_insn, bpf_prog_type};
use lb_tests::bench::bpf;
use lb_tests::bench::insn::Insn;
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::privileged;

/// Half of what the verifier follows at most (BPF_COMPLEXITY_LIMIT_INSNS).
const VERIFIED_MAX: u32 = 500_000;

const OBJECTS: [(&str, &[u8]); 3] = [
    ("lb", objects::LB),
    ("backend", objects::BACKEND),
    ("generator", objects::GENERATOR),
];

/// Any but none: without a flow table the verifier would leave out what works on it.
const FLOW_BUCKETS: u32 = 1;

/// As the agent loads them: without the offsets the verifier would leave out what reads there.
fn open(object: &'static [u8]) -> Result<Ebpf> {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let offsets = Offsets::find(&btf);
    let object = EbpfLoader::new()
        .btf(None)
        .override_global("SENT_ISN", &offsets.sent_isn, false)
        .override_global("TIME_WAIT_SUBSTATE", &offsets.time_wait_substate, false)
        .override_global("FRAGS", &*objects::FRAGS, false)
        .override_global("FLOW_BUCKETS", &FLOW_BUCKETS, false)
        .load(&objects::loadable(object))?;
    Ok(object)
}

/// The instructions that the verifier followed, where the program tells (since Linux 5.16).
fn load(program: &mut Program) -> Result<Option<u32>> {
    match program {
        Program::Xdp(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        Program::RawTracePoint(program) => program.load()?,
        other => anyhow::bail!("no agent loads a {:?}", other.prog_type()),
    }
    Ok(program.info()?.verified_instruction_count())
}

/// The same from the verifier's log, which the loader does not show: the program once more, with the maps of `loaded`.
fn logged(object: &[u8], loaded: &Ebpf, name: &str) -> Result<u32> {
    let bpffs = Bpffs::mount(&std::env::temp_dir().join("anylb-test-programs"))?;
    let mut parsed = Object::parse(object)?;
    let mut maps = Vec::new();
    for (number, (name, map)) in loaded.maps().enumerate() {
        // Names of sections begin with a dot, which no pin may have.
        let pin = bpffs.path().join(number.to_string());
        map.pin(&pin)?;
        let shape = parsed.maps.get(name).context("a map of the object")?;
        maps.push((name, MapData::from_pin(&pin)?, shape.clone()));
    }
    let sections: HashSet<usize> = parsed
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let descriptors = maps
        .iter()
        .map(|(name, map, shape)| (*name, map.fd().as_fd().as_raw_fd(), shape));
    parsed.relocate_maps(descriptors, &sections)?;
    parsed.relocate_calls(&sections)?;
    let program = parsed
        .programs
        .get(name)
        .context("a program of the object")?;
    let insns: Vec<Insn> = parsed.functions[&program.function_key()]
        .instructions
        .iter()
        .map(|insn| {
            Insn::new(
                insn.code,
                insn.dst_reg(),
                insn.src_reg(),
                insn.off,
                insn.imm,
            )
        })
        .collect();
    let kind = loaded
        .program(name)
        .context("a loaded program")?
        .prog_type();
    let log = bpf::statistics(bpf_prog_type::from(kind) as u32, &insns)?;
    let counted = log.lines().find_map(|line| line.strip_prefix("processed "));
    let counted = counted.and_then(|rest| rest.split(' ').next());
    let counted = counted.with_context(|| format!("no count in the verifier's log: {log}"))?;
    Ok(counted.parse()?)
}

/// `cargo xtask kernels` reads the lines.
#[test]
fn every_program_stays_below_the_verifiers_limit() -> Result<()> {
    if !privileged::available("every_program_stays_below_the_verifiers_limit") {
        return Ok(());
    }
    let mut refused = Vec::new();
    for (object, bytes) in OBJECTS {
        let mut loaded = open(bytes).with_context(|| object.to_owned())?;
        let names: Vec<String> = loaded.programs().map(|(name, _)| name.to_owned()).collect();
        for program in names {
            let name = format!("{object}/{program}");
            let found = loaded
                .program_mut(&program)
                .context("one of its programs")?;
            let verified = load(found).and_then(|told| match told {
                Some(verified) => Ok(verified),
                None => logged(bytes, &loaded, &program),
            });
            match verified {
                Ok(verified) => {
                    println!("PROGRAM {name} {verified}");
                    if verified > VERIFIED_MAX {
                        refused.push(name);
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    println!("{error}");
                    println!("PROGRAM {name} refused: {}", reason(&error));
                    refused.push(name);
                }
            }
        }
    }
    ensure!(
        refused.is_empty(),
        "too many instructions, or refused: {refused:?}"
    );
    Ok(())
}

/// What the log says is what the program tells, where it does.
#[test]
fn both_ways_of_counting_agree() -> Result<()> {
    if !privileged::available("both_ways_of_counting_agree") {
        return Ok(());
    }
    let mut loaded = open(objects::GENERATOR)?;
    for name in ["generate", "count", "taken"] {
        let told = load(loaded.program_mut(name).context("a program")?)?;
        let logged = logged(objects::GENERATOR, &loaded, name)?;
        ensure!(
            told.is_none_or(|told| told == logged),
            "{name}: {told:?}, {logged}"
        );
    }
    Ok(())
}

/// The verifier of the kernel that runs may leave more of the stack than older ones.
#[test]
fn every_program_has_the_stack_that_it_needs() -> Result<()> {
    /// MAX_BPF_STACK.
    const STACK: u32 = 512;
    for (object, bytes) in OBJECTS {
        let mut parsed = Object::parse(bytes)?;
        let sections = parsed.functions.keys().map(|(section, _)| *section);
        let sections: HashSet<usize> = sections.collect();
        parsed.relocate_calls(&sections)?;
        for (name, program) in &parsed.programs {
            let insns = &parsed.functions[&program.function_key()].instructions;
            let stack = stack(insns, 0);
            println!("{object}/{name}: {stack} of {STACK} bytes of stack");
            ensure!(stack <= STACK, "{object}/{name}: {stack} bytes of stack");
        }
    }
    Ok(())
}

/// Bytes that the function at `start` takes with the deepest of its calls, as the verifier counted them before Linux 6.8: in steps
/// of 32, and no function none.
fn stack(program: &[bpf_insn], start: usize) -> u32 {
    const FRAME: u8 = 10;
    const CALL: u8 = 0x85;
    const PSEUDO_CALL: u8 = 1;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let target = |(at, insn): (usize, &bpf_insn)| {
        let calls = insn.code == CALL && insn.src_reg() == PSEUDO_CALL;
        calls.then(|| (at as i64 + i64::from(insn.imm) + 1) as usize)
    };
    let starts: BTreeSet<usize> = program.iter().enumerate().filter_map(target).collect();
    let end = starts.range(start + 1..).next().copied();
    let end = end.unwrap_or(program.len());
    let (mut own, mut below) = (0, 0);
    for (at, insn) in (start..end).zip(&program[start..end]) {
        // Loads (class 1) read from their source, stores (2 and 3) write to their destination.
        let base = match insn.code & 7 {
            1 => Some(insn.src_reg()),
            2 | 3 => Some(insn.dst_reg()),
            _ => None,
        };
        if base == Some(FRAME) {
            own = own.max(-i32::from(insn.off));
        }
        if insn.code == MOVE && insn.src_reg() == FRAME {
            let next = &program[at + 1];
            assert_eq!(
                (next.code, next.dst_reg()),
                (ADD, insn.dst_reg()),
                "an address"
            );
            own = own.max(-next.imm);
        }
        if let Some(target) = target((at, insn)) {
            below = below.max(stack(program, target));
        }
    }
    (own as u32).max(1).next_multiple_of(32) + below
}

/// The last line of the verifier's log that is no statistics.
fn reason(error: &str) -> &str {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "verification time",
        "stack depth",
        "peak_states",
    ];
    let mut lines = error.lines().rev().map(str::trim);
    lines
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
        .unwrap_or("no reason given")
}
