//! How far loading is, where somebody watches and there is something to wait for.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use matou_model::Progress;

/// Weights of less than this load before a progress bar could be read.
const PROGRESS_FROM_BYTES: u64 = 1 << 30;

/// A bar on standard error, if that is a terminal.
pub(super) fn bar() -> Option<Arc<Progress>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes} {eta}")
        .expect("the template is well-formed");
    let bar = ProgressBar::hidden();
    Some(Arc::new(move |done, total| {
        if total < PROGRESS_FROM_BYTES {
            return;
        }
        if bar.is_hidden() && done < total {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_style(style.clone());
            bar.set_length(total);
        }
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }))
}
