//! A device, opened.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::error::GpuError;
use crate::found::{DeviceInfo, Found, Identity, adapters};
use crate::kept;
use crate::pipelines::{Compiler, Pipelines};
use crate::vulkan::{self, DeviceMemory};

/// An opened device, shared by all that use it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    adapter: wgpu::Adapter,
    raw: wgpu::Device,
    queue: wgpu::Queue,
    compiler: Compiler,
    pipelines: Pipelines,
    faults: Arc<Faults>,
    max_groups: u32,
    kept: OnceLock<Kept>,
    /// What came of the comparison with the CPU.
    trusted: Mutex<Option<Result<(), GpuError>>>,
    /// Bytes of the buffers that there are.
    allocated: Arc<AtomicU64>,
}

/// Compiled kernels that are kept in a file.
struct Kept {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

/// Devices by their numbers.
struct Registry {
    opened: Vec<(usize, Weak<Inner>)>,
    /// What was opened first under each number, for as long as the process runs.
    first: Vec<(usize, Identity)>,
}

/// The name of the device that had this number before, if it was another.
fn replaced<'a>(
    first: &'a [(usize, Identity)],
    index: usize,
    identity: &Identity,
) -> Option<&'a str> {
    let (_, before) = first.iter().find(|(number, _)| *number == index)?;
    (before != identity).then_some(before.name.as_str())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the driver reports when nobody has asked.
#[derive(Default)]
struct Faults {
    lost: OnceLock<String>,
    /// The first error since the last look.
    refused: Mutex<Option<wgpu::Error>>,
}

impl Device {
    /// Opens the device of this number in [`list`](crate::list). The same number again gives the same
    /// device, as long as somebody holds it and it is not lost. A number never comes to mean another
    /// device: where a card is gone and those after it have moved up, that is an error.
    ///
    /// # Errors
    /// If there is no such device, if it lacks what the kernels need, or if its driver refuses.
    pub fn open(index: usize) -> Result<Self, GpuError> {
        static OPENED: Mutex<Registry> = Mutex::new(Registry {
            opened: Vec::new(),
            first: Vec::new(),
        });

        let mut registry = lock(&OPENED);
        let Registry { opened, first } = &mut *registry;
        opened.retain(|(_, device)| device.strong_count() > 0);
        let same = opened.iter().filter(|(number, _)| *number == index);
        for device in same.filter_map(|(_, device)| device.upgrade()) {
            if device.faults.lost.get().is_none() {
                return Ok(Self(device));
            }
        }
        let found = adapters();
        if found.is_empty() {
            return Err(GpuError::NoDriver);
        }
        let names = || {
            let names = found.iter().map(|found| &found.info);
            let names: Vec<String> = names
                .map(|info| format!("{} {}", info.index, info.name))
                .collect();
            names.join(", ")
        };
        let Some(chosen) = found.get(index) else {
            return Err(GpuError::NoDevice {
                wanted: index,
                found: names(),
            });
        };
        let identity = chosen.identity();
        if let Some(before) = replaced(first, index, &identity) {
            let found = format!(
                "{} (but {index} was another device before, {before}; after a restart it is the one that \
                 is listed)",
                names()
            );
            return Err(GpuError::NoDevice {
                wanted: index,
                found,
            });
        }
        let device = Self::open_found(chosen)?;
        opened.push((index, Arc::downgrade(&device.0)));
        if first.iter().all(|(number, _)| *number != index) {
            first.push((index, identity));
        }
        Ok(device)
    }

