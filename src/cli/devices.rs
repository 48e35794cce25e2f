//! `matou devices`: what computes on this machine, and what is taken where nobody says.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use matou_bench::machine::Machine;
use matou_kernels::Isa;
use matou_llm::open::{OpenOptions, device_kind, free_memory, human_bytes};
use matou_model::{DeviceChoice, DeviceInfo, DeviceKind, DeviceMemory, gpus};
use serde_json::{Value, json};

use super::terminal::{print_all, table};

/// Said where no driver offers a device.
const NO_DRIVER: &str = "\
no GPU driver was found: a GPU is used through Vulkan, Metal or Direct3D 12, so install the driver of its vendor \
(on Debian, `mesa-vulkan-drivers` has those for AMD and Intel, and a software device to try it with)\n";

/// Options of `matou devices`.
#[derive(Debug, Args)]
#[command(after_help = "`--device` takes a name of the first column, or auto.")]
pub struct DevicesArgs {
    /// Print all there is to know, as JSON.
    #[arg(long)]
    json: bool,
}

/// The processor, and what of it this process may use.
struct Cpu {
    name: String,
    isa: &'static str,
    threads: usize,
    memory: DeviceMemory,
}

/// What there is to compute with.
struct Devices {
    cpu: Cpu,
    gpus: Vec<DeviceInfo>,
    /// What is taken for a model that fits everywhere, where nobody says.
    auto: DeviceChoice,
}

/// Runs the command.
pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let devices = Devices {
        cpu: Cpu::of_this_process()?,
        gpus: gpus(),
        auto: DeviceChoice::Auto.resolve(0)?,
    };
    match args.json {
        true => {
            let json = serde_json::to_string_pretty(&devices.to_json())?;
            print_all(&format!("{json}\n"))
        }
        false => print_all(&devices.describe()),
    }
}

impl Cpu {
    fn of_this_process() -> Result<Self> {
        let machine = Machine::read();
        let threads = OpenOptions::default().load_options().threads;
        Ok(Self {
            name: machine.cpu.unwrap_or(machine.architecture),
            isa: Isa::from_env_or_detect()?.name(),
            threads: threads.unwrap_or(machine.logical_cores),
            memory: DeviceMemory {
                total: machine.memory_bytes,
                free: Some(free_memory()),
            },
        })
    }
}

impl Devices {
    /// For people: a table, and what has no room in one.
    fn describe(&self) -> String {
        let heading = [
            "DEVICE", "NAME", "KIND", "MEMORY", "FREE", "USABLE", "API", "DRIVER", "FEATURES",
        ];
        let mut rows = vec![heading.map(str::to_owned), cpu_row(&self.cpu)];
        rows.extend(self.gpus.iter().map(gpu_row));
        let mut text = table(rows);
        text.push('\n');
        for gpu in &self.gpus {
            if let Some(missing) = &gpu.missing {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "gpu:{} cannot be used: {missing}", gpu.index);
            }
        }
        if self.gpus.is_empty() {
            text.push_str(NO_DRIVER);
        }
        let _ = writeln!(text, "auto: {}", self.choice());
        text
    }

    /// What `--device auto` takes, and why.
    fn choice(&self) -> String {
        let mut cards = self
            .gpus
            .iter()
            .filter(|gpu| gpu.kind == DeviceKind::Discrete)
            .peekable();
        let why_not = if cards.peek().is_none() {
            "no graphics card with memory of its own"
        } else if cards.all(|card| card.missing.is_some()) {
            "no graphics card that can be used"
        } else {
            "no graphics card that is known to have memory free"
        };
        match self.auto {
            gpu @ DeviceChoice::Gpu(_) => format!("{gpu}, for a model that has room there"),
            _ => format!("the CPU ({why_not})"),
        }
    }

    /// For programs.
    fn to_json(&self) -> Value {
        let cpu = json!({
            "device": "cpu",
            "name": self.cpu.name,
            "kind": "cpu",
            "memory": memory_json(&self.cpu.memory),
            "isa": self.cpu.isa,
            "threads": self.cpu.threads,
        });
        let gpus = self.gpus.iter().map(|gpu| {
            json!({
                "device": format!("gpu:{}", gpu.index),
                "name": gpu.name,
                "kind": device_kind(gpu.kind),
                "memory": gpu.memory.as_ref().map(memory_json),
                "api": gpu.api,
                "driver": gpu.driver,
                "features": gpu.features,
                "max_binding_bytes": gpu.max_binding_bytes,
                // Why it cannot be used, if it cannot.
                "missing": gpu.missing,
            })
        });
        json!({
            "devices": std::iter::once(cpu).chain(gpus).collect::<Vec<_>>(),
            "auto": self.auto.to_string(),
        })
    }
}

fn memory_json(memory: &DeviceMemory) -> Value {
    json!({"total": memory.total, "free": memory.free})
}

