//! Files that only their owner may read: keys, passwords, configurations that have some.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes one.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    set_permissions(path, Permissions::from_mode(0o600)).with_context(|| path.display().to_string())
}
