//! Lookups by an index that lies in a map's value.
//!
//! The kernel reads an index through a pointer. One that was computed lies on the stack for that, and what it finds has to wait until
//! it is written there and read again; one that lies in a value already is read where it is.

use core::ptr::NonNull;

use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::helpers::bpf_map_lookup_elem;

/// A value of an array.
#[inline(always)]
pub fn value<T, const N: usize, const F: usize>(
    map: &'static Array<T, N, F>,
    index: &u32,
) -> Option<&'static T> {
    // SAFETY: values of an array stay while the program runs.
    lookup(map, index).map(|value| unsafe { value.as_ref() })
}

/// A map of an array of maps.
#[inline(always)]
pub fn map<M, const N: usize, const F: usize>(
    maps: &'static ArrayOfMaps<M, N, F>,
    index: &u32,
) -> Option<&'static M> {
    // SAFETY: the kernel keeps the map while the program runs; only its address is used.
    lookup(maps, index).map(|map| unsafe { map.as_ref() })
}

#[inline(always)]
fn lookup<M, T>(map: &'static M, index: &u32) -> Option<NonNull<T>> {
    let map = core::ptr::from_ref(map).cast_mut().cast();
    // SAFETY: a map of the program, whose keys are such indexes.
    NonNull::new(unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(index).cast()) }.cast())
}
