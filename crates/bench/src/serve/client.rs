//! One request to a server, watched with a stopwatch.

use std::sync::Arc;
use std::time::Duration;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::Instant;

use super::prompts::Prompt;
use crate::report::{Record, RequestError, Server};

/// Characters of a server's message that are kept.
const MAX_MESSAGE: usize = 300;

/// A server, and how it is asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens, without a slash at the end, with or without `/v1`.
    pub url: String,
    /// Its key, if it wants one.
    pub api_key: Option<String>,
    /// The model to ask for.
    pub model: String,
    /// Whether it is asked for completions of text rather than for answers to chats.
    pub completions: bool,
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    /// Whether answers have just so many tokens, whatever the model would like.
    pub ignore_eos: bool,
    /// Further fields of each request.
    pub extra: Map<String, Value>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Why a server cannot be measured at all.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nobody listens there, or not with HTTP.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why, in the words of the system.
        reason: String,
    },
    /// It wants a key, or another one.
    #[error(
        "{url} refuses the key (status {status}): give the right one with --api-key, or in MATOU_API_KEY"
    )]
    Unauthorised {
        /// Where.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// It cannot do what is asked for.
    #[error("{url} cannot be measured: {kind}: {message}")]
    Refused {
        /// Where.
        url: String,
        /// What went wrong, as in [`RequestError::kind`].
        kind: String,
        /// In its words.
        message: String,
    },
}

/// Whoever can be asked, and takes down when the answer comes.
pub trait Ask: Clone + Send + Sync + 'static {
    /// Asks once for `max_tokens`, or as many as usual. `origin` is the beginning of the cell, `intended_s` the
    /// seconds after it at which the request was to be sent.
    fn ask(
        &self,
        prompt: &Prompt,
        max_tokens: Option<usize>,
        origin: Instant,
        intended_s: f64,
    ) -> impl Future<Output = Record> + Send;
}

/// A client of a server; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    target: Arc<Target>,
}

impl Client {
    /// A client that has not sent anything yet.
    ///
    /// # Errors
    ///
    /// When the system has no source of random numbers or no certificates, which TLS needs.
    pub fn new(target: Target) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(target.timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            // What is measured is the server that was named.
            .no_proxy()
            .build()?;
        let target = Arc::new(target);
        Ok(Self { http, target })
    }

