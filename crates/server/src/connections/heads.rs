//! Watches the heads of requests as they come in, for what hyper does not tell: that a request states
//! its length twice, by `Content-Length` and by `Transfer-Encoding`. Two servers in a row that disagree
//! about which of them holds take different bytes for the next request, so such a request is refused
//! (RFC 9112, 6.1 and 11.2).
//!
//! hyper parses the same bytes for itself; nothing here changes them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest head that is looked at, and that hyper reads.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// Most headers of a request, as in hyper.
const MAX_HEADERS: usize = 100;

/// What a head says of the body behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Framing {
    /// Its length is stated twice.
    pub(super) is_ambiguous: bool,
    /// Where the next request begins is not known here: the connection ends after this one.
    pub(super) is_last: bool,
}

/// The heads that have come and that were not asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(Arc<Mutex<VecDeque<Framing>>>);

impl Heads {
    /// What the next request's head said.
    pub(super) fn next(&self) -> Framing {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.pop_front().unwrap_or_default()
    }

    fn push(&self, framing: Framing) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push_back(framing);
    }
}

/// Where in a connection's bytes the watch is.
#[derive(Debug)]
enum Reading {
    /// Within a head, of which this has come.
    Head(Vec<u8>),
    /// So many bytes of a body are to come.
    Body(u64),
    /// Beyond a body whose end is not known, or bytes that are no request.
    Lost,
}

impl Reading {
    /// Takes `bytes` in and tells `heads` of each head that is complete.
    fn feed(&mut self, mut bytes: &[u8], heads: &Heads) {
        while !bytes.is_empty() {
            match self {
                Self::Lost => return,
                Self::Body(left) => {
                    let skipped =
                        usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    *left -= skipped as u64;
                    bytes = &bytes[skipped..];
                    if *left == 0 {
                        *self = Self::Head(Vec::new());
                    }
                }
                Self::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    let Some(end) = end_of_head(head, before) else {
                        if head.len() > MAX_HEAD {
                            *self = Self::Lost;
                        }
                        return;
                    };
                    bytes = &bytes[end - before..];
                    head.truncate(end);
                    *self = read_head(head, heads);
                }
            }
        }
    }
}

/// Where a head ends that had `seen` bytes before the last came: behind an empty line that follows a
/// line that is not empty.
fn end_of_head(head: &[u8], seen: usize) -> Option<usize> {
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte))?;
    let from = seen.saturating_sub(3).max(begin);
    let ends = |at: &usize| {
        let line = &head[begin..*at];
        line.ends_with(b"\n\r\n") || line.ends_with(b"\n\n")
    };
    (from..=head.len()).find(ends)
}

/// Reads a head, and says what comes behind it.
fn read_head(head: &[u8], heads: &Heads) -> Reading {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Reading::Lost;
    }
    let named = |name: &str| {
        let is_named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        request.headers.iter().find(is_named)
    };
    let length = named("content-length");
    let is_last = named("transfer-encoding").is_some();
    heads.push(Framing {
        is_ambiguous: is_last && length.is_some(),
        is_last,
    });
    let length = length.map_or(Some(0), |length| {
        str::from_utf8(length.value).ok()?.trim().parse().ok()
    });
    match length {
        _ if is_last => Reading::Lost,
        None => Reading::Lost,
        Some(0) => Reading::Head(Vec::new()),
        Some(length) => Reading::Body(length),
    }
}

/// A connection whose bytes are watched.
pub(super) struct Watched<S> {
    stream: S,
    reading: Reading,
    heads: Heads,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, heads: Heads) -> Self {
        Self {
            stream,
            reading: Reading::Head(Vec::new()),
            heads,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.reading.feed(&buffer.filled()[before..], &this.heads);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of a connection's bytes, however they are cut.
    fn seen(bytes: &str) -> Vec<(bool, bool)> {
        let run = |size: usize| {
            let (heads, mut reading) = (Heads::default(), Reading::Head(Vec::new()));
            for part in bytes.as_bytes().chunks(size) {
                reading.feed(part, &heads);
            }
            let all = heads.0.lock().unwrap();
            all.iter()
                .map(|head| (head.is_ambiguous, head.is_last))
                .collect()
        };
        let whole: Vec<_> = run(usize::MAX);
        for size in [1, 2, 3, 7] {
            assert_eq!(run(size), whole, "{size} bytes at a time: {bytes:?}");
        }
        whole
    }

    #[test]
    fn a_length_that_is_stated_twice_is_seen_wherever_it_stands() {
        let fine = "\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n\r\n\r\na";
        let get = "GET / HTTP/1.1\nHost: x\n\n";
        let twice = "POST / HTTP/1.1\r\ncontent-LENGTH: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let other = "POST / HTTP/1.1\r\ntransfer-encoding: x\r\nContent-Length: 1\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let (usual, ambiguous, last) = ((false, false), (true, true), (false, true));
        assert_eq!(
            seen(&format!("{fine}{get}{fine}{twice}")),
            [usual, usual, usual, ambiguous]
        );
        assert_eq!(seen(other), [ambiguous]);
        // Nothing is said of what comes behind a body of unknown length.
        assert_eq!(seen(&format!("{get}{chunked}{twice}")), [usual, last]);
        assert_eq!(seen("no request\r\n\r\n"), []);
        assert_eq!(
            seen(&format!(
                "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{get}"
            ))
            .len(),
            1
        );
    }
}