fn cpu_row(cpu: &Cpu) -> [String; 9] {
    let [total, free] = sizes(Some(&cpu.memory));
    [
        "cpu".to_owned(),
        cpu.name.clone(),
        "cpu".to_owned(),
        total,
        free,
        "yes".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
        format!("{}, {} threads", cpu.isa, cpu.threads),
    ]
}

fn gpu_row(gpu: &DeviceInfo) -> [String; 9] {
    let [total, free] = sizes(gpu.memory.as_ref());
    [
        format!("gpu:{}", gpu.index),
        gpu.name.clone(),
        device_kind(gpu.kind).to_owned(),
        total,
        free,
        match gpu.missing {
            None => "yes".to_owned(),
            Some(_) => "no".to_owned(),
        },
        gpu.api.to_owned(),
        gpu.driver.clone(),
        gpu.features.join(", "),
    ]
}

/// All memory of a device, and what is free of it.
fn sizes(memory: Option<&DeviceMemory>) -> [String; 2] {
    let shown = |bytes: Option<u64>| bytes.map_or("?".to_owned(), human_bytes);
    [
        shown(memory.map(|memory| memory.total)),
        shown(memory.and_then(|memory| memory.free)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: usize, kind: DeviceKind) -> DeviceInfo {
        DeviceInfo {
            index,
            name: format!("card {index}"),
            driver: "driver 1.2".to_owned(),
            api: "Vulkan",
            kind,
            memory: Some(DeviceMemory {
                total: 8 << 30,
                free: Some(6 << 30),
            }),
            features: vec!["SPIR-V", "f16"],
            max_binding_bytes: 1 << 31,
            missing: None,
        }
    }

    fn devices(gpus: Vec<DeviceInfo>, auto: DeviceChoice) -> Devices {
        Devices {
            cpu: Cpu {
                name: "a processor".to_owned(),
                isa: "avx2",
                threads: 4,
                memory: DeviceMemory {
                    total: 32 << 30,
                    free: Some(20 << 30),
                },
            },
            gpus,
            auto,
        }
    }

    #[test]
    fn the_cpu_comes_first_and_then_each_gpu_by_its_number() {
        let mut broken = gpu(1, DeviceKind::Discrete);
        broken.missing = Some("its driver is too old".to_owned());
        broken.memory = None;
        let gpus = vec![gpu(0, DeviceKind::Discrete), broken];
        let text = devices(gpus, DeviceChoice::Gpu(Some(0))).describe();
        let lines: Vec<&str> = text.lines().collect();
        for (line, parts) in [
            (
                1,
                &[
                    "cpu ",
                    "a processor",
                    "32.0 GiB",
                    "20.0 GiB",
                    "avx2, 4 threads",
                ][..],
            ),
            (
                2,
                &[
                    "gpu:0 ", "card 0", "discrete", "8.0 GiB", "6.0 GiB", "yes", "Vulkan",
                ],
            ),
            (2, &["driver 1.2", "SPIR-V, f16"]),
            (3, &["gpu:1 ", "card 1", " ? ", " no "]),
            (5, &["gpu:1 cannot be used: its driver is too old"]),
            (6, &["auto: gpu:0"]),
        ] {
            for part in parts {
                assert!(lines[line].contains(part), "{part:?}: {text}");
            }
        }
    }

    #[test]
    fn without_a_driver_the_cpu_is_there_and_what_a_gpu_needs() {
        let text = devices(Vec::new(), DeviceChoice::Cpu).describe();
        assert!(text.contains("avx2"), "{text}");
        assert!(text.contains("mesa-vulkan-drivers"), "{text}");
        assert!(text.ends_with("auto: the CPU (no graphics card with memory of its own)\n"));
    }

    #[test]
    fn why_the_cpu_is_chosen_is_said() {
        let choice = |gpus| devices(gpus, DeviceChoice::Cpu).choice();
        assert!(choice(vec![gpu(0, DeviceKind::Software)]).contains("memory of its own"));
        let mut broken = gpu(0, DeviceKind::Discrete);
        broken.missing = Some("x".to_owned());
        assert!(choice(vec![broken]).contains("can be used"));
        assert!(choice(vec![gpu(0, DeviceKind::Discrete)]).contains("memory free"));
    }

    #[test]
    fn programs_get_numbers() {
        let gpus = vec![gpu(0, DeviceKind::Software)];
        let json = devices(gpus, DeviceChoice::Cpu).to_json();
        assert_eq!(json["auto"], "cpu");
        let [cpu, gpu] = &json["devices"].as_array().unwrap()[..] else {
            panic!("{json}")
        };
        assert_eq!(
            (&cpu["device"], &cpu["isa"]),
            (&json!("cpu"), &json!("avx2"))
        );
        assert_eq!(
            cpu["memory"],
            json!({"total": 32_u64 << 30, "free": 20_u64 << 30})
        );
        assert_eq!(
            (&gpu["device"], &gpu["kind"]),
            (&json!("gpu:0"), &json!("software"))
        );
        assert_eq!(gpu["features"], json!(["SPIR-V", "f16"]));
        assert_eq!(gpu["missing"], Value::Null);
    }
}