    /// The server, and how it is asked.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks for the first model that the server lists, unless one is named; and what the server calls itself.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, refuses the key, or lists none.
    pub async fn find(mut target: Target) -> Result<(Self, Server), TargetError> {
        target.url = base(&target.url).to_owned();
        let unreachable = |error: &reqwest::Error| TargetError::Unreachable {
            url: target.url.clone(),
            reason: root_cause(error),
        };
        let client = Self::new(target.clone()).map_err(|error| unreachable(&error))?;
        let sent = client
            .authorised(client.http.get(client.url("/models")))
            .send()
            .await;
        let response = sent.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
            return Err(TargetError::Unauthorised {
                url: target.url,
                status: status.as_u16(),
            });
        }
        let software = response.headers().get(header::SERVER);
        let software = software
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let models: Value = response.json().await.unwrap_or_default();
        if client.target.model.is_empty() {
            let first = models["data"][0]["id"].as_str().unwrap_or_default();
            if first.is_empty() {
                return Err(TargetError::Refused {
                    url: target.url,
                    kind: "no models".to_owned(),
                    message: "GET /v1/models lists none; name one with --model-name".to_owned(),
                });
            }
            target.model = first.to_owned();
        }
        let server = Server {
            url: target.url.clone(),
            model: target.model.clone(),
            software,
            started_here: false,
        };
        let target = Arc::new(target);
        Ok((Self { target, ..client }, server))
    }

    /// Sends a request that is wanted, and fails where the server cannot answer any.
    ///
    /// # Errors
    ///
    /// When there is no answer, with the reason.
    pub async fn probe(&self, prompt: &Prompt, max_tokens: usize) -> Result<Record, TargetError> {
        let record = self
            .ask(prompt, Some(max_tokens), Instant::now(), 0.0)
            .await;
        let url = self.target.url.clone();
        match record.error {
            None => Ok(record),
            Some(error) if error.kind == "http 401" || error.kind == "http 403" => {
                let status = if error.kind.ends_with('1') { 401 } else { 403 };
                Err(TargetError::Unauthorised { url, status })
            }
            Some(error) if error.kind == "unreachable" => Err(TargetError::Unreachable {
                url,
                reason: error.message,
            }),
            Some(RequestError { kind, message }) => {
                Err(TargetError::Refused { url, kind, message })
            }
        }
    }

    /// Asks once, as [`Ask::ask`].
    async fn ask_once(
        &self,
        prompt: &Prompt,
        max_tokens: Option<usize>,
        origin: Instant,
        intended_s: f64,
    ) -> Record {
        let now = || origin.elapsed().as_secs_f64();
        let (path, body) = self.body(prompt, max_tokens);
        let mut record = Record {
            intended_s,
            sent_s: now(),
            ..Record::default()
        };
        let sent = self
            .authorised(self.http.post(self.url(path)).json(&body))
            .send()
            .await;
        let result = match sent {
            Ok(response) => read(response, &mut record, &now).await,
            Err(error) => Err(transport(&error)),
        };
        record.end_s = now();
        record.error = result.err();
        record
    }

    /// Log-probabilities of the prompt's tokens, as vLLM's extension has them: for each position the ids that
    /// the server lists, with theirs. `None` where the server does not know the extension.
    pub async fn prompt_logprobs(
        &self,
        prompt: &Prompt,
        top: usize,
    ) -> Option<Vec<Vec<(String, f64)>>> {
        let body = json!({
            "model": self.target.model, "prompt": prompt.text(), "max_tokens": 1,
            "temperature": 0, "prompt_logprobs": top,
        });
        let sent = self
            .authorised(self.http.post(self.url("/completions")).json(&body))
            .send()
            .await;
        let answer: Value = sent.ok()?.error_for_status().ok()?.json().await.ok()?;
        let positions = answer["choices"][0]["prompt_logprobs"].as_array()?;
        let entries = positions.iter().filter_map(|position| {
            let entries = position.as_object()?.iter();
            let entries =
                entries.filter_map(|(id, entry)| Some((id.clone(), entry["logprob"].as_f64()?)));
            Some(entries.collect())
        });
        Some(entries.collect())
    }

    /// An answer with temperature 0, not streamed: its text and its number of tokens.
    ///
    /// # Errors
    ///
    /// With what went wrong.
    pub async fn greedy(
        &self,
        prompt: &Prompt,
        max_tokens: usize,
    ) -> Result<(String, u64), RequestError> {
        let (path, mut body) = self.body(prompt, Some(max_tokens));
        if let Some(body) = body.as_object_mut() {
            body.remove("stream_options");
            body.insert("stream".to_owned(), json!(false));
            body.insert("temperature".to_owned(), json!(0));
        }
        let sent = self
            .authorised(self.http.post(self.url(path)).json(&body))
            .send()
            .await;
        let response = sent.map_err(|error| transport(&error))?;
        if !response.status().is_success() {
            return Err(status_error(response).await);
        }
        let answer: Value = response.json().await.map_err(|error| transport(&error))?;
        let choice = &answer["choices"][0];
        let text = choice["message"]["content"]
            .as_str()
            .or(choice["text"].as_str());
        let text = text.ok_or_else(|| failed("no content", &answer.to_string()))?;
        Ok((
            text.to_owned(),
            answer["usage"]["completion_tokens"].as_u64().unwrap_or(0),
        ))
    }

    /// Path and body of a request.
    fn body(&self, prompt: &Prompt, max_tokens: Option<usize>) -> (&'static str, Value) {
        let target = &self.target;
        let mut body = json!({
            "model": target.model, "stream": true, "temperature": 0,
            "max_tokens": max_tokens.unwrap_or(target.max_tokens),
            "stream_options": {"include_usage": true},
        });
        let path = if target.completions {
            "/completions"
        } else {
            "/chat/completions"
        };
        if let Some(fields) = body.as_object_mut() {
            match target.completions {
                true => fields.insert("prompt".to_owned(), json!(prompt.text())),
                false => fields.insert("messages".to_owned(), json!(prompt.messages)),
            };
            if target.ignore_eos {
                fields.insert("ignore_eos".to_owned(), json!(true));
            }
            fields.extend(target.extra.clone());
        }
        (path, body)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1{path}", self.target.url)
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.target.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl Ask for Client {
    fn ask(
        &self,
        prompt: &Prompt,
        max_tokens: Option<usize>,
        origin: Instant,
        intended_s: f64,
    ) -> impl Future<Output = Record> + Send {
        self.ask_once(prompt, max_tokens, origin, intended_s)
    }
}

/// Where a server listens, of a URL with or without the path of the API.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url)
}

