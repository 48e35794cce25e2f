//! Packages of other people, as they are published.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::harness::finish;

/// An environment of packages below the target folder, made once.
pub(super) struct Environment {
    pub(super) name: &'static str,
    pub(super) packages: &'static [&'static str],
}

impl Environment {
    /// Its folder; `commands` fill it if that was not done before.
    fn folder(&self, commands: impl FnOnce(&Path) -> Vec<Command>) -> PathBuf {
        // One at a time: two tests may want the same.
        static MAKING: Mutex<()> = Mutex::new(());
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(self.name);
        let stamp = folder.join("installed");
        let wanted = self.packages.join("\n");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return folder;
        }
        std::fs::create_dir_all(&folder).expect("the environment has a folder");
        for command in commands(&folder) {
            let (success, _, errors) = finish(command);
            assert!(success, "{} cannot be installed: {errors}", self.name);
        }
        std::fs::write(&stamp, wanted).expect("the environment can be marked complete");
        folder
    }

    /// A Python that has the packages.
    pub(super) fn python(&self) -> PathBuf {
        let folder = self.folder(|folder| {
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(folder);
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet"]);
            pip.arg("--disable-pip-version-check").args(self.packages);
            vec![venv, pip]
        });
        folder.join("bin/python")
    }

    /// A folder in which Node finds the packages.
    pub(super) fn node(&self) -> PathBuf {
        self.folder(|folder| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"]);
            npm.arg(folder).args(self.packages);
            vec![npm]
        })
    }
}

/// A script of `tests/clients`.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}
