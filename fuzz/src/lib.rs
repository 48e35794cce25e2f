//! What the targets share: folders to put files into, and models to load from them.

use std::fs;
use std::path::{Path, PathBuf};

use matou_model::{Checkpoint, DeviceChoice, LoadOptions, WeightFiles};

/// A folder of this process, in memory where TMPDIR names a file system in memory.
pub fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("matou-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// Silences panics that are caught where they happen: the tokenizers crate has some. One that
/// reaches the target still ends it.
pub fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("MATOU_FUZZ_VERBOSE").is_some() {
            eprintln!("{info}");
        }
    }));
}

/// Puts `files` into an otherwise empty `folder`.
pub fn fill(folder: &Path, files: &[(&str, &[u8])]) {
    for entry in fs::read_dir(folder).expect("the folder").flatten() {
        let _ = fs::remove_file(entry.path());
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("room for the file");
    }
}

/// Reads the headers, and loads the model if they promise one of a bearable size.
pub fn read(weights: &WeightFiles) {
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        threads: Some(1),
        ..LoadOptions::default()
    };
    let Ok(checkpoint) = Checkpoint::open(weights) else {
        return;
    };
    let _ = checkpoint.text();
    if let Ok(summary) = checkpoint.summary(&options)
        && summary.weight_bytes < 16 << 20
        && summary.num_layers < 64
    {
        let _ = checkpoint.load(&options);
    }
}

/// Cuts off a part whose length stands in front of it in two bytes.
pub fn part(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return (data, &[]);
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    rest.split_at(length)
}
