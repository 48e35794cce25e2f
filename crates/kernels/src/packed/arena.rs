//! Memory for packed matrices.
//!
//! Reading weights at the speed of memory needs huge pages: with small ones a core waits for a page
//! walk every 4 KiB. A matrix of a small model is smaller than a huge page, so that many of them
//! share a chunk:
//!
//! ```text
//! chunk of 32 MiB  │ matrix │ matrix │ matrix │ …        → │ never touched, so not resident │
//! ```
//!
//! A chunk is freed with the last of its matrices; nothing is reused before that.
#![allow(unsafe_code)] // several matrices are written in one allocation

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::memory::{AllocError, HugeBuffer};

/// Bytes that are reserved at once. Only what is touched becomes resident, in steps of 2 MiB.
const CHUNK_BYTES: usize = 32 << 20;
/// Regions from this size on have memory of their own.
const OWN_BYTES: usize = 8 << 20;
/// Regions start at multiples of a cache line.
const ALIGNMENT: usize = 64;

/// The chunk that is being filled.
static CURRENT: Mutex<Weak<Chunk>> = Mutex::new(Weak::new());

/// Bytes of a chunk that belong to one owner.
pub(super) struct Region {
    chunk: Arc<Chunk>,
    start: usize,
    len: usize,
}

struct Chunk {
    /// Never borrowed as a whole: each region is borrowed through `start`, by its owner.
    _memory: HugeBuffer,
    start: *mut u8,
    len: usize,
    used: Mutex<usize>,
}

// SAFETY: `start` points into memory that the chunk owns, and is only followed by the owners of
// disjoint regions.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(len: usize) -> Result<Arc<Self>, AllocError> {
        let mut memory = HugeBuffer::zeroed(len)?;
        let start = memory.as_mut_slice().as_mut_ptr();
        Ok(Arc::new(Self {
            _memory: memory,
            start,
            len,
            used: Mutex::new(0),
        }))
    }

    /// Takes the next `len` bytes, if there are as many.
    fn take(self: &Arc<Self>, len: usize) -> Option<Region> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *used;
        if len > self.len - start {
            return None;
        }
        *used = (start + len).next_multiple_of(ALIGNMENT).min(self.len);
        Some(Region {
            chunk: Arc::clone(self),
            start,
            len,
        })
    }
}

impl Region {
    /// A region of `len` zero bytes.
    ///
    /// # Errors
    /// The system refuses that much address space.
    pub(super) fn zeroed(len: usize) -> Result<Self, AllocError> {
        if len >= OWN_BYTES {
            let chunk = Chunk::new(len)?;
            return Ok(Self {
                chunk,
                start: 0,
                len,
            });
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = current.upgrade().and_then(|chunk| chunk.take(len)) {
            return Ok(region);
        }
        let chunk = Chunk::new(CHUNK_BYTES)?;
        *current = Arc::downgrade(&chunk);
        Ok(chunk
            .take(len)
            .expect("a new chunk has room for a region smaller than it"))
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: in bounds of the chunk, initialised (zeroed at first), and nobody else's.
        unsafe { std::slice::from_raw_parts(self.chunk.start.add(self.start), self.len) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.start.add(self.start), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap_and_outlive_each_other() {
        let mut regions: Vec<Region> = [
            1,
            63,
            64,
            65,
            7 << 20,
            7 << 20,
            7 << 20,
            7 << 20,
            9 << 20,
            5 << 20,
        ]
        .iter()
        .map(|&len| Region::zeroed(len).unwrap())
        .collect();
        for (i, region) in regions.iter_mut().enumerate() {
            assert_eq!(region.as_ptr().align_offset(ALIGNMENT), 0);
            assert!(
                region.iter().all(|&byte| byte == 0),
                "region {i} is not zeroed"
            );
            region.fill(i as u8 + 1);
        }
        regions.remove(3);
        for (i, region) in regions.iter().enumerate() {
            let expected = i as u8 + 1 + u8::from(i >= 3);
            assert!(
                region.iter().all(|&byte| byte == expected),
                "region {i} was overwritten"
            );
        }
    }
}
