//! BPF arrays through memory: no system call for an entry.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::DataplaneError;

/// A `BPF_F_MMAPABLE` array of `T` that is mapped only while it is used: the kernel counts all of what is mapped as ours.
pub(super) struct Mappable<T> {
    map: MapData,
    name: &'static str,
    _entries: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable> Mappable<T> {
    pub(super) fn new(map: MapData, name: &'static str) -> Self {
        Self {
            map,
            name,
            _entries: PhantomData,
        }
    }

    /// The array in memory, until the result is dropped.
    pub(super) fn map(&self) -> Result<Memory<T>, DataplaneError> {
        Memory::of_map(&self.map, self.name)
    }

    /// Every entry by itself, one after the other. Of whole pages, each: others cannot be mapped.
    pub(super) fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<Memory<T>, DataplaneError>>, DataplaneError> {
        let entries = Memory::<T>::entries_of(&self.map, self.name)?;
        let entry = |index| Memory::of_entries(&self.map, self.name, index, 1);
        Ok((0..entries).map(entry))
    }
}

/// A `BPF_F_MMAPABLE` array of `T` in our address space, shared with the kernel.
pub(super) struct Memory<T> {
    start: NonNull<T>,
    entries: u32,
    bytes: usize,
    _entries: PhantomData<T>,
}

// SAFETY: the mapping belongs to the value and is not bound to a thread; all access is through its methods.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: entries are read and written as plain values; the agent writes only what no packet reads.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T: FromBytes + IntoBytes + Immutable> Memory<T> {
    /// Maps the whole array.
    pub(super) fn of_map(map: &MapData, name: &'static str) -> Result<Self, DataplaneError> {
        let entries = Self::entries_of(map, name)?;
        Self::of_entries(map, name, 0, entries)
    }

    /// How many entries there are, and whether they are such.
    fn entries_of(map: &MapData, name: &'static str) -> Result<u32, DataplaneError> {
        let info = map.info().map_err(DataplaneError::map(name))?;
        let fits = info.value_size() as usize == size_of::<T>() && size_of::<T>().is_multiple_of(8);
        if !fits {
            return Err(DataplaneError::Object(
                "an array's values have another size than the agent's",
            ));
        }
        Ok(info.max_entries())
    }

    /// Maps `entries` of them from `first` on.
    fn of_entries(
        map: &MapData,
        name: &'static str,
        first: u32,
        entries: u32,
    ) -> Result<Self, DataplaneError> {
        let bytes = entries as usize * size_of::<T>();
        let offset = first as usize * size_of::<T>();
        // SAFETY: a fresh shared mapping of `bytes` at an address of the kernel's choice; the result is checked.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(DataplaneError::Memory {
                map: name,
                source: io::Error::last_os_error(),
            });
        }
        let start = NonNull::new(start.cast()).ok_or(DataplaneError::Object(
            "an array was mapped at address zero",
        ))?;
        Ok(Self {
            start,
            entries,
            bytes,
            _entries: PhantomData,
        })
    }

    /// The entry at `index`, in place; none where it is not in the array. Of an array that the kernel only reads;
    /// who writes takes `&mut self`: nothing changes under the reference.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: inside the mapping, aligned, and any bytes are a `T`.
        (index < self.entries).then(|| unsafe { &*self.entry(index) })
    }

    /// [`Memory::get`] to write: no packet may be reading the entry.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        // SAFETY: as in `get`, and `&mut self` makes this the only reference.
        (index < self.entries).then(|| unsafe { &mut *self.entry(index) })
    }

    /// All entries as words, which the kernel may be writing.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: all of the mapping, which is aligned to pages and of whole words (see `entries_of`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / 8) }
    }

    fn entry(&self, index: u32) -> *mut T {
        assert!(
            index < self.entries,
            "entry {index} of an array of {}",
            self.entries
        );
        // SAFETY: the offset is inside the mapping, see the assertion.
        unsafe { self.start.as_ptr().add(index as usize) }
    }
}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Memory<T> {
    /// Replaces the entry at `index`, which no packet may be reading, or which is one word.
    ///
    /// # Panics
    ///
    /// Where `index` is not in the array: the plan and the maps are built from the same limits.
    pub(super) fn write(&mut self, index: u32, value: T) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        // SAFETY: `entry` is inside the mapping and aligned (entries are multiples of eight bytes in a page-aligned mapping).
        unsafe { self.entry(index).write_volatile(value) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `of_map` and is unmapped once.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Takes a constant that has been read out of this process's memory; who reads it again gets it from the program's file.
pub(crate) fn put_back(constant: &'static [u8]) {
    const PAGE: usize = 4096;
    let start = constant.as_ptr().addr().next_multiple_of(PAGE);
    let end = (constant.as_ptr().addr() + constant.len()) / PAGE * PAGE;
    let Some(length) = end.checked_sub(start) else {
        return;
    };
    // SAFETY: whole pages inside a constant without pointers, which nothing writes: they are those of the file, and are read from there
    // again. Where the pages are larger the kernel refuses, and they stay.
    unsafe {
        libc::madvise(
            constant.as_ptr().with_addr(start).cast_mut().cast(),
            length,
            libc::MADV_DONTNEED,
        )
    };
}

/// From this size on the allocator asks the kernel for a block of its own. It is where glibc starts as well.
#[cfg(target_env = "gnu")]
const OWN_BLOCK_BYTES: libc::c_int = 128 << 10;

/// Keeps tables, which are half a megabyte each, out of the heap for good: to be called before the first.
///
/// glibc would raise the size from which blocks are the kernel's as soon as the first of them is freed. Tables then lie between
/// small things that stay, and [`release_heap`] cannot give back what they leave: 1.5 to 2.5 MiB of an agent with one pool.
pub fn keep_tables_apart() {
    // SAFETY: takes no pointer, and changes only where later blocks come from.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_BYTES)
    };
}

/// Gives what a change of tables has freed back to the kernel: a pool's tables are megabytes while they are built, and the
/// allocator would keep them for the next change.
pub fn release_heap() {
    // SAFETY: takes no pointer and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
