//! What the sources are, for `anylb version`.

use std::path::Path;
use std::process::Command;

/// Hands the commit on to the compiler as `ANYLB_COMMIT`, where that is not set already (a package knows better than the
/// directory it is built in).
///
/// Release builds only: asking again after every commit would rebuild the crate in the midst of work on it.
pub fn export(workspace: &Path) {
    println!("cargo::rerun-if-env-changed=ANYLB_COMMIT");
    let release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    if !release || std::env::var_os("ANYLB_COMMIT").is_some() {
        return;
    }
    // No repository, no git: not known.
    let Some(commit) = git(
        workspace,
        &[
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ],
    ) else {
        return;
    };
    if let Some(log) = git(workspace, &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={}", workspace.join(log).display());
    }
    // Whether anything was changed after the commit.
    println!(
        "cargo::rerun-if-changed={}",
        workspace.join("lb-userspace/src").display()
    );
    println!("cargo::rustc-env=ANYLB_COMMIT={commit}");
}

fn git(workspace: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(workspace)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
