//! An allocator that knows how much is held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// Octets held by the whole process. Freed by another thread than the one that took them: so it is one count for all.
static HELD: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(octets: usize) {
    HELD.fetch_add(i64::try_from(octets).unwrap_or(i64::MAX), Ordering::Relaxed);
}

fn sub(octets: usize) {
    HELD.fetch_sub(i64::try_from(octets).unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came, which keeps the contract; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promise for `alloc` is the one that `System::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        sub(layout.size());
        add(octets);
        // SAFETY: `pointer` came from `System`, since all allocation goes there; the rest is the caller's promise.
        unsafe { System.realloc(pointer, layout, octets) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        sub(layout.size());
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Octets that the process holds now.
pub fn held() -> i64 {
    HELD.load(Ordering::Relaxed)
}

#[test]
fn what_is_held_is_counted() {
    // Other tests run beside this one and hold some megabytes at most.
    const OCTETS: i64 = 1 << 30;
    let before = held();
    let block: Vec<u8> = Vec::with_capacity(OCTETS as usize);
    assert!(held() - before > OCTETS / 2);
    drop(block);
    assert!(held() - before < OCTETS / 2);
}
