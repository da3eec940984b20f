//! The process's memory allocator: mimalloc, with counters for each thread that the sandbox's meter reads.
//!
//! A script's memory can be bounded neither by the engine's own limits, which miss most ways to grow, nor by refusing
//! memory, because an allocator must not unwind and a null pointer aborts the process. So this one only counts, and the
//! [`super::meter`] stops the script at its next operation.
//!
//! Every live allocation is charged [`OVERHEAD`] bytes beyond its size. That is honest (headers, rounding), and it
//! bounds how many allocations a handler can chain: whatever trick builds a nested value pays for each level, so
//! that the deepest one which fits into the memory budget can still be dropped and cloned on a 2 MiB stack.
//!
//! A program that has it begins without huge pages; a node allows them once it has stored much. mimalloc asks for them, and
//! each of its threads has a little in many places: an idle node would take twice the memory.
//!
//! This file holds the workspace's only `unsafe` code: the trait that an allocator implements is unsafe, and so are
//! the four calls that pass its arguments on to mimalloc unchanged. What runs before `main` is called unsafe, too.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;
use rustix::thread::disable_transparent_huge_pages;

/// Bytes that each live allocation is charged beyond its size.
pub const OVERHEAD: usize = 96;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Before the first allocation: a page that was made huge stays so. Safe, because it is a system call and needs nothing of
/// what is set up until `main`. A kernel that has no huge pages does not mind.
#[ctor::ctor(unsafe)]
fn begin_small() {
    let _as_it_was = disable_transparent_huge_pages(true);
}

/// mimalloc, counted for each thread.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    // Plain cells without a destructor: reading one neither allocates nor fails while a thread ends.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static TOTAL: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that this thread allocated and did not free, overhead included. Memory that another thread frees stays
/// counted, so only differences over a stretch of one thread's work mean something.
#[inline]
pub fn live() -> isize {
    LIVE.get()
}

/// Bytes that this thread allocated since it started, overhead included; wraps around.
#[inline]
pub fn total() -> usize {
    TOTAL.get()
}

/// The largest single allocation of this thread in bytes since [`forget_largest`].
#[inline]
pub fn largest() -> usize {
    LARGEST.get()
}

/// Starts a new measurement for [`largest`].
#[inline]
pub fn forget_largest() {
    LARGEST.set(0);
}

#[inline]
fn took(size: usize) {
    let charge = size.saturating_add(OVERHEAD);
    LIVE.set(LIVE.get().wrapping_add_unsigned(charge));
    TOTAL.set(TOTAL.get().wrapping_add(charge));
    if size > LARGEST.get() {
        LARGEST.set(size);
    }
}

/// What grows where it lies costs what it grows by; what has to move costs what it holds.
#[inline]
fn resized(former: usize, size: usize) {
    let growth = size as isize - former as isize;
    LIVE.set(LIVE.get().wrapping_add(growth));
    TOTAL.set(TOTAL.get().wrapping_add(usize::try_from(growth).unwrap_or(0)));
    if size > LARGEST.get() {
        LARGEST.set(size);
    }
}

#[inline]
fn gave(size: usize) {
    LIVE.set(LIVE.get().wrapping_sub_unsigned(size.saturating_add(OVERHEAD)));
}

// SAFETY: every method hands its arguments to mimalloc as they came and returns what mimalloc returned; the counters
// are thread-local cells that neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is mimalloc's as well.
        let pointer = unsafe { MiMalloc.alloc(layout) };
        if !pointer.is_null() {
            took(layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let pointer = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !pointer.is_null() {
            took(layout.size());
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, hence from mimalloc, with this layout.
        unsafe { MiMalloc.dealloc(pointer, layout) };
        gave(layout.size());
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the caller vouches for `size`.
        let moved = unsafe { MiMalloc.realloc(pointer, layout, size) };
        if moved == pointer {
            resized(layout.size(), size);
        } else if !moved.is_null() {
            gave(layout.size());
            took(size);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_freed_cancels_out() {
        let before = live();
        let bytes = vec![0_u8; 10_000];
        assert_eq!(live() - before, (10_000 + OVERHEAD).cast_signed());
        drop(bytes);
        assert_eq!(live(), before);
    }
}
