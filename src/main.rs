//! `matou`: a local LLM inference server.

use std::process::ExitCode;

use matou::cli::{self, Asked};

fn main() -> ExitCode {
    // Before there are threads.
    matou_model::quiet_drivers();
    if cli::isolation::is_asked_for() {
        return cli::isolation::work();
    }
    let asked = Asked::read();
    cli::init_logging(&asked.cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the async runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(asked.run());
    // Work that cannot be interrupted and that nobody waits for any more does not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            // The whole chain on one line: what failed, and why.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
