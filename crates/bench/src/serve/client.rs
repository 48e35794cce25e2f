//! One request to a server, watched with a stopwatch.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, header};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::time::Instant;

use super::answer::read;
use super::failure::{failed, root_cause, status_error, transport};
use super::prompts::Prompt;
use crate::report::{Record, RequestError, Server};

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
    async fn ask(
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
}

/// Where a server listens, of a URL with or without the path of the API.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1").unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

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
