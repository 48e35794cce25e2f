//! The machine that something is measured on, and what else it is doing: a speed without these means
//! nothing to anybody else.
//!
//! What a system does not tell is `None`, never a guess. Most of it is read where Linux keeps it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sysinfo::System;

/// Features of processors that decide how fast a model runs, by their names in `/proc/cpuinfo`.
const FEATURES: [&str; 17] = [
    "avx",
    "avx2",
    "fma",
    "f16c",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
];
/// Processor time of others, as a part of the machine, from which on they disturb.
pub const NOISE: f64 = 0.1;
/// Ticks of `/proc/stat` in a second, whatever the kernel counts in.
const TICKS_PER_S: f64 = 100.0;

/// What the machine is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor as it calls itself.
    pub cpu: Option<String>,
    /// Its instruction set, as in `x86_64`.
    pub architecture: String,
    /// Cores that have arithmetic of their own.
    pub physical_cores: Option<usize>,
    /// Threads that run side by side.
    pub logical_cores: usize,
    /// What it has of the features that matter here.
    pub features: Vec<String>,
    /// Its caches, as in `L2 Unified 1024K`.
    pub caches: Vec<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// What decides on the frequency, as in `performance`.
    pub governor: Option<String>,
    /// Name and version of the system.
    pub system: Option<String>,
    /// Version of the kernel.
    pub kernel: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn read() -> Self {
        let mut system = System::new();
        system.refresh_memory();
        system.refresh_cpu_all();
        let brand = system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned());
        Self {
            cpu: brand.filter(|brand| !brand.is_empty()),
            architecture: std::env::consts::ARCH.to_owned(),
            physical_cores: System::physical_core_count(),
            logical_cores: system.cpus().len(),
            features: features(),
            caches: caches(),
            memory_bytes: system.total_memory(),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            system: System::long_os_version(),
            kernel: System::kernel_version(),
        }
    }
}

/// What the machine is doing at some moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Mean frequency of the cores in MHz.
    pub frequency_mhz: Option<f64>,
    /// The hottest sensor in °C.
    pub temperature_c: Option<f64>,
    /// Processes that ran or wanted to, mean of the last minute.
    pub load_average: f64,
    /// Memory that is free for use, in bytes.
    pub available_bytes: u64,
    /// Part of all cores that others took while nothing was measured.
    pub others_share: Option<f64>,
    /// Part of all cores that the host took away meanwhile.
    pub steal_share: Option<f64>,
}

impl Conditions {
    /// Looks on for `window`, in which this process and what it measures should be idle.
    pub async fn watch(window: Duration) -> Self {
        let usage = Usage::start();
        tokio::time::sleep(window).await;
        let usage = usage.stop();
        let mut system = System::new();
        system.refresh_memory();
        Self {
            frequency_mhz: frequency(),
            temperature_c: temperature(),
            load_average: System::load_average().one,
            available_bytes: system.available_memory(),
            others_share: usage.map(|usage| usage.others),
            steal_share: usage.map(|usage| usage.steal),
        }
    }
}

/// Who used the processor over some time, as parts of all cores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// This process.
    pub own: f64,
    /// All other processes.
    pub others: f64,
    /// Other machines on the same host.
    pub steal: f64,
}

/// Measures who uses the processor.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    machine: Option<MachineTicks>,
    own: Option<f64>,
    begin: Instant,
}

#[derive(Debug, Clone, Copy)]
struct MachineTicks {
    total: f64,
    busy: f64,
    steal: f64,
}

impl Usage {
    /// From now on.
    pub fn start() -> Self {
        Self {
            machine: machine_ticks(),
            own: own_seconds(),
            begin: Instant::now(),
        }
    }

    /// Until now; `None` where the system does not tell.
    pub fn stop(&self) -> Option<Used> {
        let (before, after) = (self.machine?, machine_ticks()?);
        let total = after.total - before.total;
        if total <= 0.0 {
            return None;
        }
        let own = (own_seconds()? - self.own?) * TICKS_PER_S / total;
        let busy = (after.busy - before.busy) / total;
        Some(Used {
            own,
            others: (busy - own).max(0.0),
            steal: (after.steal - before.steal).max(0.0) / total,
        })
    }

