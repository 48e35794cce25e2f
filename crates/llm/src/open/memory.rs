//! What this machine has: memory that is free, and cores.

/// Cores that this process may use, hardware threads of one core counted once: kernels keep a core's
/// arithmetic busy with one.
pub(super) fn physical_cores() -> Option<usize> {
    let usable = std::thread::available_parallelism().ok()?.get();
    Some(sysinfo::System::physical_core_count().map_or(usable, |cores| cores.clamp(1, usable)))
}

/// Memory that can be had without swapping, in bytes: what a container's limit leaves beside its
/// processes, since files that it has read give way.
pub fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| {
        limits.total_memory.saturating_sub(limits.rss)
    });
    system.available_memory().min(limit)
}

/// `1.5 GiB`, `98.4 MiB`, `512 B`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(98_362_432), "93.8 MiB");
        assert_eq!(human_bytes(3 << 29), "1.5 GiB");
    }
}
