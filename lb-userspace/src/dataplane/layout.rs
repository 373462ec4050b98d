//! Where the maps of a layout are pinned: each layout has a directory of its own, named by its fingerprint (`lb_common::layout`).
//!
//! So no build ever opens maps that it would read as something else. One that finds those of another layout makes its own beside them
//! and fills these while the other's program goes on; then its program takes the place of that one by link update, and the pins of the
//! other go. An upgrade and a downgrade are the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lb_common::layout;

/// By its letters in the program.
static NAME: [u8; 16] = layout::NAME;

const PREFIX: &str = "abi-";

/// Maps of builds whose layouts had no names were pinned beside the links.
const NAMELESS: [&str; 4] = ["maps", "tables", "filters", "buckets"];

/// Name of this build's layout.
pub fn name() -> String {
    String::from_utf8_lossy(&NAME).into_owned()
}

/// Of the pins in `pin_dir` those of this build's maps.
pub fn directory(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{PREFIX}{}", name()))
}

/// Those of other layouts.
pub(super) fn others(pin_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(pin_dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_a_layout = name.starts_with(PREFIX) || NAMELESS.contains(&&*name);
        if of_a_layout && path != directory(pin_dir) {
            all.push(path);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::scratch::Scratch;

    #[test]
    fn what_is_of_no_layout_is_nobody_elses() {
        let scratch = Scratch::new();
        let own = directory(scratch.path());
        let of_others = ["abi-0", "buckets", "maps"];
        let shared = ["backend", "chained", "flows", "links"];
        for name in of_others.iter().chain(&shared) {
            fs::create_dir(scratch.path().join(name)).expect("made");
        }
        fs::create_dir(own).expect("made");
        let mut found = others(scratch.path()).expect("readable");
        found.sort();
        let expected = of_others.map(|name| scratch.path().join(name));
        assert_eq!(found, expected);
    }
}
