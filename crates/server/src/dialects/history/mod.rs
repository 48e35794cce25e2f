//! Conversations that the server keeps for its clients: a tree of messages each, and answers that are
//! written whether or not anybody is listening.
//!
//! ```text
//! POST …/answers ──▶ the branch as messages ──▶ chat completions' own conversion, and the engine
//!                                                    │ events
//!                    Run ◀── frames as chat completions stream them ──▶ readers, from the beginning
//!                     └── what there is, into the database: every second, and at the end
//! ```

mod answers;
mod asked;
mod conversations;
mod messages;
mod run;
mod state;
mod transfer;
mod write;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use super::shared::paths::VersionedRoutes;
use crate::state::AppState;

pub(crate) use asked::AnswerFields;
pub(crate) use run::Runs;

/// What one user has said is for no cache.
async fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The routes of this dialect.
pub(crate) fn router() -> Router<AppState> {
    use {answers as answer, conversations as all, messages as message};
    let one = get(all::whole).post(all::update).delete(all::delete);
    Router::new()
        .versioned(
            "/history",
            get(all::list).post(all::create).delete(all::delete_all),
        )
        .versioned("/history/export", get(transfer::export_all))
        .versioned("/history/import", post(transfer::import))
        .versioned("/history/{id}", one)
        .versioned("/history/{id}/export", get(transfer::export))
        .versioned("/history/{id}/messages", post(message::add))
        .versioned(
            "/history/{id}/messages/{message}",
            get(message::detail).delete(message::delete),
        )
        .versioned(
            "/history/{id}/messages/{message}/stream",
            get(answer::follow),
        )
        .versioned("/history/{id}/messages/{message}/stop", post(answer::stop))
        .versioned("/history/{id}/answers", post(answer::create))
        .layer(middleware::map_response(not_stored))
}
