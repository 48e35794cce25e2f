//! Memory of a device: buffers, and the pool that they go back to.
//!
//! A step makes and drops hundreds of tensors: of the same sizes in each layer, and mostly of those of the
//! step before. Buffers are of few sizes, and dropped ones are kept. None is given back before the step is
//! waited for: the commands that are recorded hold it until they are done, so that memory would only be
//! taken twice. What was not used for some steps is given back then.
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
/// The most bytes that wait from one step to the next to be used again. Whatever a larger step takes
/// beyond them is allocated once a step, which is little beside its work.
const MAX_IDLE_BYTES: u64 = 512 << 20;
/// Steps for which a buffer that none of them uses is kept.
const MAX_IDLE_STEPS: u64 = 8;
/// The most bind groups that are kept.
const MAX_GROUPS: usize = 4096;

/// Memory that kernels read and write.
pub(crate) struct Buffer {
    memory: Arc<Memory>,
    pool: Arc<Pool>,
    /// Whether it goes back to the pool.
    pooled: bool,
}

struct Memory {
    raw: wgpu::Buffer,
    /// Never given twice.
    id: u64,
    /// Bytes of all buffers of the device.
    allocated: Arc<AtomicU64>,
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
    /// How many buffers were created; the number of the next.
    created: AtomicU64,
    /// How many of the next buffers the driver shall have no memory for.
    #[cfg(test)]
    pub(crate) refusals: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Longest idle first.
    idle: Vec<Idle>,
    idle_bytes: u64,
    /// How many steps were waited for.
    steps: u64,
    /// By the layout's number and the numbers of the buffers.
    groups: HashMap<Box<[u64]>, wgpu::BindGroup>,
}

struct Idle {
    memory: Arc<Memory>,
    /// How many submissions there were when it was dropped.
    since: u64,
    /// How many steps there were.
    step: u64,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.raw.size(), Ordering::Relaxed);
    }
}

impl Buffer {
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.memory.raw
    }

    /// By which bind groups are found.
    pub(crate) fn id(&self) -> u64 {
        self.memory.id
    }

    /// Bytes that kernels can address; at least as many as were asked for.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.raw.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        if !self.pooled {
            state.forget(self.memory.id);
            return;
        }
        state.idle_bytes += self.bytes();
        let step = state.steps;
        state.idle.push(Idle {
            memory: Arc::clone(&self.memory),
            since: self.pool.submissions.load(Ordering::Relaxed),
            step,
        });
    }
}

impl State {
    /// Drops the bind groups that would keep a buffer alive.
    fn forget(&mut self, id: u64) {
        self.groups.retain(|key, _| !key[1..].contains(&id));
    }

    /// Whether the buffer that is idle for longest is not worth its memory.
    fn is_stale(&self) -> bool {
        let Some(oldest) = self.idle.first() else {
            return false;
        };
        self.steps - oldest.step > MAX_IDLE_STEPS || self.idle_bytes > MAX_IDLE_BYTES
    }
}

impl Pool {
    pub(crate) fn new(device: Device) -> Arc<Self> {
        Arc::new(Self {
            device,
            state: Mutex::default(),
            submissions: AtomicU64::new(1),
            created: AtomicU64::new(0),
            #[cfg(test)]
            refusals: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commands were submitted: what was dropped before may be written by the host.
    pub(crate) fn submitted(&self) {
        self.submissions.fetch_add(1, Ordering::Relaxed);
    }

    /// A step was waited for: what the last few did not use is given back.
    pub(crate) fn waited(&self) {
        let mut state = self.state();
        state.steps += 1;
        while state.is_stale() {
            let Idle { memory, .. } = state.idle.remove(0);
            state.idle_bytes -= memory.raw.size();
            state.forget(memory.id);
        }
    }

    /// How many buffers were created since the pool was.
    pub(crate) fn allocations(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
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
                idle.memory.raw.size() == size
                    && (writer == Writer::Device || idle.since < submissions)
            });
            if let Some(found) = found {
                let Idle { memory, .. } = state.idle.remove(found);
                state.idle_bytes -= size;
                return Ok(Buffer {
                    memory,
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
        let memory = self.create(size).ok_or_else(|| GpuError::OutOfMemory {
            device: self.device.name().to_owned(),
            what: what.to_owned(),
            bytes,
        })?;
        Ok(Buffer {
            memory: Arc::new(memory),
            pool: Arc::clone(self),
            pooled: false,
        })
    }

    fn create(&self, size: u64) -> Option<Memory> {
        #[cfg(test)]
        if take_one(&self.refusals) {
            return None;
        }
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
        if error.is_some() {
            return None;
        }
        let allocated = Arc::clone(self.device.allocated());
        allocated.fetch_add(size, Ordering::Relaxed);
        Some(Memory {
            raw,
            id: self.created.fetch_add(1, Ordering::Relaxed),
            allocated,
        })
    }

    fn too_large(&self, what: &str, bytes: u64) -> GpuError {
        GpuError::TooLarge {
            device: self.device.name().to_owned(),
            what: what.to_owned(),
            bytes,
            limit: self.device.info().max_binding_bytes,
        }
    }

    /// Gives back all idle buffers. Recorded commands still hold those that they use.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.idle.clear();
        state.idle_bytes = 0;
        state.groups.clear();
    }

    /// The bind group of this key, made at its first use.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn group(
        &self,
        key: &[u64],
        make: impl FnOnce() -> Result<wgpu::BindGroup, GpuError>,
    ) -> Result<wgpu::BindGroup, GpuError> {
        let mut state = self.state();
        if let Some(group) = state.groups.get(key) {
            return Ok(group.clone());
        }
        if state.groups.len() >= MAX_GROUPS {
            state.groups.clear();
        }
        let group = make()?;
        state.groups.insert(key.into(), group.clone());
        Ok(group)
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

/// Whether a count was not zero; it is one less then.
#[cfg(test)]
fn take_one(count: &AtomicU64) -> bool {
    let less = |count: u64| count.checked_sub(1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_allocated_once_a_step_and_what_is_not_used_is_given_back() {
        let Ok(device) = Device::open(0) else { return };
        let pool = Pool::new(device);
        // As layers do, more than what waits from one step to the next.
        let sizes = [128 << 20, 96 << 20, 128 << 20, 96 << 20, 128 << 20];
        for _ in 0..4 {
            let taken = sizes.map(|bytes| pool.take("a test", bytes, Writer::Device).unwrap());
            drop(taken);
        }
        assert_eq!(pool.allocations(), sizes.len() as u64);
        assert!(pool.state().idle_bytes > MAX_IDLE_BYTES);
        pool.waited();
        assert!(pool.state().idle_bytes <= MAX_IDLE_BYTES);
        assert_eq!(pool.state().idle.len(), 4);
        // One is used in each step, and stays.
        for _ in 0..MAX_IDLE_STEPS {
            drop(pool.take("a test", 96 << 20, Writer::Device).unwrap());
            pool.waited();
        }
        assert_eq!(pool.allocations(), sizes.len() as u64);
        assert_eq!(pool.state().idle_bytes, 96 << 20);
    }

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
