//! What the report says about the machine and the source.

use crate::harness::shell;

/// Release of the running kernel.
pub fn kernel() -> String {
    read("/proc/sys/kernel/osrelease")
}

/// Model name of the first CPU.
pub fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |text| text.trim_start_matches([' ', '\t', ':']).to_owned(),
    )
}

/// Commit of the source, marked when files differ from it; `unknown` outside a repository.
pub fn commit() -> String {
    let described = shell::run(concat!(
        "git -C ",
        env!("CARGO_MANIFEST_DIR"),
        " describe --always --dirty --abbrev=40 --exclude=*"
    ));
    described.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Kernel, CPU and commit.
pub fn machine() -> (String, String, String) {
    (kernel(), cpu(), commit())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
