//! A kernel of Debian's, unpacked below `target/vm`, never installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use crate::setup::apt;
use crate::shell;

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
    /// Fetches the package, or the one it depends on, unless it is there, and unpacks it.
    pub fn fetch(package: &str, dir: &Path) -> Result<Self> {
        ensure!(
            apt::available(),
            "this system has no apt, which brings the kernel of the virtual machine"
        );
        let package = real(package)?;
        let root = dir.join(&package);
        if !root.join("boot").is_dir() {
            unpack(&package, dir, &root)?;
        }
        Self::open(&root).with_context(|| format!("{}: no kernel", root.display()))
    }

    fn open(root: &Path) -> Result<Self> {
        let all = fs::read_dir(root.join("lib/modules"))?.collect::<io::Result<Vec<_>>>()?;
        let versions = all.first().context("no modules")?;
        let release = versions.file_name().to_string_lossy().into_owned();
        let mut modules = BTreeMap::new();
        find_modules(&versions.path().join("kernel"), &mut modules)?;
        Ok(Self {
            image: root.join("boot").join(format!("vmlinuz-{release}")),
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

/// The package that has the image: Debian's metapackages depend on it.
fn real(package: &str) -> Result<String> {
    let depends = apt::depends(package)?;
    let image = depends
        .into_iter()
        .find(|name| name.starts_with("linux-image-"));
    Ok(image.unwrap_or_else(|| package.to_owned()))
}

fn unpack(package: &str, dir: &Path, root: &Path) -> Result<()> {
    println!("vm: fetching {package}");
    let fetched = dir.join("fetch");
    let unpacked = dir.join("unpack");
    for fresh in [&fetched, &unpacked] {
        if fresh.exists() {
            fs::remove_dir_all(fresh)?;
        }
    }
    fs::create_dir_all(&fetched)?;
    apt::download(package, &fetched)?;
    let files = fs::read_dir(&fetched)?.collect::<io::Result<Vec<_>>>()?;
    let file = files.first().context("apt-get left no file")?;
    shell::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(file.path())
            .arg(&unpacked),
    )?;
    fs::remove_dir_all(&fetched)?;
    // Under its name only when whole.
    fs::rename(&unpacked, root)?;
    Ok(())
}

fn find_modules(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, found)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            entry.file_name().to_string_lossy().split_once('.')
        {
            found.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// A module as the kernel takes it: newer packages compress them.
fn contents(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(path).output();
        let output = output.context("xz, which unpacks this kernel's modules")?;
        ensure!(output.status.success(), "xz -dc {}", path.display());
        return Ok(output.stdout);
    }
    fs::read(path).with_context(|| path.display().to_string())
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
