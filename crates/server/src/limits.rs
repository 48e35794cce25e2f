//! Bounds on what a client may ask of the server itself.

use std::time::Duration;

use crate::sse::KEEP_ALIVE_INTERVAL;

/// Bounds on what a client may ask of the server itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a connection may take to send the head of its next request.
    pub header_timeout: Duration,
    /// Most bytes that the bodies of all requests take, from the first byte until they are parsed.
    pub max_bodies_bytes: usize,
    /// How long the body of a request may take to come.
    pub body_timeout: Duration,
    /// How long a client may take none of what it is sent.
    pub read_timeout: Duration,
    /// Most connections that are open at a time.
    pub max_connections: usize,
    /// How long a stream may be silent before a comment is sent; also how long an answer may take
    /// to begin before the status is sent.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_bodies_bytes: 64 << 20,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            max_connections: 512,
            keep_alive: KEEP_ALIVE_INTERVAL,
        }
    }
}
