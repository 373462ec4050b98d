//! The key of the flow hash that all nodes of tests share.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;

/// Name of its file, as `hash_key_file` has it.
pub const FILE: &str = "hash.key";

/// Writes it into a folder, readable by its owner alone.
pub fn write_into(dir: &Path) -> Result<()> {
    let file = dir.join(FILE);
    write(&file, "000102030405060708090a0b0c0d0e0f\n")?;
    Ok(set_permissions(&file, Permissions::from_mode(0o600))?)
}
