//! Debian's releases, whatever this machine runs: package lists of their own below `target/`, fetched without root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::series::Series;
use crate::setup::apt;
use crate::shell;

/// Where Debian keeps kernels: 5.10; 6.1 and 6.12; the newest, one or the other. Small lists, but for the last.
const SUITES: [(&str, &str); 4] = [
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie-backports"),
    ("debian", "sid"),
];
const MIRROR: &str = "http://deb.debian.org";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Parts of a newer kernel's package, by the start of their names.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// The package lists.
pub struct Releases {
    dir: PathBuf,
}

/// A package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Releases {
    /// The lists that are below `dir`, or new ones.
    pub fn open(dir: &Path) -> Result<Self> {
        ensure!(
            apt::available(),
            "this system has no apt, which brings the kernels of the virtual machines"
        );
        ensure!(
            Path::new(KEYS).is_file(),
            "missing {KEYS}: install debian-archive-keyring"
        );
        let releases = Self { dir: dir.into() };
        // apt reads nothing of the machine's own but its settings of proxies.
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(dir.join(part)).with_context(|| dir.display().to_string())?;
        }
        let lines = SUITES.map(|(archive, suite)| {
            format!(
                "deb [arch=amd64 target=Packages lang=none signed-by={KEYS}] {MIRROR}/{archive} {suite} main\n"
            )
        });
        fs::write(dir.join("sources.list"), lines.concat())?;
        fs::write(dir.join("status"), "")?;
        if !dir.join("fetched").is_file() {
            releases.update()?;
        }
        Ok(releases)
    }

    /// Fetches the lists.
    pub fn update(&self) -> Result<()> {
        println!("kernels: fetching lists of Debian's kernels");
        shell::run(self.apt("apt-get").arg("-qq").arg("update"))
            .with_context(|| format!("package lists from {MIRROR}"))?;
        Ok(fs::write(self.dir.join("fetched"), "")?)
    }

    /// The packages of the newest kernel of a series: the one with the image first.
    pub fn kernel(&self, series: &Series) -> Result<Vec<Package>> {
        let mut named = vec!["linux-image-amd64".to_owned()];
        named.extend(
            series
                .number()
                .map(|number| format!("linux-image-{number}-amd64")),
        );
        let listed = shell::output(self.apt("apt-cache").arg("madison").args(&named));
        let listed = listed.context("apt-cache madison")?;
        let newest = listed
            .lines()
            .filter_map(listed_package)
            .filter(|package| series.has(&package.version))
            .max_by_key(|package| numbers(&package.version));
        let Some(newest) = newest else {
            let suites = SUITES.map(|(_, suite)| suite).join(", ");
            bail!("no Linux {series} in Debian's {suites}");
        };
        let image = self.parts(&newest)?;
        let image = image
            .into_iter()
            .find(|part| part.name.starts_with(PARTS[0]))
            .with_context(|| format!("{} names no image", newest.name))?;
        let mut packages = vec![image.clone()];
        packages.extend(self.parts(&image)?);
        Ok(packages)
    }

    /// Puts the packages' files into `dir`.
    pub fn download(&self, packages: &[Package], dir: &Path) -> Result<()> {
        let exact = |package: &Package| format!("{}={}", package.name, package.version);
        shell::run(
            self.apt("apt-get")
                .args(["-qq", "download"])
                .args(packages.iter().map(exact))
                .current_dir(dir),
        )
    }

    /// What a package depends on that is of the kernel, in exactly this version.
    fn parts(&self, package: &Package) -> Result<Vec<Package>> {
        let Package { name, version } = package;
        let mut show = self.apt("apt-cache");
        let text = shell::output(show.args(["show", &format!("{name}={version}")]));
        let text = text.with_context(|| format!("apt-cache show {name}={version}"))?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        Ok(depends.map(parts).unwrap_or_default())
    }

    fn apt(&self, program: &str) -> Command {
        let directory = self.dir.display();
        let mut command = Command::new(program);
        for (key, place) in [
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::Etc::preferencesparts", "none"),
            ("Dir::Etc::preferences", "none/preferences"),
        ] {
            command.args(["-o", &format!("{key}={directory}/{place}")]);
        }
        command.args(["-o", "APT::Architecture=amd64"]);
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }
}

/// A line of `apt-cache madison`: `name | version | source`.
fn listed_package(line: &str) -> Option<Package> {
    let mut fields = line.split('|').map(str::trim);
    Some(Package {
        name: fields.next()?.to_owned(),
        version: fields.next()?.to_owned(),
    })
}

/// The kernel's among `name (= version), name | other, ...`.
fn parts(depends: &str) -> Vec<Package> {
    let exact = |word: &str| {
        let (name, version) = word.trim().split_once(" (= ")?;
        let of_the_kernel = PARTS.iter().any(|part| name.starts_with(part));
        // Metapackages name no release.
        let release = name.contains('.');
        (of_the_kernel && release).then(|| Package {
            name: name.to_owned(),
            version: version.trim_end_matches(')').to_owned(),
        })
    };
    depends.split(',').filter_map(exact).collect()
}

/// The numbers of `6.12.117-1~bpo13+1`, in order: enough to tell which kernel is the newer.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn lines_of_madison() {
        let line = "linux-image-amd64 | 5.10.262-1 | http://deb.debian.org/debian-security bullseye-security/main";
        assert_eq!(
            listed_package(line),
            Some(package("linux-image-amd64", "5.10.262-1"))
        );
        assert_eq!(listed_package(""), None);
    }

    #[test]
    fn a_kernel_may_come_in_parts() {
        let version = "7.3.4-1~bpo13+1";
        let metapackage = "linux-base-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                           linux-modules-amd64 (= 7.3.4-1~bpo13+1)";
        assert_eq!(
            parts(metapackage),
            [package("linux-image-7.3.4+deb13-amd64", version)]
        );
        let image = "dracut | initramfs-tools (>= 0.120+deb8u2), linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                     linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)";
        assert_eq!(
            parts(image),
            [
                package("linux-binary-7.3.4+deb13-amd64", version),
                package("linux-modules-7.3.4+deb13-amd64", version)
            ]
        );
        assert_eq!(parts("kmod, linux-base (>= 4.3~)"), []);
    }

    #[test]
    fn versions_compare_by_number() {
        for (older, newer) in [
            ("6.9.7-1", "6.12.1-1"),
            ("7.2.13-1", "7.3.4-1~bpo13+1"),
            ("6.1.176-1", "6.1.192-2"),
        ] {
            assert!(numbers(older) < numbers(newer), "{older} {newer}");
        }
    }
}
