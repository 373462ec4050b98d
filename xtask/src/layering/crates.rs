//! Direction of dependencies between the crates.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// What a crate may depend on.
enum Allowed {
    /// These and nothing else.
    Only(&'static [&'static str]),
    /// Of this workspace these, and anything from outside.
    OfWorkspace(&'static [&'static str]),
}

const CRATES: &[(&str, Allowed)] = &[
    ("lb-common", Allowed::Only(&["zerocopy"])),
    ("lb-ebpf", Allowed::OfWorkspace(&["lb-common"])),
    ("lb-oracle", Allowed::Only(&["lb-common", "zerocopy"])),
    ("lb-userspace", Allowed::OfWorkspace(&["lb-common"])),
    (
        "lb-tests",
        Allowed::OfWorkspace(&["lb-common", "lb-oracle", "lb-userspace"]),
    ),
    ("xtask", Allowed::OfWorkspace(&[])),
];

/// Dependencies that the table does not allow, of any kind but for tests and for features that nothing is shipped with, and crates
/// that it does not know.
pub fn breaches() -> Result<Vec<String>> {
    let text = shell::output(shell::cargo().args(["metadata", "--no-deps", "--format-version=1"]));
    let metadata: Value = serde_json::from_str(&text.context("cargo metadata failed")?)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let mut breaches = Vec::new();
    for package in packages {
        let name = package["name"]
            .as_str()
            .context("cargo metadata: a package without a name")?;
        match CRATES.iter().find(|(known, _)| *known == name) {
            Some((_, allowed)) => breaches.extend(allowed.breaches(name, package)),
            None => breaches.push(format!("{name}: not in the table of crates")),
        }
    }
    Ok(breaches)
}

impl Allowed {
    fn breaches(&self, name: &str, package: &Value) -> Vec<String> {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let shipped = dependencies.filter(|one| one["kind"] != "dev" && one["optional"] != true);
        let refused = shipped.filter(|dependency| !self.permits(dependency));
        refused
            .map(|dependency| format!("{name}: must not depend on {}", dependency["name"]))
            .collect()
    }

    fn permits(&self, dependency: &Value) -> bool {
        let name = dependency["name"].as_str().unwrap_or_default();
        match self {
            Self::Only(names) => names.contains(&name),
            Self::OfWorkspace(names) => dependency["path"].is_null() || names.contains(&name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_against_the_table() {
        let package = serde_json::json!({ "dependencies": [
            { "name": "zerocopy", "kind": null },
            { "name": "lb-common", "kind": null, "path": "/x/lb-common" },
            { "name": "xtask", "kind": "build", "path": "/x/xtask" },
            { "name": "proptest", "kind": "dev" },
            { "name": "lb-oracle", "kind": null, "optional": true, "path": "/x/lb-oracle" },
        ]});
        let only = Allowed::Only(&["zerocopy"]).breaches("a", &package);
        assert_eq!(
            only,
            [
                r#"a: must not depend on "lb-common""#,
                r#"a: must not depend on "xtask""#
            ]
        );
        let workspace = Allowed::OfWorkspace(&["lb-common"]).breaches("a", &package);
        assert_eq!(workspace, [r#"a: must not depend on "xtask""#]);
    }
}
