//! Whether a test that needs root may run at all.

/// True where namespaces and BPF can be used. Elsewhere it says so on stderr, and panics under CI, where a skipped
/// test would pass for a passed one.
pub fn available(test: &str) -> bool {
    let missing = missing();
    let Some(why) = missing else { return true };
    assert!(
        std::env::var_os("CI").is_none(),
        "{test} cannot run under CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
    false
}

/// What is missing for namespaces, packet filters and BPF, in words that say what to do.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root (namespaces and BPF): run it with sudo".to_owned());
    }
    let absent: Vec<&str> = ["ip", "nft", "ethtool"]
        .into_iter()
        .filter(|program| !in_path(program))
        .collect();
    (!absent.is_empty()).then(|| {
        format!(
            "not installed: {}: run cargo xtask setup",
            absent.join(", ")
        )
    })
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}
