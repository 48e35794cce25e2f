//! Requests as bytes, for what no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// What a flood of connections leaves between two of them. The kernel keeps those that the server has not yet
/// taken in, 128 on some systems; beyond that it drops whoever comes, for the second after which TCP tries
/// again, and no server can do anything about that.
const BETWEEN: Duration = Duration::from_millis(1);

/// A connection to the server at `url`.
pub(crate) async fn connect(url: &str) -> TcpStream {
    let address = url.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    sleep(BETWEEN).await;
    stream
}

/// A connection whose own side takes a few kilobytes that nobody has read, and no more.
pub(crate) async fn connect_with_little_room(url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let address = url.trim_start_matches("http://").parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends bytes; false if the server does not want them any more.
pub(crate) async fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    matches!(
        timeout(Duration::from_secs(10), stream.write_all(bytes)).await,
        Ok(Ok(()))
    )
}

/// All that comes until the connection is closed, or what came within `patience`.
pub(crate) async fn read_all(stream: &mut TcpStream, patience: Duration) -> (String, bool) {
    let mut bytes = Vec::new();
    let read = timeout(patience, stream.read_to_end(&mut bytes)).await;
    (String::from_utf8_lossy(&bytes).into_owned(), read.is_ok())
}

/// Sends a request in full, and returns its response and whether the connection was closed behind it.
pub(crate) async fn exchange(url: &str, request: &str) -> (String, bool) {
    let mut stream = connect(url).await;
    send(&mut stream, request.as_bytes()).await;
    read_all(&mut stream, Duration::from_secs(5)).await
}

/// The status of a response.
pub(crate) fn status(response: &str) -> u16 {
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {response:?}"))
}
