//! Memory of a device: buffers, and the pool that they go back to.
//!
//! A step makes and drops hundreds of tensors, of the same sizes as the step before. Buffers are of few
//! sizes, and dropped ones are kept, so that after the first step nothing is allocated.
//!
//! Commands run in the order in which they are recorded, so what a dropped tensor was can be written
//! by the next command. What the *host* writes is different: that happens before all commands that are
//! recorded and not yet submitted. A buffer for the host to write therefore must not have been in use
//! since the last submission. The pool counts submissions and remembers the count with each buffer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::Device;
use crate::error::GpuError;

/// The smallest buffer.
const MIN_BYTES: u64 = 256;
/// The most buffers that wait to be used again, and their bytes.
const MAX_IDLE: usize = 64;
const MAX_IDLE_BYTES: u64 = 256 << 20;
/// The most bind groups that are kept.
const MAX_GROUPS: usize = 4096;

/// Memory that kernels read and write.
pub(crate) struct Buffer {
    raw: wgpu::Buffer,
    /// Never given twice.
    id: u64,
    pool: Arc<Pool>,
    /// Whether it goes back to the pool.
    pooled: bool,
}

/// Who is to write a buffer first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A command.
    Device,
    /// The host, before all commands that are not submitted yet.
    Host,
}

/// The buffers and bind groups of a stream.
pub(crate) struct Pool {
    device: Device,
    state: Mutex<State>,
    submissions: AtomicU64,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Longest idle first.
    idle: Vec<Idle>,
    idle_bytes: u64,
    /// By the layout's number and the numbers of the buffers.
    groups: HashMap<Box<[u64]>, wgpu::BindGroup>,
}

struct Idle {
    raw: wgpu::Buffer,
    id: u64,
    /// How many submissions there were when it was dropped.
    since: u64,
}

impl Buffer {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// By which bind groups are found.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that kernels can address; at least as many as were asked for.
    pub(crate) fn bytes(&self) -> u64 {
        self.raw.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if !self.pooled {
            state.forget(self.id);
            return;
        }
        state.idle_bytes += self.raw.size();
        state.idle.push(Idle {
            raw: self.raw.clone(),
            id: self.id,
            since: self.pool.submissions.load(Ordering::Relaxed),
        });
        while state.idle.len() > MAX_IDLE || state.idle_bytes > MAX_IDLE_BYTES {
            let oldest = state.idle.remove(0);
            state.idle_bytes -= oldest.raw.size();
            state.forget(oldest.id);
        }
    }
}

impl State {
    /// Drops the bind groups that would keep a buffer alive.
    fn forget(&mut self, id: u64) {
        self.groups.retain(|key, _| !key[1..].contains(&id));
    }
}

impl Pool {
    pub(crate) fn new(device: Device) -> Arc<Self> {
        Arc::new(Self {
            device,
            state: Mutex::default(),
            submissions: AtomicU64::new(1),
            next_id: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commands were submitted: what was dropped before may be written by the host.
    pub(crate) fn submitted(&self) {
        self.submissions.fetch_add(1, Ordering::Relaxed);
    }

    /// A buffer of at least `bytes`, with any contents, for something that lives for a while.
    ///
    /// # Errors
    /// If it is too large, or there is no memory left.
    pub(crate) fn take(
        self: &Arc<Self>,
        what: &str,
        bytes: u64,
        writer: Writer,
    ) -> Result<Buffer, GpuError> {
        let limit = self.device.info().max_binding_bytes;
        if bytes > limit {
            return Err(self.too_large(what, bytes));
        }
        let size = size_class(bytes).min(limit);
        let submissions = self.submissions.load(Ordering::Relaxed);
        {
            let mut state = self.state();
            let found = state.idle.iter().rposition(|idle| {
                idle.raw.size() == size && (writer == Writer::Device || idle.since < submissions)
            });
            if let Some(found) = found {
                let Idle { raw, id, .. } = state.idle.remove(found);
                state.idle_bytes -= size;
                return Ok(Buffer {
                    raw,
                    id,
                    pool: Arc::clone(self),
                    pooled: true,
                });
            }
        }
        let mut buffer = self.allocate(what, size)?;
        buffer.pooled = true;
        Ok(buffer)
    }

    /// A buffer of exactly `bytes` zeros (rounded up to whole words), for something that stays.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub(crate) fn allocate(self: &Arc<Self>, what: &str, bytes: u64) -> Result<Buffer, GpuError> {
        let size = bytes.next_multiple_of(4).max(4);
        if size > self.device.info().max_binding_bytes {
            return Err(self.too_large(what, bytes));
        }
        // Without memory for anything, but with no error either.
        self.device.check_lost()?;
        let raw = match self.create(size) {
            Some(raw) => raw,
            // What waits to be used again is given back first.
            None => {
                self.clear();
                self.device.wait()?;
                self.create(size).ok_or_else(|| GpuError::OutOfMemory {
                    device: self.device.name().to_owned(),
                    what: what.to_owned(),
                    bytes,
                })?
            }
        };
        Ok(Buffer {
            raw,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            pool: Arc::clone(self),
            pooled: false,
        })
    }

    fn create(&self, size: u64) -> Option<wgpu::Buffer> {
        let device = self.device.raw();
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let raw = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let error = pollster::block_on(scope.pop());
        error.is_none().then_some(raw)
    }

    fn too_large(&self, what: &str, bytes: u64) -> GpuError {
        GpuError::TooLarge {
            device: self.device.name().to_owned(),
            what: what.to_owned(),
            bytes,
            limit: self.device.info().max_binding_bytes,
        }
    }

    /// Gives back all idle buffers.
    fn clear(&self) {
        let mut state = self.state();
        state.idle.clear();
        state.idle_bytes = 0;
        state.groups.clear();
    }

    /// The bind group of this key, made at its first use.
    pub(crate) fn group(
        &self,
        key: &[u64],
        make: impl FnOnce() -> wgpu::BindGroup,
    ) -> wgpu::BindGroup {
        let mut state = self.state();
        if let Some(group) = state.groups.get(key) {
            return group.clone();
        }
        if state.groups.len() >= MAX_GROUPS {
            state.groups.clear();
        }
        let group = make();
        state.groups.insert(key.into(), group.clone());
        group
    }
}

/// The sizes of pooled buffers: powers of two, and halfway between them.
fn size_class(bytes: u64) -> u64 {
    let power = bytes.max(MIN_BYTES).next_power_of_two();
    let between = power / 4 * 3;
    if bytes <= between && between >= MIN_BYTES {
        between
    } else {
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_few_and_never_too_small() {
        for (bytes, size) in [
            (0, 256),
            (256, 256),
            (257, 384),
            (384, 384),
            (385, 512),
            (512, 512),
            (513, 768),
            (769, 1024),
        ] {
            assert_eq!(size_class(bytes), size, "{bytes}");
        }
    }
}
