//! A streamed answer, chunk by chunk: what came when, and how many tokens it was.

use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use reqwest::{Response, header};
use serde_json::Value;

use super::failure::{failed, status_error, transport};
use crate::report::{Record, RequestError};

/// Reads a streamed answer into `record`.
pub(super) async fn read(
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
    let mut heard = Heard::default();
    let result = hear(response, &mut heard, now).await;
    // What came before something went wrong counts too.
    record.finish_reason = heard.finish_reason;
    settle(record, &heard.chunks, heard.usage.as_ref());
    result
}

/// What has come of an answer.
#[derive(Default)]
struct Heard {
    chunks: Vec<Chunk>,
    usage: Option<Value>,
    finish_reason: Option<String>,
}

/// Listens until the answer ends.
async fn hear(
    response: Response,
    heard: &mut Heard,
    now: &impl Fn() -> f64,
) -> Result<(), RequestError> {
    let mut is_done = false;
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| match error {
            EventStreamError::Transport(error) => transport(&error),
            error => failed("broken chunk", &error.to_string()),
        })?;
        if event.data == "[DONE]" {
            is_done = true;
            break;
        }
        let value: Value =
            serde_json::from_str(&event.data).map_err(|_| failed("broken chunk", &event.data))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(failed("error in the stream", &error.to_string()));
        }
        if value["usage"].is_object() {
            heard.usage = Some(value["usage"].clone());
        }
        let choice = &value["choices"][0];
        let characters = content(choice);
        if characters > 0 {
            heard.chunks.push(Chunk {
                at_s: now(),
                characters,
            });
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            heard.finish_reason = Some(reason.to_owned());
        }
    }
    if !is_done && heard.finish_reason.is_none() {
        let message = "the stream ended without a finish_reason and without [DONE]";
        return Err(failed("cut off", message));
    }
    if heard.chunks.is_empty() {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
