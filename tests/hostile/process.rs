//! What a server's processes take of the machine, its children's included (Linux only: elsewhere
//! nothing is measured).

use std::collections::HashMap;
use std::fs;

/// What a process and those that it started take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    /// Resident memory, in bytes.
    pub(crate) memory: usize,
    /// Processor time since their start, in hundredths of seconds.
    pub(crate) ticks: u64,
}

/// What the process `root` takes, with its children.
pub(crate) fn taken(root: u32) -> Taken {
    let mut parents = HashMap::new();
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // One that ends meanwhile is skipped.
        if let Some((parent, taken)) = read(id) {
            parents.insert(id, parent);
            all.insert(id, taken);
        }
    }
    let belongs = |mut id: u32| loop {
        if id == root {
            return true;
        }
        match parents.get(&id) {
            Some(&parent) if parent != id => id = parent,
            _ => return false,
        }
    };
    // Until it runs its own program, a child is the same memory once more.
    let program = |id: u32| fs::read(format!("/proc/{id}/cmdline")).ok();
    let own = program(root);
    all.iter()
        .filter(|(id, _)| belongs(**id) && (**id == root || program(**id) != own))
        .fold(Taken::default(), |sum, (_, taken)| Taken {
            memory: sum.memory + taken.memory,
            ticks: sum.ticks + taken.ticks,
        })
}

/// The parent of a process, and what the process takes (proc(5)).
fn read(id: u32) -> Option<(u32, Taken)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, which may hold anything, stands in parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let pages = number(21)? as usize;
    let taken = Taken {
        memory: pages * 4096,
        ticks: number(11)? + number(12)?,
    };
    Some((number(1)? as u32, taken))
}
