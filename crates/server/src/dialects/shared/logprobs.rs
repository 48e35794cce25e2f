//! The shape in which OpenAI's chats report log-probabilities.

use matou_llm::generation::TokenLogprob;

use super::wire::{ChatLogprobs, ChatToken, ChatTokenLogprob};

/// JSON has no infinities; OpenAI writes this for "impossible".
pub(crate) const LEAST_LOGPROB: f32 = -9999.0;

/// The chat shape: a list of tokens.
pub(crate) fn chat(tokens: &[TokenLogprob]) -> ChatLogprobs {
    let content = tokens.iter().map(|token| ChatTokenLogprob {
        token: chat_token(&token.bytes, token.logprob.unwrap_or(LEAST_LOGPROB)),
        top_logprobs: token
            .top
            .iter()
            .map(|(bytes, logprob)| chat_token(bytes, *logprob))
            .collect(),
    });
    ChatLogprobs {
        content: content.collect(),
        refusal: None,
    }
}

fn chat_token(bytes: &[u8], logprob: f32) -> ChatToken {
    ChatToken {
        token: String::from_utf8_lossy(bytes).into_owned(),
        logprob: logprob.max(LEAST_LOGPROB),
        bytes: bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_logprobs_give_the_raw_bytes_of_half_a_character() {
        let half_a_character = TokenLogprob {
            bytes: vec![0xe2, 0x98],
            logprob: Some(-0.5),
            top: vec![
                (vec![0xe2, 0x98], -0.5),
                (b" a".to_vec(), f32::NEG_INFINITY),
            ],
            text_offset: 3,
        };
        let logprobs = chat(&[half_a_character]);
        assert_eq!(
            serde_json::to_string(&logprobs).unwrap(),
            "{\"content\":[\
             {\"token\":\"\u{fffd}\",\"logprob\":-0.5,\"bytes\":[226,152],\"top_logprobs\":[\
             {\"token\":\"\u{fffd}\",\"logprob\":-0.5,\"bytes\":[226,152]},\
             {\"token\":\" a\",\"logprob\":-9999.0,\"bytes\":[32,97]}]}],\"refusal\":null}"
        );
    }
}