/// Reads a streamed answer into `record`.
async fn read(
    response: Response,
    record: &mut Record,
    now: &impl Fn() -> f64,
) -> Result<(), RequestError> {
    if !response.status().is_success() {
        return Err(status_error(response).await);
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type.starts_with("text/event-stream") {
        let message = format!("asked for a stream, got {content_type:?}");
        return Err(failed("not streamed", &message));
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut usage = None;
    let mut is_done = false;
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(eventsource_stream::EventStreamError::Transport(error)) => {
                settle(record, &chunks, usage.as_ref());
                return Err(transport(&error));
            }
            Err(error) => return Err(failed("broken chunk", &error.to_string())),
        };
        if event.data == "[DONE]" {
            is_done = true;
            break;
        }
        let Ok(value) = serde_json::from_str::<Value>(&event.data) else {
            settle(record, &chunks, usage.as_ref());
            return Err(failed("broken chunk", &event.data));
        };
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            settle(record, &chunks, usage.as_ref());
            return Err(failed("error in the stream", &error.to_string()));
        }
        if value["usage"].is_object() {
            usage = Some(value["usage"].clone());
        }
        let choice = &value["choices"][0];
        let characters = content(choice);
        if characters > 0 {
            chunks.push(Chunk {
                at_s: now(),
                characters,
            });
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            record.finish_reason = Some(reason.to_owned());
        }
    }
    settle(record, &chunks, usage.as_ref());
    if !is_done && record.finish_reason.is_none() {
        return Err(failed(
            "cut off",
            "the stream ended without a finish_reason and without [DONE]",
        ));
    }
    if chunks.is_empty() {
        return Err(failed("no content", "the answer has no text at all"));
    }
    Ok(())
}

/// A chunk with content.
struct Chunk {
    at_s: f64,
    characters: usize,
}

/// Characters of text, thoughts and calls of tools in a chunk's choice. An empty first chunk, which says
/// nothing but who speaks, is no token.
fn content(choice: &Value) -> usize {
    let delta = &choice["delta"];
    let texts = [
        &delta["content"],
        &delta["reasoning_content"],
        &delta["reasoning"],
        &delta["refusal"],
        &choice["text"],
    ];
    let texts = texts.iter().filter_map(|text| text.as_str()).map(str::len);
    let calls = delta["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| call.to_string().len());
    texts.chain(calls).sum()
}

/// Tells the tokens of the chunks: what the server counted, shared out among them.
fn settle(record: &mut Record, chunks: &[Chunk], usage: Option<&Value>) {
    let count = |name: &str| usage.and_then(|usage| usage[name].as_u64());
    record.prompt_tokens = count("prompt_tokens").unwrap_or(0);
    record.cached_tokens = usage.and_then(|u| u["prompt_tokens_details"]["cached_tokens"].as_u64());
    let counted = count("completion_tokens");
    record.completion_tokens = counted.unwrap_or(chunks.len() as u64);
    record.first_token_s = chunks.first().map(|chunk| chunk.at_s);
    // A token a chunk where that is as many; else some hold several, likely those with more text. The token that
    // ends an answer has none.
    let has_end = record.finish_reason.as_deref() == Some("stop");
    let with_text = record.completion_tokens - u64::from(has_end).min(record.completion_tokens);
    let tokens = shares(chunks, with_text);
    record.gaps = chunks
        .windows(2)
        .zip(tokens.into_iter().skip(1))
        .map(|(pair, tokens)| (pair[1].at_s - pair[0].at_s, tokens))
        .collect();
}

/// Tokens of each chunk: one, and of those that are more than that a part by the chunk's share of the text,
/// in whole tokens by the method of highest averages (D'Hondt).
fn shares(chunks: &[Chunk], tokens: u64) -> Vec<f64> {
    let mut shares = vec![1.0; chunks.len()];
    for _ in chunks.len() as u64..tokens {
        let average = |i: usize| chunks[i].characters as f64 / (shares[i] + 1.0);
        let most = (0..chunks.len()).max_by(|&a, &b| average(a).total_cmp(&average(b)));
        let Some(most) = most else { break };
        shares[most] += 1.0;
    }
    shares
}

async fn status_error(response: Response) -> RequestError {
    let kind = format!("http {}", response.status().as_u16());
    let text = response.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let message = value["error"]["message"]
        .as_str()
        .or(value["error"].as_str());
    failed(&kind, message.unwrap_or(&text))
}

fn transport(error: &reqwest::Error) -> RequestError {
    let kind = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "unreachable"
    } else {
        "connection lost"
    };
    failed(kind, &root_cause(error))
}

