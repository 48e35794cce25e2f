//! Streams: commands in order, recorded until somebody asks for a result.
//!
//! Kernels record themselves with [`Stream::run`]. Nothing is computed before [`Stream::read`] or
//! [`Stream::finish`] submit what was recorded, except that long recordings are submitted in pieces, so
//! that the device works while the host records the rest.
//!
//! An operation that fails ends the step: what was recorded of it and is not submitted is forgotten, so that
//! no later step does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use crate::buffer::{Buffer, Pool, Writer};
use crate::device::Device;
use crate::error::GpuError;
use crate::pipelines::Shape;
use crate::tensor::{Indices, Tensor, Vector};

/// Dispatches after which what was recorded is submitted, and after which the first piece of a step is: the
/// device has nothing to do until then.
const MAX_RECORDED: u64 = 256;
const FIRST_RECORDED: u64 = 32;
/// Work of a submission, unless a single dispatch has more: bytes of weights, each as often as there are rows
/// of inputs. Drivers take a device for stuck after two seconds; a slow one needs a few tenths for this, and
/// beside it the time to submit is nothing even on a fast one.
const MAX_WORK: u64 = 4 << 30;
/// What a workgroup of any other kernel counts for: attention's read about as much or more, most read less.
const GROUP_WORK: u64 = 32 << 10;
/// The most bytes that the host writes before it waits: what it writes is copied first.
const PIECE_BYTES: usize = 16 << 20;
/// How long the host waits for a result that the device is done with.
const CALL_BACK: Duration = Duration::from_secs(10);
/// The most immediates that any device has to have, in words.
const MAX_IMMEDIATES: usize = 16;

/// Commands for a device, which run in the order in which they were given. Clones are the same stream.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    device: Device,
    pool: Arc<Pool>,
    recorder: Mutex<Recorder>,
}

#[derive(Default)]
struct Recorder {
    /// The pass that is being recorded, and the encoder that it belongs to; the pass is dropped first.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    /// Dispatches in it, and their work.
    recorded: u64,
    work: u64,
    /// Whether a piece of the step was submitted.
    started: bool,
    /// The first error of those pieces.
    failed: Option<GpuError>,
    /// Bytes that the host has written since the last submission.
    pending: usize,
    /// For results on their way to the host; grows to the largest.
    staging: Option<wgpu::Buffer>,
    counts: Counts,
}

/// What a stream has done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels recorded.
    pub dispatches: u64,
    /// Times that commands went to the device.
    pub submissions: u64,
    /// Bytes that came back to the host.
    pub bytes_read: u64,
    /// Bytes that the host wrote.
    pub bytes_written: u64,
    /// Buffers that were created, for weights and for steps.
    pub allocations: u64,
}

/// A kernel to be recorded.
pub(crate) struct Call<'a> {
    /// Names the pipeline: the same key means the same source, kinds of bindings, and number of
    /// immediates.
    pub(crate) key: &'a str,
    /// The kernel in WGSL, with the entry point `main`; only called at the first use.
    pub(crate) source: &'a dyn Fn() -> String,
    /// Group 0, in the order of `@binding(0)`, … A buffer may be longer than what was asked for, so
    /// kernels take lengths from immediates, never from `arrayLength`. Nothing checks indices.
    pub(crate) buffers: &'a [Binding<'a>],
    /// The words of `var<immediate>`, at most 16.
    pub(crate) immediates: &'a [u32],
    /// Workgroups; none of the three above 65,535. Nothing happens if one is 0.
    pub(crate) groups: [u32; 3],
}

/// How a kernel uses a buffer.
pub(crate) enum Binding<'a> {
    /// `var<storage, read>`
    Read(&'a Buffer),
    /// `var<storage, read_write>`; no other binding of the call may be the same buffer.
    Write(&'a Buffer),
}

impl Binding<'_> {
    fn buffer(&self) -> &Buffer {
        match self {
            Self::Read(buffer) | Self::Write(buffer) => buffer,
        }
    }
}

impl Device {
    /// A stream of commands for this device.
    pub fn stream(&self) -> Stream {
        Stream(Arc::new(Inner {
            device: self.clone(),
            pool: Pool::new(self.clone()),
            recorder: Mutex::default(),
        }))
    }
}

