//! A server that answers as it is told to, byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a server does with a request for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers well: an empty chunk, then three tokens, then usage.
    Well,
    /// Sends two tokens in one chunk.
    TwoInOne,
    /// Tells no usage.
    NoUsage,
    /// Answers in one piece.
    NotStreamed,
    /// Sends what is no JSON.
    Broken,
    /// Sends an error as an event.
    ErrorEvent,
    /// Ends in the middle.
    CutOff,
    /// Refuses with this status.
    Status(u16),
    /// Answers so many times, and then is gone.
    Dies(usize),
}

/// A server, gone when dropped.
pub(crate) struct Scripted {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if matches!(behaviour, Behaviour::Dies(after) if asked.load(Ordering::SeqCst) >= after)
                {
                    // Nobody listens any more, and nobody is told.
                    return;
                }
                let asked = Arc::clone(&asked);
                tokio::spawn(async move { attend(stream, behaviour, &asked).await });
            }
        });
        Self { url, task }
    }
}

async fn attend(stream: TcpStream, behaviour: Behaviour, asked: &AtomicUsize) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        (stream.read_line(&mut line).await.ok()? > 0).then_some(())?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let refused = match behaviour {
        Behaviour::Status(status @ (401 | 403)) => Some(status),
        Behaviour::Status(status) if head.starts_with("POST") => Some(status),
        _ => None,
    };
    let answer = if let Some(status) = refused {
        let text = r#"{"error": {"message": "not now"}}"#;
        format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
    } else if head.starts_with("GET") {
        whole(r#"{"data": [{"id": "scripted"}]}"#)
    } else {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        if matches!(behaviour, Behaviour::Dies(after) if number >= after) {
            return None;
        }
        streamed(behaviour)
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

fn whole(text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\nserver: scripted/1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    )
}

fn streamed(behaviour: Behaviour) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        .to_owned();
    let token = |text: &str| {
        format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{text}\"}}}}]}}\n\n")
    };
    let begin = head + &token("") + &token("a");
    let end = "data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"length\"}]}\n\n";
    let usage = |tokens: usize| {
        format!(
            "data: {{\"choices\": [], \"usage\": {{\"prompt_tokens\": 40, \"completion_tokens\": {tokens}, \"prompt_tokens_details\": {{\"cached_tokens\": 0}}}}}}\n\n"
        )
    };
    let done = "data: [DONE]\n\n";
    match behaviour {
        Behaviour::Well | Behaviour::Dies(_) | Behaviour::Status(_) => {
            begin + &token("b") + &token("c") + end + &usage(3) + done
        }
        Behaviour::TwoInOne => begin + &token("bbbb") + &token("c") + end + &usage(5) + done,
        Behaviour::NoUsage => begin + &token("b") + end + done,
        Behaviour::NotStreamed => whole(r#"{"choices": [{"message": {"content": "abc"}}]}"#),
        Behaviour::Broken => begin + "data: {\"choices\": [{\n\n",
        Behaviour::ErrorEvent => begin + "data: {\"error\": {\"message\": \"out of memory\"}}\n\n",
        Behaviour::CutOff => begin + &token("b"),
    }
}
