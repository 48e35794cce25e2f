//! What every answer opens with.

use super::wire::Header;
use crate::caller::Caller;
use crate::serving::Serving;

/// The header of an answer: its id is the request's, under the prefix of its kind.
pub(crate) fn header(
    serving: &Serving,
    prefix: &str,
    object: &'static str,
    caller: &Caller,
) -> Header {
    Header {
        id: format!("{prefix}-{caller}"),
        object,
        created: serving.now(),
        model: serving.llm.name().to_owned(),
        system_fingerprint: serving.llm.card().fingerprint.clone(),
        matou: serving.label(),
    }
}