impl Stream {
    /// The device that does the work.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// `[rows, columns]` with any contents, for a kernel to write.
    ///
    /// # Errors
    /// If it is too large for a buffer of the device, or there is no memory left.
    pub fn tensor(&self, rows: usize, columns: usize) -> Result<Tensor, GpuError> {
        let buffer = self.take(rows * columns, Writer::Device)?;
        Ok(Tensor {
            rows,
            columns,
            buffer,
        })
    }

    /// `[rows, columns]` from the host.
    ///
    /// # Errors
    /// As [`Stream::tensor`].
    ///
    /// # Panics
    /// If `values` are not as many.
    pub fn upload(&self, values: &[f32], rows: usize, columns: usize) -> Result<Tensor, GpuError> {
        assert_eq!(values.len(), rows * columns, "{rows} rows of {columns}");
        let buffer = self.filled(bytemuck::cast_slice(values))?;
        Ok(Tensor {
            rows,
            columns,
            buffer,
        })
    }

    /// Numbers for the step that is being recorded. There may be none.
    ///
    /// # Errors
    /// As [`Stream::tensor`].
    pub fn indices(&self, values: &[u32]) -> Result<Indices, GpuError> {
        let buffer = self.filled(bytemuck::cast_slice(values))?;
        Ok(Indices {
            len: values.len(),
            buffer,
        })
    }

    /// Floats that stay, in memory of just their size.
    ///
    /// # Errors
    /// As [`Stream::tensor`].
    pub fn vector(&self, values: &[f32]) -> Result<Vector, GpuError> {
        let buffer = self.allocate("a vector of weights", 4 * values.len() as u64)?;
        self.write(&buffer, 0, bytemuck::cast_slice(values))?;
        Ok(Vector {
            len: values.len(),
            buffer,
        })
    }

    fn take(&self, words: usize, writer: Writer) -> Result<Buffer, GpuError> {
        let (what, bytes) = ("the values of a step", 4 * words as u64);
        self.with_memory(|pool| pool.take(what, bytes, writer))
            .inspect_err(|_| self.recorder().discard())
    }

    /// A buffer for the step, with whole words from the host.
    fn filled(&self, bytes: &[u8]) -> Result<Buffer, GpuError> {
        let buffer = self.take(bytes.len() / 4, Writer::Host)?;
        self.write(&buffer, 0, bytes)
            .inspect_err(|_| self.recorder().discard())?;
        Ok(buffer)
    }

    /// `bytes` zeros that stay (rounded up to whole words), called `what` in errors. An error ends no step:
    /// it may be another thread's.
    ///
    /// # Errors
    /// If they are too large for a buffer of the device, or there is no memory left.
    pub(crate) fn allocate(&self, what: &str, bytes: u64) -> Result<Buffer, GpuError> {
        self.with_memory(|pool| pool.allocate(what, bytes))
    }

    /// Takes memory; where there is none left, a second time after all that can be was given back.
    fn with_memory(
        &self,
        take: impl Fn(&Arc<Pool>) -> Result<Buffer, GpuError>,
    ) -> Result<Buffer, GpuError> {
        match take(&self.0.pool) {
            Err(GpuError::OutOfMemory { .. }) => {
                self.release(&mut self.recorder())?;
                take(&self.0.pool)
            }
            taken => taken,
        }
    }

    /// Gives back all memory that nobody holds. Commands hold it until they are done, so they are submitted.
    fn release(&self, recorder: &mut Recorder) -> Result<(), GpuError> {
        self.submit(recorder, None);
        self.0.pool.clear();
        self.wait(recorder)
    }