/// What is below an error's own words, which only say that there was one.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

fn failed(kind: &str, message: &str) -> RequestError {
    RequestError {
        kind: kind.to_owned(),
        message: message.chars().take(MAX_MESSAGE).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_first_chunk_is_no_token() {
        let choice = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for empty in [
            r#"{"delta": {"role": "assistant", "content": ""}}"#,
            r#"{"delta": {}, "finish_reason": "stop"}"#,
            r#"{"delta": {"content": null}}"#,
        ] {
            assert_eq!(content(&choice(empty)), 0, "{empty}");
        }
        for full in [
            r#"{"delta": {"content": "Hi"}}"#,
            r#"{"delta": {"reasoning_content": "Hm"}}"#,
            r#"{"delta": {"tool_calls": [{"index": 0}]}}"#,
            r#"{"text": " a"}"#,
        ] {
            assert!(content(&choice(full)) > 0, "{full}");
        }
    }

    #[test]
    fn tokens_of_chunks_are_told_apart() {
        let chunks = |sizes: &[usize]| -> Vec<Chunk> {
            let sizes = sizes.iter().enumerate();
            sizes
                .map(|(i, &characters)| Chunk {
                    at_s: i as f64,
                    characters,
                })
                .collect()
        };
        assert_eq!(shares(&chunks(&[4, 9, 2]), 3), [1.0; 3]);
        assert_eq!(shares(&chunks(&[4, 9, 2]), 4), [1.0, 2.0, 1.0]);
        assert!(shares(&[], 4).is_empty());
        let several = shares(&chunks(&[4, 12, 4]), 8);
        assert_eq!(several, [1.0, 5.0, 2.0]);
        let mut record = Record::default();
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 8,
                           "prompt_tokens_details": {"cached_tokens": 2}});
        settle(&mut record, &chunks(&[4, 12, 4]), Some(&usage));
        assert_eq!(record.gaps, [(1.0, 5.0), (1.0, 2.0)]);
        assert_eq!((record.prompt_tokens, record.cached_tokens), (5, Some(2)));
        record.finish_reason = Some("stop".to_owned());
        let usage = json!({"completion_tokens": 4});
        settle(&mut record, &chunks(&[4, 12, 4]), Some(&usage));
        assert_eq!(record.gaps, [(1.0, 1.0), (1.0, 1.0)], "an end without text");
        settle(&mut record, &chunks(&[4, 12, 4]), None);
        assert_eq!((record.completion_tokens, record.cached_tokens), (3, None));
    }

    #[test]
    fn urls_are_taken_with_and_without_the_path() {
        for url in [
            "http://a:1",
            "http://a:1/",
            "http://a:1/v1",
            "http://a:1/v1/",
        ] {
            assert_eq!(base(url), "http://a:1");
        }
    }
}
