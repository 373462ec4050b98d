//! Shapes of the maps; opening and checking what is pinned.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use lb_common::abi::{self, Bank, Counts, Root};
use lb_common::flow_table::FlowCount;

use super::DataplaneError;
use super::counters::{self, cpu_entries};

/// `BPF_F_MMAPABLE` of the kernel's uapi.
pub(super) const MAPPABLE: u32 = 1 << 10;
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// What a pinned map must look like to be ours.
pub(super) struct Shape {
    pub(super) name: &'static str,
    value_size: usize,
    /// None: one for each CPU.
    max_entries: Option<u32>,
}

impl Shape {
    /// A map of so many values of this type.
    pub(super) const fn of<T>(name: &'static str, max_entries: u32) -> Self {
        Self {
            name,
            value_size: size_of::<T>(),
            max_entries: Some(max_entries),
        }
    }

    /// A map of a value of this type for each CPU.
    const fn of_each_cpu<T>(name: &'static str) -> Self {
        Self {
            name,
            value_size: size_of::<T>(),
            max_entries: None,
        }
    }

    /// Compares the map pinned as `path`: the loader would reuse it unchecked.
    pub(super) fn check(&self, pin_dir: &Path, path: &Path) -> Result<(), DataplaneError> {
        let map = MapData::from_pin(path).map_err(DataplaneError::map(self.name))?;
        let info = map.info().map_err(DataplaneError::map(self.name))?;
        let max_entries = match self.max_entries {
            Some(max_entries) => max_entries,
            None => cpu_entries()?,
        };
        let same = info.key_size() == 4
            && info.value_size() as usize == self.value_size
            && info.max_entries() == max_entries;
        if same {
            return Ok(());
        }
        Err(DataplaneError::Shape {
            path: path.into(),
            difference: format!(
                "{} entries of {} bytes, expected {} of {}",
                info.max_entries(),
                info.value_size(),
                max_entries,
                self.value_size
            ),
            pin_dir: pin_dir.into(),
        })
    }
}

/// Every map of the object that is pinned by its name; the flow table has a pin for every size.
pub(super) static SHAPES: [Shape; 7] = [
    Shape::of::<Root>("ROOT", 1),
    Shape::of::<Bank>("BANKS", abi::BANKS),
    Shape::of::<u32>("TABLES", abi::TABLES_MAX + 1),
    Shape::of::<u32>("FILTERS", abi::FILTERS_MAX),
    Shape::of::<u32>("BUCKETS", abi::SERVICE_COUNTERS_MAX),
    Shape::of_each_cpu::<Counts>(counters::MAP),
    Shape::of::<FlowCount>("BY_OUTCOME", 1),
];

/// Makes the directory and its `parts`, and refuses another kind of file system.
pub(crate) fn prepare_directory(pin_dir: &Path, parts: &[&str]) -> Result<(), DataplaneError> {
    let exists = pin_dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    if !is_bpf_fs(exists).map_err(DataplaneError::pin(exists.into()))? {
        let mount_point = pin_dir.parent().unwrap_or(pin_dir).into();
        return Err(DataplaneError::NoBpfFs {
            pin_dir: pin_dir.into(),
            mount_point,
        });
    }
    for part in parts {
        let path = pin_dir.join(part);
        fs::create_dir_all(&path).map_err(DataplaneError::pin(path))?;
    }
    Ok(())
}

/// Whether a directory is, or would be, on a BPF file system.
pub(crate) fn on_bpf_fs(directory: &Path) -> bool {
    let exists = directory.ancestors().find(|path| path.exists());
    exists.is_some_and(|path| is_bpf_fs(path).unwrap_or(false))
}

fn is_bpf_fs(path: &Path) -> io::Result<bool> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statfs` is plain data, for which zeroes are a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live through the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_type == BPF_FS_MAGIC)
}

/// Names in a directory of numbered pins.
pub(super) fn numbered_pins(directory: &Path) -> Result<Vec<u32>, DataplaneError> {
    let entries = fs::read_dir(directory).map_err(DataplaneError::pin(directory.into()))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// A map of the object, by name.
pub(crate) fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, DataplaneError> {
    object
        .take_map(name)
        .ok_or(DataplaneError::Object("a map is missing"))
}

/// A map of the object in aya's type for it.
pub(crate) fn of<M: TryFrom<Map, Error = MapError>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<M, DataplaneError> {
    take(object, name)?
        .try_into()
        .map_err(DataplaneError::map(name))
}

/// The data of an array of the object.
pub(super) fn take_array(object: &mut Ebpf, name: &'static str) -> Result<MapData, DataplaneError> {
    array_data(take(object, name)?)
}

/// The data of an array.
pub(super) fn array_data(map: Map) -> Result<MapData, DataplaneError> {
    match map {
        Map::Array(data) => Ok(data),
        _ => Err(DataplaneError::Object("a map is no array")),
    }
}