    /// Writes whole words at byte `at`: **before** all commands that are recorded and not submitted.
    ///
    /// # Errors
    /// If the device was lost or has no memory for the copy.
    ///
    /// # Panics
    /// If `at` or the length are not whole words.
    pub(crate) fn write(&self, buffer: &Buffer, at: u64, bytes: &[u8]) -> Result<(), GpuError> {
        assert!(at.is_multiple_of(4) && bytes.len().is_multiple_of(4));
        let device = &self.0.device;
        for (i, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let mut recorder = self.recorder();
            if recorder.pending + piece.len() > PIECE_BYTES {
                // Sends what was written and not submitted, so that not all copies exist at once.
                device.caught(|| device.queue().submit([]))?;
                recorder.pending = 0;
                device.wait()?;
            }
            let at = at + (i * PIECE_BYTES) as u64;
            device.caught(|| device.queue().write_buffer(buffer.raw(), at, piece))?;
            recorder.pending += piece.len();
            recorder.counts.bytes_written += piece.len() as u64;
        }
        Ok(())
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.0
            .recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a kernel of whose work only its workgroups are known.
    ///
    /// # Errors
    /// If it does not compile, or the device is lost, or refused what was submitted of the step.
    pub(crate) fn run(&self, call: Call<'_>) -> Result<(), GpuError> {
        let groups: u64 = call
            .groups
            .iter()
            .map(|&groups| u64::from(groups))
            .product();
        self.run_weighted(call, groups.saturating_mul(GROUP_WORK))
    }

    /// Records a kernel that reads so many bytes of weights, times rows of inputs.
    ///
    /// # Errors
    /// As [`Stream::run`].
    pub(crate) fn run_weighted(&self, call: Call<'_>, work: u64) -> Result<(), GpuError> {
        self.record(&call, work)
            .inspect_err(|_| self.recorder().discard())
    }

    fn record(&self, call: &Call<'_>, work: u64) -> Result<(), GpuError> {
        assert!(call.immediates.len() <= MAX_IMMEDIATES);
        if call.groups.contains(&0) {
            return Ok(());
        }
        let most = self.0.device.max_groups();
        assert!(
            call.groups.iter().all(|&groups| groups <= most),
            "{}: {:?} workgroups",
            call.key,
            call.groups
        );
        let (device, pool) = (&self.0.device, &self.0.pool);
        let shape = || Shape {
            read_only: call
                .buffers
                .iter()
                .map(|binding| matches!(binding, Binding::Read(_)))
                .collect(),
            immediates: 4 * call.immediates.len() as u32,
        };
        let pipeline = device.pipelines().get(
            device.raw(),
            device.compiler(),
            device.kept(),
            call.key,
            shape,
            call.source,
        )?;
        let mut key = [0; 1 + 16];
        key[0] = pipeline.layout.id;
        for (key, binding) in key[1..].iter_mut().zip(call.buffers) {
            *key = binding.buffer().id();
        }
        let group = pool.group(&key[..1 + call.buffers.len()], || {
            let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
                .zip(call.buffers)
                .map(|(binding, buffer)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.buffer().raw().as_entire_binding(),
                })
                .collect();
            let descriptor = wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.layout.group,
                entries: &entries,
            };
            device.caught(|| device.raw().create_bind_group(&descriptor))
        })?;

