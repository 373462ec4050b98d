//! A kernel of Debian's, unpacked below `target/kernels`, never installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use super::releases::Releases;
use super::series::Series;
use crate::setup::apt;

/// An unpacked kernel.
pub struct Kernel {
    /// What `uname -r` will say.
    pub release: String,
    /// The image.
    pub image: PathBuf,
    /// File of every module, by its name with underscores.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Fetches the newest kernel of a series, unless it is there, and unpacks it below `dir`.
    pub fn fetch(series: &Series, releases: &Releases, dir: &Path) -> Result<Self> {
        let root = unpacked(series, releases, dir).or_else(|error| {
            println!("kernels: {error:#}");
            // Debian keeps no version that a newer one has followed.
            releases.update()?;
            unpacked(series, releases, dir)
        })?;
        Self::open(&root)
    }

    fn open(root: &Path) -> Result<Self> {
        let places = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place));
        let place = places.iter().find(|place| place.is_dir());
        let place = place.with_context(|| format!("{}: no modules", root.display()))?;
        let all = fs::read_dir(place)?.collect::<io::Result<Vec<_>>>()?;
        let versions = all.first().context("no modules")?;
        let release = versions.file_name().to_string_lossy().into_owned();
        let mut modules = BTreeMap::new();
        find_modules(&versions.path().join("kernel"), &mut modules)?;
        // Beside the modules since Debian's 7.3.
        let boot = root.join("boot").join(format!("vmlinuz-{release}"));
        let images = [boot, versions.path().join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        Ok(Self {
            image: image.with_context(|| format!("{}: no vmlinuz", root.display()))?,
            release,
            modules,
        })
    }

    /// These modules and what they depend on, each before those that need it.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut loaded = Vec::new();
        for name in names {
            self.add(name, &mut loaded)
                .with_context(|| format!("module {name}"))?;
        }
        Ok(loaded)
    }

    fn add(&self, name: &str, loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if loaded.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let Some(path) = self.modules.get(name) else {
            return Ok(()); // It is built in, or a test will say what is missing.
        };
        let module = contents(path)?;
        for needed in depends(&module) {
            self.add(&needed.replace('-', "_"), loaded)?;
        }
        loaded.push((name.to_owned(), module));
        Ok(())
    }
}

/// Where it is unpacked.
fn unpacked(series: &Series, releases: &Releases, dir: &Path) -> Result<PathBuf> {
    let packages = releases.kernel(series)?;
    let image = &packages[0];
    let root = dir.join(format!("{}_{}", image.name, image.version));
    if root.is_dir() {
        return Ok(root);
    }
    println!("kernels: fetching {}", image.name);
    let fetched = dir.join("fetch");
    let unpacked = dir.join("unpack");
    for fresh in [&fetched, &unpacked] {
        if fresh.exists() {
            fs::remove_dir_all(fresh)?;
        }
    }
    fs::create_dir_all(&fetched)?;
    releases.download(&packages, &fetched)?;
    for file in fs::read_dir(&fetched)? {
        apt::extract(&file?.path(), &unpacked)?;
    }
    fs::remove_dir_all(&fetched)?;
    // Under its name only when whole.
    fs::rename(&unpacked, &root)?;
    Ok(root)
}

fn find_modules(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, found)?;
        } else if let Some((name, "ko" | "ko.xz" | "ko.zst")) =
            entry.file_name().to_string_lossy().split_once('.')
        {
            found.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// A module as the kernel takes it: newer packages compress them.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let extension = path.extension().unwrap_or_default();
    let program = match extension.to_str() {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| path.display().to_string()),
    };
    let output = Command::new(program).arg("-dc").arg(path).output();
    let output =
        output.with_context(|| format!("{program}, which unpacks this kernel's modules"))?;
    ensure!(output.status.success(), "{program} -dc {}", path.display());
    Ok(output.stdout)
}

/// The names after `depends=` in the module's information.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn what_a_module_needs() {
        let info = b"license=GPL\0depends=ip6_tunnel,fou\0name=fou6\0";
        assert_eq!(depends(info), ["ip6_tunnel", "fou"]);
        assert_eq!(depends(b"license=GPL\0depends=\0"), [""; 0]);
        assert_eq!(depends(b"license=GPL\0"), [""; 0]);
    }
}
