//! The key of the flow hash that all nodes of tests share.

use std::path::Path;

use anyhow::Result;

use super::secret;

/// Name of its file, as `hash_key_file` has it.
pub const FILE: &str = "hash.key";

/// Writes it into a folder, readable by its owner alone.
pub fn write_into(dir: &Path) -> Result<()> {
    secret::write(&dir.join(FILE), "000102030405060708090a0b0c0d0e0f\n")
}
