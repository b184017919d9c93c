//! The guest's allocator: the usual one of Rust's wasm targets, except that its first heap is part of the component's
//! memory from the start.
//!
//! A host gives every call a fresh instance. Memory that grows in it costs two changes of page protection, each with an
//! interrupt to every other core: a tenth of all work under load. Pages that are never touched cost nothing.
//!
//! Only where no C library is linked: a component for wasip2 is handed its arguments by the C library's allocator, and
//! frees them by Rust's.

#![expect(unsafe_code, reason = "an allocator hands out raw memory; the guest has one thread")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

use dlmalloc::{Allocator, Dlmalloc};

/// Bytes of the first heap.
const FIRST: usize = 256 << 10;
/// Size of a page of wasm.
const PAGE: usize = 64 << 10;

#[repr(align(16))]
struct First([u8; FIRST]);

struct Memory {
    first: UnsafeCell<First>,
    is_taken: UnsafeCell<bool>,
}

// SAFETY: a guest of these targets has one thread.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory { first: UnsafeCell::new(First([0; FIRST])), is_taken: UnsafeCell::new(false) };

struct Pages;

// SAFETY: each region is handed out once, lives as long as the instance, and is zero.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        // SAFETY: one thread, and nobody else touches these cells.
        let is_taken = unsafe { ptr::replace(MEMORY.is_taken.get(), true) };
        if !is_taken && size <= FIRST {
            return (MEMORY.first.get().cast(), FIRST, 0);
        }
        let pages = size.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return (ptr::null_mut(), 0, 0);
        }
        // A region at the very end would end at address 0.
        let bytes = if before + pages == 1 << 16 { pages * PAGE - 16 } else { pages * PAGE };
        (ptr::without_provenance_mut(before * PAGE), bytes, 0)
    }

    fn remap(&self, _ptr: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _ptr: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _ptr: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

struct Heap(UnsafeCell<Dlmalloc<Pages>>);

// SAFETY: a guest of these targets has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Pages)));

// SAFETY: every call goes to dlmalloc with the layout it was allocated with; one thread, and dlmalloc does not re-enter.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(ptr, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(ptr, layout.size(), layout.align(), size) }
    }
}