        let mut recorder = self.recorder();
        if recorder.is_full(work) {
            self.submit(&mut recorder, None);
            recorder.started = true;
        }
        if let Some(error) = recorder.failed.take() {
            return Err(error);
        }
        let pass = recorder.pass(device)?;
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, &group, &[]);
        if !call.immediates.is_empty() {
            pass.set_immediates(0, bytemuck::cast_slice(call.immediates));
        }
        let [x, y, z] = call.groups;
        pass.dispatch_workgroups(x, y, z);
        recorder.recorded += 1;
        recorder.work = recorder.work.saturating_add(work);
        recorder.counts.dispatches += 1;
        Ok(())
    }

    /// Submits what was recorded, and after it a copy of the leading bytes of a buffer. Whoever waits for it
    /// is told of an error.
    fn submit(&self, recorder: &mut Recorder, copy: Option<(&Buffer, &wgpu::Buffer, u64)>) {
        let device = &self.0.device;
        let pass = recorder.pass.take();
        let mut encoder = recorder.encoder.take();
        let submitted = device.caught(|| {
            drop(pass);
            if let Some((from, to, bytes)) = copy {
                encoder
                    .get_or_insert_with(|| new_encoder(device))
                    .copy_buffer_to_buffer(from.raw(), 0, to, 0, bytes);
            }
            // Without an encoder too: what the host wrote goes with a submission.
            device
                .queue()
                .submit(encoder.map(wgpu::CommandEncoder::finish));
        });
        if let Err(error) = submitted {
            recorder.failed.get_or_insert(error);
        }
        self.0.pool.submitted();
        recorder.recorded = 0;
        recorder.work = 0;
        recorder.pending = 0;
        recorder.counts.submissions += 1;
    }

    /// Waits until all that was submitted is done.
    fn wait(&self, recorder: &mut Recorder) -> Result<(), GpuError> {
        recorder.started = false;
        let failed = recorder.failed.take();
        self.0.device.wait()?;
        self.0.pool.waited();
        failed.map_or(Ok(()), Err)
    }

    /// Submits everything that was recorded, and waits for it.
    ///
    /// # Errors
    /// If the device was lost, had no memory, or refused a command.
    pub fn finish(&self) -> Result<(), GpuError> {
        let mut recorder = self.recorder();
        self.submit(&mut recorder, None);
        self.wait(&mut recorder)
    }

    /// Submits everything that was recorded, waits for it, and gives the values of `x`, row after row.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub fn read(&self, x: &Tensor) -> Result<Vec<f32>, GpuError> {
        let mut values = vec![0.0; x.rows * x.columns];
        self.read_buffer(&x.buffer, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// The same for the leading bytes of a buffer, whole words.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub(crate) fn read_buffer(&self, buffer: &Buffer, out: &mut [u8]) -> Result<(), GpuError> {
        if out.is_empty() {
            return self.finish();
        }
        let bytes = out.len() as u64;
        let device = &self.0.device;
        // Held to the end: the staging buffer is one.
        let mut recorder = self.recorder();
        let staging = match recorder.staging.take() {
            Some(staging) if staging.size() >= bytes => Ok(staging),
            _ => self.staging(&mut recorder, bytes),
        }
        .inspect_err(|_| recorder.discard())?;
        self.submit(&mut recorder, Some((buffer, &staging, bytes)));
        let (sender, receiver) = mpsc::channel();
        let slice = staging.slice(..bytes);
        slice.map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result);
        });
        self.wait(&mut recorder)?;
        let failed = |message: String| GpuError::Failed {
            device: device.name().to_owned(),
            message,
        };
        // Another thread that waits may be the one that calls back, a moment later.
        match receiver.recv_timeout(CALL_BACK) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(error) => return Err(failed(error.to_string())),
        }
        let mapped = slice
            .get_mapped_range()
            .map_err(|error| failed(error.to_string()))?;
        out.copy_from_slice(&mapped);
        drop(mapped);
        staging.unmap();
        recorder.staging = Some(staging);
        recorder.counts.bytes_read += bytes;
        Ok(())
    }

    /// Memory of at least `bytes` that the host can read.
    fn staging(&self, recorder: &mut Recorder, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
        match new_staging(&self.0.device, bytes) {
            Err(GpuError::OutOfMemory { .. }) => {
                self.release(recorder)?;
                new_staging(&self.0.device, bytes)
            }
            staging => staging,
        }
    }

    /// What was done since the stream began.
    pub fn counts(&self) -> Counts {
        Counts {
            allocations: self.0.pool.allocations(),
            ..self.recorder().counts
        }
    }
}

impl Recorder {
    fn pass(&mut self, device: &Device) -> Result<&mut wgpu::ComputePass<'static>, GpuError> {
        let Self { encoder, pass, .. } = self;
        device.caught(|| {
            let encoder = encoder.get_or_insert_with(|| new_encoder(device));
            pass.get_or_insert_with(|| {
                encoder
                    .begin_compute_pass(&wgpu::ComputePassDescriptor::default())
                    .forget_lifetime()
            })
        })
    }

    /// Whether something is to be submitted before `work` more is recorded.
    fn is_full(&self, work: u64) -> bool {
        let most = if self.started {
            MAX_RECORDED
        } else {
            FIRST_RECORDED
        };
        self.recorded >= most || (self.recorded > 0 && self.work.saturating_add(work) > MAX_WORK)
    }

    /// Forgets what was recorded and is not submitted.
    fn discard(&mut self) {
        self.pass = None;
        self.encoder = None;
        self.recorded = 0;
        self.work = 0;
        self.started = false;
        self.failed = None;
    }
}

fn new_encoder(device: &Device) -> wgpu::CommandEncoder {
    device
        .raw()
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
}

/// Memory of at least `bytes` that the host can read.
fn new_staging(device: &Device, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
    let scope = device
        .raw()
        .push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let staging = device.raw().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes.next_power_of_two(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    match pollster::block_on(scope.pop()) {
        None => Ok(staging),
        Some(_) => Err(GpuError::OutOfMemory {
            device: device.name().to_owned(),
            what: "results on their way back".to_owned(),
            bytes,
        }),
    }
}

#[cfg(test)]
mod tests;
