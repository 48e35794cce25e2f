//! The life of one connection.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::heads::{Heads, MAX_HEAD, Watched};
use super::{Connection, Phase, Place};
use crate::access::Peer;
use crate::current::Current;
use crate::error::ApiError;
use crate::lifecycle::Stage;

/// How long a connection that has to go may take to send what it still holds.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a connection is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To send the head of its next request. This bounds idling too.
    pub(crate) head: Duration,
    /// To take any of the bytes that it is sent.
    pub(crate) read: Duration,
}

/// Answers the requests of one connection, encrypted if there is a configuration for that, until the
/// client or the server has had enough.
pub(crate) async fn attend(
    stream: TcpStream,
    (peer, tls): (Peer, Option<Arc<ServerConfig>>),
    place: Place,
    served: (Current, usize),
    patience: Patience,
    mut stage: watch::Receiver<Stage>,
) {
    // A token is a small packet that should not wait for the next one.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot turn off packet coalescing");
    }
    let Some(tls) = tls else {
        return converse(stream, peer, place, served, patience, stage).await;
    };
    let encrypted = tokio::select! {
        encrypted = timeout(patience.head, encrypt(stream, tls)) => encrypted,
        // Who has not said anything yet goes first.
        () = place.is_needed() => return,
        _ = stage.wait_for(|stage| *stage != Stage::Serving) => return,
    };
    match encrypted {
        Ok(Ok(stream)) => converse(stream, peer, place, served, patience, stage).await,
        Ok(Err(error)) => debug!(%error, "a connection could not be encrypted"),
        Err(_) => debug!("a connection was not encrypted in time"),
    }
}

/// The same connection, encrypted. Who speaks plain HTTP is told what to speak.
async fn encrypt(
    mut stream: TcpStream,
    tls: Arc<ServerConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        stream.write_all(PLAIN.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(std::io::Error::other("it speaks plain HTTP"));
    }
    TlsAcceptor::from(tls).accept(stream).await
}

/// The first byte of an encrypted connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What is said to who sends another.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
     content-length: 57\r\n\r\nThis server speaks HTTPS: write https:// in the address.\n";

/// Answers the requests of one connection.
async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    peer: Peer,
    place: Place,
    (service, max_connections): (Current, usize),
    patience: Patience,
    mut stage: watch::Receiver<Stage>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.read));
    let heads = Heads::default();
    let stream = Watched::new(Box::pin(stream), heads.clone());
    let service = Attended {
        service,
        peer,
        heads,
        connection: Arc::clone(&place.connection),
    };
    let mut http = http1::Builder::new();
    let connection = http
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut draining = pin!(async {
        // An error would mean that the state is gone, and with it the server.
        let _ = stage.wait_for(|stage| *stage != Stage::Serving).await;
    });
    let mut is_draining = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = &mut draining, if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = place.is_needed() => {
                connection.as_mut().graceful_shutdown();
                // Its request may have been on its way: then it is answered in full, in a place of its own.
                match timeout(FAREWELL, connection.as_mut()).await {
                    Ok(result) => break result,
                    Err(_) if place.take_again(max_connections) => {}
                    Err(_) => break Ok(()),
                }
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "connection ended");
    }
}

/// The server's routes, for the requests of one connection.
struct Attended {
    service: Current,
    peer: Peer,
    heads: Heads,
    connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Attended {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let framing = self.heads.next();
        let phase = match request.body().is_end_stream() {
            true => Phase::Answering,
            false => Phase::Receiving,
        };
        self.connection.enter(phase);
        let connection = Arc::clone(&self.connection);
        request.extensions_mut().insert(Arc::clone(&connection));
        request.extensions_mut().insert(self.peer);
        let answer = (!framing.is_ambiguous).then(|| self.service.call(request));
        Box::pin(async move {
            let mut response = match answer {
                Some(answer) => answer.await?,
                None => ApiError::ambiguous_length().into_response(),
            };
            if framing.is_last {
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            connection.enter(Phase::Answering);
            Ok(response.map(|body| Body::new(Answer { body, connection })))
        })
    }
}

/// The body of a response; when it has been sent, its connection is idle.
struct Answer {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.enter(Phase::Idle);
    }
}
