//! The client's own labels, in the trace of its request.

use tracing::Span;
use tracing::field::debug;

use super::wire::DeliveryFields;

/// Longest name of a user that is traced, in characters; OpenAI allows 64.
const MAX_TRACED_USER: usize = 64;

/// Notes in the request's trace whom it is for.
pub(crate) fn trace_user(user: Option<&str>) {
    if let Some(user) = user {
        let user: String = user.chars().take(MAX_TRACED_USER).collect();
        Span::current().record("user", user);
    }
}

/// Notes in the request's trace whom it is for, and the labels that it carries.
pub(crate) fn trace_labels(fields: &DeliveryFields) {
    trace_user(fields.user.as_deref());
    if let Some(metadata) = &fields.metadata {
        Span::current().record("metadata", debug(metadata));
    }
}
