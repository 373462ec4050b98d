//! The fuzzer's corpus, without the fuzzer: what it once found stays tried.

use std::path::Path;

use lb_oracle::fuzz::Bench;

/// Every file of the target's corpus, of which there are some.
fn replay(target: &str, mut run: impl FnMut(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&directory).expect("a corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("readable").path();
        run(&std::fs::read(&path).expect("readable"));
        count += 1;
    }
    assert!(count >= 20, "{count} files in {}", directory.display());
}

#[test]
fn node() {
    let mut bench = Bench::new();
    replay("node", |data| bench.node(data));
}

#[test]
fn host() {
    let mut bench = Bench::new();
    replay("host", |data| bench.host(data));
}
