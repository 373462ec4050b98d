//! The whole exposition of an LB node and of a backend, and the rules that every name keeps.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use prometheus::proto::MetricType;

use super::*;
use crate::api::fake;

const LB: &str = include_str!("tests/lb.prom");
const BACKEND: &str = include_str!("tests/backend.prom");

/// Every label there is; each is bounded by the configuration or by names in the code.
const LABELS: [&str; 24] = [
    "action",
    "afi",
    "backend",
    "code",
    "direction",
    "family",
    "hash",
    "interface",
    "list",
    "map",
    "mode",
    "peer",
    "pool",
    "program",
    "range",
    "reason",
    "remote",
    "result",
    "service",
    "state",
    "subcode",
    "type",
    "version",
    "le",
];

/// All families of an LB node that could be read as a whole.
fn lb() -> Vec<MetricFamily> {
    with(&fake::bpf())
}

/// The LB node with this in the kernel.
fn with(bpf: &BpfState) -> Vec<MetricFamily> {
    collect(&Reading {
        status: &Envelope::new(12, fake::lb()),
        counters: Some(&fake::lb_counters()),
        bpf: Some(bpf),
    })
}

fn backend() -> Vec<MetricFamily> {
    collect(&Reading {
        status: &Envelope::new(3, fake::backend()),
        counters: Some(&fake::backend_counters()),
        bpf: None,
    })
}

/// Every family once, by name.
fn all() -> Vec<MetricFamily> {
    let mut families = lb();
    for family in backend() {
        if families.iter().all(|known| known.name() != family.name()) {
            families.push(family);
        }
    }
    families.sort_by(|a, b| a.name().cmp(b.name()));
    families
}

fn reference() -> String {
    let mut out = REFERENCE.to_string();
    for family in all() {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let labels: Vec<String> = family.get_metric()[0]
            .get_label()
            .iter()
            .map(|label| format!("`{}`", label.name()))
            .collect();
        out.push_str(&format!(
            "| `{}` | {kind} | {} | {} |\n",
            family.name(),
            labels.join(", "),
            family.help()
        ));
    }
    out
}

const REFERENCE: &str = "\
# Metrics

`http://ADDRESS/metrics` at the address of `[metrics] listen`, in the text format of Prometheus. Names, types and labels only
grow. `process_*` of the agent come with them. Where the counters cannot be read, `anylb_up` is 0 and only what the agent knows
by itself is there.

Beside it, `/healthz` answers 200 while the agent's loop answers and its datapath can be read, and `/readyz` 200 while the node
serves all that it is configured to serve: the datapath is attached, every VIP is announced, and a BGP session is Established.
Otherwise they answer 503 and say why.

This text is made from the families that the program itself exports.

| name | type | labels | meaning |
|---|---|---|---|
";

/// With `BLESS=1` in the environment the file is written instead.
#[test]
fn the_document_is_in_step_with_the_families() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let document = std::fs::read_to_string(path).unwrap();
    assert_eq!(document, reference(), "run this test with BLESS=1");
}

#[test]
fn exposition_of_an_lb_node() {
    assert_eq!(encode(lb()), LB);
}

#[test]
fn exposition_of_a_backend() {
    assert_eq!(encode(backend()), BACKEND);
}

#[test]
fn without_counters_the_status_is_told_and_up_is_0() {
    let text = encode(collect(&Reading {
        status: &Envelope::new(12, fake::lb()),
        counters: None,
        bpf: None,
    }));
    assert!(text.contains("\nanylb_up 0\n"));
    assert!(text.contains("\nanylb_vip_announced{service=\"web-v4\"} 1\n"));
    assert!(!text.contains("anylb_vip_packets_total"));
    assert!(!text.contains("anylb_drops_total"));
}

#[test]
fn programs_are_counted_only_while_the_kernel_counts_them() {
    let mut bpf = fake::bpf();
    for program in &mut bpf.programs {
        (program.runs, program.run_time_ns) = (None, None);
    }
    let text = encode(with(&bpf));
    assert!(!text.contains("anylb_bpf_program"));
    assert!(text.contains("\nanylb_bpf_map_memory_bytes{map=\"tables\"} 1056768\n"));
}

/// The exposition of an LB node, process metrics included.
fn whole() -> String {
    render(&Reading {
        status: &Envelope::new(12, fake::lb()),
        counters: Some(&fake::lb_counters()),
        bpf: Some(&fake::bpf()),
    })
}

/// Its words are on standard error, and its exit code is not 0 where it has any.
#[test]
fn promtool_finds_nothing() {
    for text in [whole(), encode(backend())] {
        let Some(found) = promtool(&text) else {
            assert!(std::env::var_os("CI").is_none(), "no promtool under CI");
            eprintln!("SKIPPED promtool_finds_nothing: run cargo xtask setup");
            return;
        };
        assert_eq!(found, "");
    }
    let complaint = promtool("# TYPE a counter\na 1\n");
    assert!(complaint.is_some_and(|text| text.contains("counter metrics should have")));
}

/// What `promtool check metrics` says; none where it is not installed.
fn promtool(text: &str) -> Option<String> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads all");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    Some(said)
}

#[test]
fn process_metrics_come_with_it() {
    let text = whole();
    let lines: Vec<&str> = text.lines().collect();
    let value = |name: &str| -> f64 {
        let line = lines.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is there"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") >= 1.0);
    assert!(value("process_start_time_seconds ") > 1e9);
}

#[test]
fn names_keep_the_rules() {
    for family in lb().into_iter().chain(backend()) {
        let name = family.name();
        let rest = name.strip_prefix("anylb_").expect(name);
        assert!(
            rest.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}: letters and underscores"
        );
        assert_eq!(
            name.ends_with("_total"),
            family.get_field_type() == MetricType::COUNTER,
            "{name}: counters, and nothing else, end in _total"
        );
        for unit in ["_ms", "_us", "_ns", "_secs", "_kib", "_percent", "_minutes"] {
            assert!(!name.contains(unit), "{name}: base units only");
        }
        assert!(family.help().ends_with('.'), "{name}: a sentence of help");
    }
}

#[test]
fn labels_are_known_and_no_sample_is_there_twice() {
    for families in [lb(), backend()] {
        let mut seen = BTreeSet::new();
        for family in families {
            for metric in family.get_metric() {
                let labels = metric.get_label();
                for label in labels {
                    assert!(LABELS.contains(&label.name()), "{}", label.name());
                }
                let pairs: Vec<(String, String)> = labels
                    .iter()
                    .map(|label| (label.name().to_string(), label.value().to_string()))
                    .collect();
                let name = family.name().to_string();
                assert!(seen.insert((name, pairs)), "{}: twice", family.name());
            }
        }
    }
}
