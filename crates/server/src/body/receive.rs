//! Receives the body of a request, within bounds on its size and time and on what all bodies together
//! may take.
//!
//! What states a length beyond the bound is refused before anything of it is read. A small body
//! needs nobody's leave; what goes beyond [`SMALL`] is taken from a budget that all requests share, of
//! which one client gets no more than three quarters: whoever fills it does not keep others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::StreamExt;
use http_body::Body as _;
use tokio::time::timeout;

use crate::connections::{Connection, Phase};
use crate::error::ApiError;
use crate::limits::Limits;
use matou_engine::ClientId;

/// Bytes of a body that count for nothing: there are no more of these than connections.
const SMALL: usize = 64 << 10;
/// When it is worth trying again where the budget is spent.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all bodies together may take.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyBudget(Arc<Mutex<Spent>>);

#[derive(Debug, Default)]
struct Spent {
    bytes: usize,
    by_client: HashMap<ClientId, usize>,
}

/// What one body takes; given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: BodyBudget,
    client: ClientId,
    bytes: usize,
}

impl BodyBudget {
    pub(super) fn share(&self, client: ClientId) -> Share {
        Share {
            budget: self.clone(),
            client,
            bytes: 0,
        }
    }

    /// Bytes that bodies take now.
    pub(crate) fn spent(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes what a body of `length` bytes needs beyond what it has, of a budget of `all` bytes. False
    /// if it is not to be had.
    pub(super) fn grow_to(&mut self, length: usize, all: usize) -> bool {
        let more = length.saturating_sub(SMALL).saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let mut spent = self.budget.lock();
        let own = spent.by_client.get(&self.client).copied().unwrap_or(0);
        if spent.bytes + more > all || own + more > all / 4 * 3 {
            return false;
        }
        spent.bytes += more;
        spent.by_client.insert(self.client, own + more);
        self.bytes += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut spent = self.budget.lock();
        spent.bytes -= self.bytes;
        if let Some(own) = spent.by_client.get_mut(&self.client) {
            *own -= self.bytes;
        }
    }
}

/// Receives the whole body, and what it holds of the budget.
///
/// # Errors
///
/// 413 and 415 for a body that is not taken, 408 for one that does not come, 429 where the budget is
/// spent.
pub(super) async fn receive(
    request: Request,
    limits: &Limits,
    budget: &BodyBudget,
) -> Result<(Vec<u8>, Share), ApiError> {
    refuse_encoding(request.headers())?;
    let client = request.extensions().get().copied();
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let share = budget.share(client.unwrap_or(ClientId::ANYBODY));
    let all = receive_all(request, limits, share);
    let received = timeout(limits.body_timeout, all)
        .await
        .unwrap_or_else(|_| Err(ApiError::request_timeout(limits.body_timeout)));
    if let Some(connection) = connection {
        connection.enter(Phase::Answering);
    }
    received
}

async fn receive_all(
    request: Request,
    limits: &Limits,
    mut share: Share,
) -> Result<(Vec<u8>, Share), ApiError> {
    let too_large = || ApiError::payload_too_large(limits.max_body_bytes);
    let body = request.into_body();
    let stated = body.size_hint().lower();
    if stated > limits.max_body_bytes as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            ApiError::bad_request(format!("The request body could not be read: {error}."))
        })?;
        let length = bytes.len() + part.len();
        if length > limits.max_body_bytes {
            return Err(too_large());
        }
        if !share.grow_to(length, limits.max_bodies_bytes) {
            return Err(no_room());
        }
        bytes.extend_from_slice(&part);
    }
    Ok((bytes, share))
}

/// What is said where the budget is spent.
pub(super) fn no_room() -> ApiError {
    let message = "Too many large requests are being received; try again later.";
    ApiError::overloaded(message, RETRY_AFTER)
}

/// Bodies are read as they come: none is unpacked.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_plain = |value: &HeaderValue| {
        value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity")
    };
    match encodings.all(is_plain) {
        true => Ok(()),
        false => Err(ApiError::unsupported_encoding()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_the_budget_leaves_a_quarter_to_others_and_gives_all_back() {
        let (budget, all) = (BodyBudget::default(), 400 << 10);
        let mut greedy: Vec<Share> = (0..3).map(|_| budget.share(ClientId(1))).collect();
        let taken = greedy
            .iter_mut()
            .map(|share| share.grow_to(SMALL + (150 << 10), all));
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, false]);
        let mut other = budget.share(ClientId(2));
        assert!(
            other.grow_to(SMALL + (100 << 10), all) && !other.grow_to(SMALL + (101 << 10), all)
        );
        assert!(
            greedy[2].grow_to(SMALL, all),
            "a small body needs none of it"
        );
        assert_eq!(budget.spent(), 400 << 10);
        drop((greedy, other));
        assert_eq!(budget.spent(), 0);
    }
}