    /// Cores that this process kept busy since; `None` where the system does not tell.
    pub fn own_cores(&self) -> Option<f64> {
        let seconds = own_seconds()? - self.own?;
        Some(seconds / self.begin.elapsed().as_secs_f64().max(1e-3))
    }
}

/// Energy that the processor's packages have taken, in joules, where they count it (RAPL) and let this user
/// read it.
#[derive(Debug, Clone)]
pub struct Energy(Vec<(String, u64, u64)>);

impl Energy {
    /// Counts from now on.
    pub fn start() -> Option<Self> {
        let zones = fs::read_dir("/sys/class/powercap").ok()?;
        let counters = zones.filter_map(|zone| {
            let folder = zone.ok()?.path();
            let name = folder.file_name()?.to_str()?;
            // A package, and not the cores within it, which would count twice.
            let is_package = name.starts_with("intel-rapl:") && name.matches(':').count() == 1;
            let folder = is_package.then(|| folder.display().to_string())?;
            let range = number(&format!("{folder}/max_energy_range_uj"))?;
            Some((
                folder.clone(),
                number(&format!("{folder}/energy_uj"))?,
                range,
            ))
        });
        let counters: Vec<_> = counters.collect();
        (!counters.is_empty()).then_some(Self(counters))
    }

    /// Joules since then.
    pub fn joules(&self) -> Option<f64> {
        let mut sum = 0.0;
        for (folder, before, range) in &self.0 {
            let now = number(&format!("{folder}/energy_uj"))?;
            // The counter begins anew at its range.
            let passed = if now >= *before {
                now - before
            } else {
                now + range - before
            };
            sum += passed as f64 * 1e-6;
        }
        Some(sum)
    }
}

/// Most memory that this process has had at a time, in bytes.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn machine_ticks() -> Option<MachineTicks> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let mut fields = text.lines().next()?.split_whitespace();
    (fields.next()? == "cpu").then_some(())?;
    let ticks: Vec<f64> = fields.map(|field| field.parse().unwrap_or(0.0)).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = *ticks.first_chunk::<8>()?;
    let busy = user + nice + system + irq + softirq;
    Some(MachineTicks {
        total: busy + idle + iowait + steal,
        busy,
        steal,
    })
}

/// Seconds that this process has used of processors.
#[cfg(unix)]
fn own_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

#[cfg(not(unix))]
fn own_seconds() -> Option<f64> {
    None
}

fn features() -> Vec<String> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let has: Vec<&str> = flags.map_or(Vec::new(), |line| line.split_whitespace().collect());
    let known = FEATURES.into_iter().filter(|feature| has.contains(feature));
    known.map(str::to_owned).collect()
}

fn caches() -> Vec<String> {
    let folder = |index: usize| format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
    let caches = (0..8).map_while(|index| {
        let part = |name| line(&format!("{}/{name}", folder(index)));
        Some(format!(
            "L{} {} {}",
            part("level")?,
            part("type")?,
            part("size")?
        ))
    });
    caches.collect()
}

fn frequency() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let lines = text.lines().filter(|line| line.starts_with("cpu MHz"));
    let values = lines.filter_map(|line| line.rsplit(':').next()?.trim().parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn temperature() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?;
    let degrees = zones.filter_map(|zone| {
        let path = zone.ok()?.path().join("temp");
        Some(number(path.to_str()?)? as f64 / 1000.0)
    });
    degrees.max_by(f64::total_cmp)
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(path: &str) -> Option<u64> {
    line(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_told() {
        let machine = Machine::read();
        assert!(
            machine.logical_cores > 0 && machine.memory_bytes > 1 << 28,
            "{machine:?}"
        );
        assert_eq!(machine.architecture, std::env::consts::ARCH);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_of_this_process_is_told_from_that_of_others() {
        let usage = Usage::start();
        let begin = Instant::now();
        let mut x = 1_u64;
        while begin.elapsed() < Duration::from_millis(300) {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
        let used = usage.stop().unwrap();
        // A core was busy, which may have been shared with others.
        assert!(used.own > 0.0 && used.own <= 1.1, "{used:?}");
        assert!(usage.own_cores().unwrap() > 0.05);
        assert!(peak_memory().unwrap() > 1 << 20);
    }
}
