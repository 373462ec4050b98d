//! What the other program's maps hold, as the file of `--against-maps` says: CONTRIBUTING.md has an example with every key.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{MapData, MapType};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use serde::{Deserialize, Deserializer, de};

use crate::bench::bpf;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    pins: Option<PathBuf>,
    #[serde(default)]
    globals: BTreeMap<String, Bytes>,
    #[serde(default)]
    maps: BTreeMap<String, Contents>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    pin: Option<PathBuf>,
    max_entries: Option<u32>,
    #[serde(default)]
    entries: Vec<Entry>,
}

/// A key, and one of the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Bytes,
    value: Option<Bytes>,
    map: Option<String>,
    program: Option<String>,
}

/// Hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Preparation {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self> {
        Ok(toml::from_str(&std::fs::read_to_string(file)?)?)
    }

    /// Every map that is found by its pin: somebody else's, or one of the object's that is to be filled, below `scratch`.
    pub(super) fn pinned(&self, scratch: &Path) -> Result<BTreeMap<String, PathBuf>> {
        let mut pinned = BTreeMap::new();
        for pin in self.pins.iter() {
            let entries = std::fs::read_dir(pin).with_context(|| pin.display().to_string())?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    pinned.insert(name, entry.path());
                }
            }
        }
        for (name, contents) in &self.maps {
            if let Some(pin) = &contents.pin {
                ensure!(pin.exists(), "maps.{name}: nothing at {}", pin.display());
                pinned.insert(name.clone(), pin.clone());
            }
        }
        let values = self.maps.values().flat_map(|contents| &contents.entries);
        let inner = values.filter_map(|entry| entry.map.as_ref());
        let filled: BTreeSet<&String> = self.maps.keys().chain(inner).collect();
        for name in filled {
            pinned
                .entry(name.clone())
                .or_insert_with(|| scratch.join(name));
        }
        Ok(pinned)
    }

    /// Variables and sizes.
    pub(super) fn configure<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for (name, Bytes(bytes)) in &self.globals {
            loader.override_global(name, &bytes[..], true);
        }
        for (name, contents) in &self.maps {
            if let Some(entries) = contents.max_entries {
                loader.map_max_entries(name, entries);
            }
        }
    }

    /// Fills the maps, and loads the programs that they hold.
    pub(super) fn fill(&self, object: &mut Ebpf, pinned: &BTreeMap<String, PathBuf>) -> Result<()> {
        for (name, contents) in &self.maps {
            if object.map(name).is_none() {
                let names: Vec<&str> = object.maps().map(|(name, _)| name).collect();
                bail!(
                    "maps.{name}: the object has no such map: {}",
                    names.join(", ")
                );
            }
            let map = MapData::from_pin(&pinned[name])?;
            for (number, entry) in contents.entries.iter().enumerate() {
                self.set(object, pinned, &map, entry)
                    .with_context(|| format!("maps.{name}.entries[{number}]"))?;
            }
        }
        Ok(())
    }

    fn set(
        &self,
        object: &mut Ebpf,
        pinned: &BTreeMap<String, PathBuf>,
        map: &MapData,
        entry: &Entry,
    ) -> Result<()> {
        let info = map.info()?;
        let fd = map.fd().as_fd();
        let key = &entry.key.0[..];
        of_size("key", key, info.key_size())?;
        match (&entry.value, &entry.map, &entry.program) {
            (Some(Bytes(value)), None, None) => {
                of_size("value", value, info.value_size())?;
                bpf::update(fd, key, &per_cpu(info.map_type()?, value)?[..])?;
            }
            (None, Some(inner), None) => {
                let inner = MapData::from_pin(&pinned[inner])
                    .with_context(|| format!("the object has no map {inner}"))?;
                bpf::update(fd, key, &inner.fd().as_fd().as_raw_fd())?;
            }
            (None, None, Some(name)) => {
                let program = super::xdp(object, name)?;
                if program.fd().is_err() {
                    program.load()?;
                }
                bpf::update(fd, key, &program.fd()?.as_fd().as_raw_fd())?;
            }
            _ => bail!("give it one of value, map and program"),
        }
        Ok(())
    }
}

fn of_size(what: &str, bytes: &[u8], size: u32) -> Result<()> {
    let found = bytes.len();
    ensure!(
        found == size as usize,
        "the {what} has {found} bytes, the map's have {size}"
    );
    Ok(())
}

/// What the kernel takes for one value: of a per-CPU map one for each possible CPU, padded to eight bytes.
fn per_cpu(kind: MapType, value: &[u8]) -> Result<Vec<u8>> {
    let is_per_cpu = matches!(
        kind,
        MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash
    );
    if !is_per_cpu {
        return Ok(value.to_vec());
    }
    let cpus = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(8), 0);
    Ok(padded.repeat(cpus))
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|character| !matches!(character, ' ' | ':'))
            .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0);
        let digits = digits.ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not an even number of hexadecimal digits"
            ))
        })?;
        let (pairs, _) = digits.as_chunks::<2>();
        Ok(Self(
            pairs.iter().map(|[high, low]| high << 4 | low).collect(),
        ))
    }
}