    fn open_found(found: &Found) -> Result<Self, GpuError> {
        let info = found.info.clone();
        if let Some(missing) = &info.missing {
            return Err(GpuError::MissingFeature {
                device: info.name,
                feature: missing.clone(),
            });
        }
        let mut required_features = wgpu::Features::IMMEDIATES;
        if matches!(found.compiler, Compiler::Spirv { .. }) {
            required_features |= wgpu::Features::PASSTHROUGH_SHADERS;
        }
        required_features |= found.adapter.features() & wgpu::Features::PIPELINE_CACHE;
        let required_limits = found.adapter.limits();
        let max_groups = required_limits.max_compute_workgroups_per_dimension;
        let request = found.adapter.request_device(&wgpu::DeviceDescriptor {
            label: None,
            required_features,
            required_limits,
            // Weights and caches are large buffers anyway; the rest shall not reserve much.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        });
        let (raw, queue) = pollster::block_on(request).map_err(|error| GpuError::Open {
            device: info.name.clone(),
            message: error.to_string(),
        })?;
        let faults = Arc::new(Faults::default());
        let lost = Arc::clone(&faults);
        raw.set_device_lost_callback(move |_, message| {
            let _ = lost.lost.set(message); // the first one
        });
        let refused = Arc::clone(&faults);
        raw.on_uncaptured_error(Arc::new(move |error| {
            lock(&refused.refused).get_or_insert(error);
        }));
        Ok(Self(Arc::new(Inner {
            info,
            adapter: found.adapter.clone(),
            raw,
            queue,
            compiler: found.compiler,
            pipelines: Pipelines::default(),
            faults,
            max_groups,
            kept: OnceLock::new(),
            trusted: Mutex::default(),
            allocated: Arc::default(),
        })))
    }

    /// What is known of it. Its memory is as it was when it was opened.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Its memory as it is now, where the driver says. Where it does not say what is free, that is what this
    /// process has not taken: others may have.
    pub fn memory(&self) -> Option<DeviceMemory> {
        let memory = vulkan::query(&self.0.adapter)?.memory?;
        let allocated = self.0.allocated.load(Ordering::Relaxed);
        let left = memory.total.saturating_sub(allocated);
        Some(DeviceMemory {
            total: memory.total,
            free: memory.free.or(Some(left)),
        })
    }

    /// Bytes of the buffers that there are, for who makes and frees them to count.
    pub(crate) fn allocated(&self) -> &Arc<AtomicU64> {
        &self.0.allocated
    }

    /// What the driver said when the device was lost, if it was.
    pub fn is_lost(&self) -> Option<String> {
        self.0.faults.lost.get().cloned()
    }

    /// Keeps compiled kernels in a file of `folder`, where the device's driver leaves that to programs: what
    /// an earlier process has compiled need not be compiled again. To be called before the first kernel;
    /// without it, or with a file that does not fit, everything is compiled.
    pub fn keep_pipelines(&self, folder: &Path) {
        if !self
            .raw()
            .features()
            .contains(wgpu::Features::PIPELINE_CACHE)
        {
            return;
        }
        let Some(name) = wgpu::util::pipeline_cache_key(&self.0.adapter.get_info()) else {
            return;
        };
        self.0.kept.get_or_init(|| {
            let path = folder.join(name);
            let data = std::fs::read(&path).ok();
            let data = data.as_deref().and_then(kept::open);
            let cache = vulkan::pipeline_cache(self.raw(), data);
            Kept { cache, path }
        });
    }

    /// Writes the compiled kernels to the file of [`keep_pipelines`](Self::keep_pipelines), if there is one.
    ///
    /// # Errors
    /// If the file or its folder cannot be written.
    pub fn save_pipelines(&self) -> std::io::Result<()> {
        let Some(kept) = self.0.kept.get() else {
            return Ok(());
        };
        let Some(data) = kept.cache.get_data() else {
            return Ok(());
        };
        if let Some(folder) = kept.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whole or not at all, whoever else writes it.
        let unfinished = kept.path.with_extension(std::process::id().to_string());
        std::fs::write(&unfinished, kept::seal(&data))?;
        std::fs::rename(&unfinished, &kept.path)
    }

    pub(crate) fn kept(&self) -> Option<&wgpu::PipelineCache> {
        self.0.kept.get().map(|kept| &kept.cache)
    }

    /// What `check` says: asked once, unless the device failed before it could compute anything, such as
    /// for lack of memory.
    pub(crate) fn trust(
        &self,
        check: impl FnOnce() -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        // Held while checking: others wait for what comes of it.
        let mut trusted = lock(&self.0.trusted);
        if let Some(outcome) = &*trusted {
            return outcome.clone();
        }
        let outcome = check();
        if matches!(outcome, Ok(()) | Err(GpuError::Wrong { .. })) {
            *trusted = Some(outcome.clone());
        }
        outcome
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.info.name
    }

    pub(crate) fn raw(&self) -> &wgpu::Device {
        &self.0.raw
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.0.pipelines
    }

    pub(crate) fn compiler(&self) -> Compiler {
        self.0.compiler
    }

    /// The most workgroups of a dispatch along one dimension.
    pub(crate) fn max_groups(&self) -> u32 {
        self.0.max_groups
    }

    /// # Errors
    /// If the device was lost.
    pub(crate) fn check_lost(&self) -> Result<(), GpuError> {
        match self.is_lost() {
            None => Ok(()),
            Some(message) => Err(GpuError::Lost {
                device: self.name().to_owned(),
                message,
            }),
        }
    }

    /// Does something of which wgpu tells errors apart from its result. They are told here, and not to
    /// another stream: what wgpu reports belongs to the thread that did it.
    ///
    /// # Errors
    /// If the device refused it.
    pub(crate) fn caught<T>(&self, act: impl FnOnce() -> T) -> Result<T, GpuError> {
        let memory = self.raw().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.raw().push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.raw().push_error_scope(wgpu::ErrorFilter::Internal);
        let done = act();
        // The innermost first, and all, whatever the outcome.
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        let memory = pollster::block_on(memory.pop());
        match memory.or(internal).or(validation) {
            None => Ok(done),
            Some(error) => Err(self.refusal(error)),
        }
    }

    /// # Errors
    /// If the device was lost, or refused something that nobody caught since the last call.
    fn check(&self) -> Result<(), GpuError> {
        self.check_lost()?;
        let refused = lock(&self.0.faults.refused).take();
        refused.map_or(Ok(()), |refused| Err(self.refusal(refused)))
    }

    fn refusal(&self, refused: wgpu::Error) -> GpuError {
        // A lost device refuses everything, and says that it is lost only when it is asked.
        let _ = self.poll(wgpu::PollType::Poll);
        if let Err(lost) = self.check_lost() {
            return lost;
        }
        let device = self.name().to_owned();
        match refused {
            wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory {
                device,
                what: "a step".to_owned(),
                bytes: 0,
            },
            error => GpuError::Failed {
                device,
                message: error.to_string(),
            },
        }
    }

    fn poll(&self, how: wgpu::PollType) -> Result<(), String> {
        // wgpu panics where a device is lost while it waits.
        let poll = || self.raw().poll(how);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("waiting for it failed".to_owned()),
        }
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// If the device was lost, or refused something since the last call.
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.check()?;
        let waited = self.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        waited.map_err(|message| GpuError::Lost {
            device: self.name().to_owned(),
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_device_is_asked_for_is_an_error() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        // Not the one that other tests share.
        let device = Device::open_found(&found).unwrap();
        let stream = device.stream();
        let x = stream.upload(&[1.0; 8], 1, 8).unwrap();
        device.raw().destroy();
        let lost = |result: Result<(), GpuError>| {
            assert!(matches!(result, Err(GpuError::Lost { .. })), "{result:?}");
        };
        lost(stream.read(&x).map(|_| ()));
        lost(stream.finish());
        lost(stream.tensor(1000, 1000).map(|_| ()));
        assert!(device.is_lost().is_some());
    }

    #[test]
    fn a_number_never_comes_to_mean_another_device() {
        let identity = |name: &str, pci_bus: &str| Identity::example(name, pci_bus);
        let first = [(0, identity("A", "01:00.0")), (1, identity("A", "02:00.0"))];
        assert_eq!(replaced(&first, 0, &identity("A", "01:00.0")), None);
        assert_eq!(replaced(&first, 0, &identity("A", "02:00.0")), Some("A"));
        assert_eq!(replaced(&first, 1, &identity("B", "02:00.0")), Some("A"));
        assert_eq!(replaced(&first, 2, &identity("B", "02:00.0")), None);
    }

    #[test]
    fn only_what_was_computed_is_remembered() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        let device = Device::open_found(&found).unwrap();
        let failed = GpuError::Failed {
            device: String::new(),
            message: String::new(),
        };
        assert!(device.trust(|| Err(failed)).is_err());
        device.trust(|| Ok(())).unwrap();
        device.trust(|| panic!("it was checked")).unwrap();
    }

    #[test]
    fn what_buffers_take_is_not_free() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        let device = Device::open_found(&found).unwrap();
        let allocated = || device.allocated().load(Ordering::Relaxed);
        let stream = device.stream();
        let x = stream.upload(&[1.0; 1000], 1, 1000).unwrap();
        assert_eq!(allocated(), 4096);
        let weights = stream.vector(&[1.0; 1000]).unwrap();
        assert_eq!(allocated(), 8096);
        drop(weights);
        assert_eq!(allocated(), 4096);
        if let Some(memory) = device.memory() {
            assert!(memory.free.is_some());
        }
        // It goes back to the pool, and with the pool to the driver.
        drop(x);
        assert_eq!(allocated(), 4096);
        drop(stream);
        assert_eq!(allocated(), 0);
    }

    #[test]
    fn an_error_is_told_to_who_made_it() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        let device = Device::open_found(&found).unwrap();
        let (stream, other) = (device.stream(), device.stream());
        let short = stream.vector(&[0.0]).unwrap();
        let refused = stream.write(&short.buffer, 0, &[0; 64]);
        assert!(
            matches!(refused, Err(GpuError::Failed { .. })),
            "{refused:?}"
        );
        other.finish().unwrap();
        stream.finish().unwrap();
    }

    #[test]
    fn compiled_kernels_are_kept_in_a_file() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        let folder = std::env::temp_dir().join(format!("matou-gpu-{}", std::process::id()));
        let device = Device::open_found(&found).unwrap();
        device.save_pipelines().unwrap();
        assert!(!folder.exists(), "nobody has asked for it");
        for _ in 0..2 {
            let device = Device::open_found(&found).unwrap();
            device.keep_pipelines(&folder);
            let stream = device.stream();
            stream.finish().unwrap();
            device.save_pipelines().unwrap();
        }
        if device
            .raw()
            .features()
            .contains(wgpu::Features::PIPELINE_CACHE)
        {
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}
