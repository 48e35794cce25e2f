//! A server whose model says what it is told to.

use std::time::{Duration, UNIX_EPOCH};

use matou_server::AppState;
use matou_testkit::speller::speller;
pub(crate) use matou_testkit::speller::{HERMES, PLAIN, THINKING};

use crate::support::{CREATED, TestServer, serve};

/// A server of a model with this chat template that answers everything with `reply`.
pub(crate) fn saying(reply: &str, template: &str) -> TestServer {
    let mut state = AppState::new(speller(reply, template));
    state.clock = || UNIX_EPOCH + Duration::from_secs(CREATED);
    serve(state)
}
