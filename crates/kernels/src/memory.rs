//! Memory for weights and caches, and disjoint writes from pool tasks.
//!
//! A decode step reads every weight once, so page-table walks count: on 2 MiB pages one thread reads
//! about a third more a second than on 4 KiB pages. [`HugeBuffer`] asks for them.
#![allow(unsafe_code)] // maps memory and hands out slices of it

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

/// The alignment of a [`HugeBuffer`]: the size of a huge page on x86-64 and (with 4 KiB granules) arm64.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// The system has no room for a buffer.
#[derive(Debug, thiserror::Error)]
#[error("cannot allocate {bytes} bytes: {source}")]
pub struct AllocError {
    bytes: usize,
    source: std::io::Error,
}

/// Zeroed bytes, aligned to 2 MiB, on huge pages where the system grants them.
///
/// Pages are taken from the system when they are first touched.
pub struct HugeBuffer {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns its memory, and hands it out under the rules of `&` and `&mut` alone.
unsafe impl Send for HugeBuffer {}
// SAFETY: as above.
unsafe impl Sync for HugeBuffer {}

impl HugeBuffer {
    /// A buffer of `len` zero bytes.
    ///
    /// # Errors
    /// The system refuses that much address space.
    pub fn zeroed(len: usize) -> Result<Self, AllocError> {
        if len == 0 {
            // Aligned like the others, so that it can be cast like them.
            let start = std::ptr::without_provenance_mut(HUGE_PAGE);
            let start = NonNull::new(start).expect("not zero");
            return Ok(Self { start, len });
        }
        let start = system::map(len).map_err(|source| AllocError { bytes: len, source })?;
        Ok(Self { start, len })
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` belong to this buffer and are initialised (zeroed at first).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Deref for HugeBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for HugeBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl Drop for HugeBuffer {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: `start` came from `map(len)`, and nothing can borrow from `self` any more.
            unsafe { system::unmap(self.start, self.len) }
        }
    }
}

#[cfg(unix)]
mod system {
    use super::{HUGE_PAGE, NonNull};
    use std::io::{Error, ErrorKind};

    /// Maps `len > 0` zeroed bytes at a multiple of [`HUGE_PAGE`].
    pub(super) fn map(len: usize) -> Result<NonNull<u8>, Error> {
        // The kernel aligns to small pages only: map enough to hold an aligned range, return the rest.
        let reserved = len
            .checked_add(HUGE_PAGE)
            .ok_or_else(|| Error::from(ErrorKind::OutOfMemory))?;
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                reserved,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        let base = base.cast::<u8>();
        let head = base.align_offset(HUGE_PAGE);
        let end = page_end(head + len);
        // SAFETY: `head + len` and `end` lie within the mapping just made (small pages divide
        // HUGE_PAGE), and the two trimmed ranges hold nothing yet. `madvise` is a hint.
        unsafe {
            let start = base.add(head);
            if head > 0 {
                libc::munmap(base.cast(), head);
            }
            if reserved > end {
                libc::munmap(base.add(end).cast(), reserved - end);
            }
            #[cfg(target_os = "linux")]
            libc::madvise(start.cast(), end - head, libc::MADV_HUGEPAGE);
            Ok(NonNull::new_unchecked(start))
        }
    }

    /// # Safety
    /// `start` and `len` are those of one call of [`map`], not unmapped before.
    pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: the caller's promise; `map` kept exactly this range.
        unsafe { libc::munmap(start.as_ptr().cast(), page_end(len)) };
    }

    fn page_end(offset: usize) -> usize {
        // SAFETY: `sysconf` only reads.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        offset.next_multiple_of(page)
    }
}

#[cfg(not(unix))]
mod system {
    use super::{HUGE_PAGE, NonNull};
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::io::{Error, ErrorKind};

    fn layout(len: usize) -> Result<Layout, Error> {
        Layout::from_size_align(len, HUGE_PAGE).map_err(|_| ErrorKind::OutOfMemory.into())
    }

    /// Allocates `len > 0` zeroed bytes at a multiple of [`HUGE_PAGE`].
    pub(super) fn map(len: usize) -> Result<NonNull<u8>, Error> {
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout(len)?) })
            .ok_or_else(|| ErrorKind::OutOfMemory.into())
    }

    /// # Safety
    /// `start` and `len` are those of one call of [`map`], not unmapped before.
    pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
        let layout = layout(len).expect("`map` made the same layout");
        // SAFETY: the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout) };
    }
}

/// A mutable slice that the tasks of one [`run`](crate::pool::ThreadPool::run) write disjoint parts of.
#[derive(Clone, Copy)]
pub struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: sharing it shares nothing but the power to call `slice_mut`, whose contract forbids two
// threads the same element; elements themselves move between threads, hence `T: Send`.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Takes the slice for as long as tasks write to it.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrow: PhantomData,
        }
    }

    /// The elements of `range`; panics if it does not lie within the slice.
    ///
    /// # Safety
    /// No two results that are alive at the same time may overlap, in whichever threads they are.
    pub unsafe fn slice_mut(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} does not lie within {} elements",
            self.len
        );
        // SAFETY: in bounds by the check, exclusive by the caller's promise, alive as `'a` says.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Gives memory back to the system that was freed and that the allocator holds ready for more: after a
/// model has gone, much of it. Only glibc's allocator needs telling.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_writable_to_its_last_byte() {
        for len in [1, 4095, 4096, HUGE_PAGE - 1, HUGE_PAGE, 3 * HUGE_PAGE + 17] {
            let mut buffer = HugeBuffer::zeroed(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().align_offset(HUGE_PAGE), 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.as_mut_slice().fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn an_empty_buffer_is_an_empty_slice() {
        let buffer = HugeBuffer::zeroed(0).unwrap();
        assert!(buffer.is_empty());
        assert!(bytemuck::cast_slice::<u8, [f32; 16]>(&buffer).is_empty());
    }

    #[test]
    fn an_impossible_size_is_an_error_that_states_it() {
        for bytes in [usize::MAX, usize::MAX / 2] {
            let error = HugeBuffer::zeroed(bytes).err().unwrap();
            assert!(error.to_string().contains(&bytes.to_string()), "{error}");
        }
    }

    #[test]
    #[should_panic(expected = "does not lie within 4 elements")]
    fn a_range_outside_the_shared_slice_panics() {
        let mut data = [0u8; 4];
        let shared = SharedMut::new(&mut data);
        // SAFETY: the only result.
        unsafe { shared.slice_mut(2..5) };
    }
}
