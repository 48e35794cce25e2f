//! This program as a worker of its own: what may never end is done in processes that can be stopped.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use matou_llm::isolation::{self, Isolation};

/// The only argument of a worker. It is no command: nobody but the program itself starts one.
const WORKER: &str = "__worker";

/// Whether the program was started to be a worker.
pub fn is_asked_for() -> bool {
    env::args_os().nth(1).is_some_and(|first| first == WORKER)
}

/// Does a worker's work.
pub fn work() -> ExitCode {
    match isolation::work() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever could be told is gone.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Workers of this program, if it can find itself.
pub(super) fn of_this_program() -> Option<Isolation> {
    let path = match cfg!(target_os = "linux") {
        // The file may have been replaced since.
        true => PathBuf::from("/proc/self/exe"),
        false => env::current_exe().ok()?,
    };
    Some(Isolation::new(path, vec![WORKER.into()]))
}
