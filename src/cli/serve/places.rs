//! What a server remembers of devices while it runs: what was free there before its models came, and
//! which of them it chose. Asked again, a device would tell what those models have left of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use matou_llm::open::Place;
use matou_model::DeviceChoice;

/// What was found at first.
pub(super) struct Places {
    /// Memory that was free in the machine at start, in bytes.
    host: u64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Memory that was free on each GPU when the first model was planned for it.
    gpus: Vec<(DeviceChoice, u64)>,
    /// Where models were put that may run anywhere, by their names and files.
    chosen: HashMap<(String, PathBuf), DeviceChoice>,
}

impl Places {
    /// Before the first model, when `host` bytes are free in the machine.
    pub(super) fn new(host: u64) -> Self {
        Self {
            host,
            known: Mutex::default(),
        }
    }

    /// The device of a model for which `asked` is asked: if any will do, the one that it has had before.
    pub(super) fn again(&self, name: &str, file: &Path, asked: DeviceChoice) -> DeviceChoice {
        if asked != DeviceChoice::Auto {
            return asked;
        }
        let key = (name.to_owned(), file.to_owned());
        self.lock().chosen.get(&key).copied().unwrap_or(asked)
    }

    /// Takes note of where a model was put that may run anywhere.
    pub(super) fn keep(&self, name: &str, file: &Path, place: &Place) {
        let key = (name.to_owned(), file.to_owned());
        self.lock().chosen.insert(key, place.device);
    }

    /// The least that was free, in bytes, on any of the devices that models run on.
    pub(super) fn least_free<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> u64 {
        let free = places.into_iter().map(|place| self.free(place));
        free.min().unwrap_or(self.host)
    }

    fn free(&self, place: &Place) -> u64 {
        if place.gpu.is_none() {
            return self.host;
        }
        let mut known = self.lock();
        let before = known.gpus.iter().find(|(gpu, _)| *gpu == place.device);
        if let Some((_, free)) = before {
            return *free;
        }
        known.gpus.push((place.device, place.free));
        place.free
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places that no machine needs to have, for tests.
#[cfg(test)]
pub(super) mod made_up {
    use matou_model::{DeviceInfo, DeviceKind};

    use super::*;

    /// A place on a graphics card of this number.
    pub(in crate::cli::serve) fn gpu(index: usize, free: u64) -> Place {
        Place {
            device: DeviceChoice::Gpu(Some(index)),
            gpu: Some(DeviceInfo {
                index,
                name: "a card".to_owned(),
                driver: "1.2".to_owned(),
                api: "Vulkan",
                kind: DeviceKind::Discrete,
                memory: None,
                features: Vec::new(),
                max_binding_bytes: 0,
                missing: None,
            }),
            free,
        }
    }

    /// A place on the CPU.
    pub(in crate::cli::serve) fn cpu(free: u64) -> Place {
        Place {
            device: DeviceChoice::Cpu,
            gpu: None,
            free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::{cpu, gpu};
    use super::*;

    #[test]
    fn models_share_the_least_that_was_free_where_they_run() {
        let places = Places::new(100);
        assert_eq!(places.least_free(&[]), 100);
        // What is free in the machine is what was so at start.
        assert_eq!(places.least_free(&[cpu(7)]), 100);
        assert_eq!(places.least_free(&[gpu(0, 300), gpu(1, 200)]), 200);
        assert_eq!(places.least_free(&[gpu(0, 300), cpu(7)]), 100);
        // The models themselves take what is no longer free.
        assert_eq!(places.least_free(&[gpu(0, 5)]), 300);
    }

    #[test]
    fn a_model_stays_on_the_device_that_was_chosen_for_it() {
        let (places, file) = (Places::new(100), Path::new("m.gguf"));
        let again = |name: &str, asked| places.again(name, file, asked);
        assert_eq!(again("m", DeviceChoice::Auto), DeviceChoice::Auto);
        places.keep("m", file, &gpu(1, 10));
        let gpu = DeviceChoice::Gpu(Some(1));
        assert_eq!(again("m", DeviceChoice::Auto), gpu);
        assert_eq!(again("m", DeviceChoice::Cpu), DeviceChoice::Cpu);
        assert_eq!(again("other", DeviceChoice::Auto), DeviceChoice::Auto);
    }
}
