//! What is asked: real conversations, or text of a given length; no two alike unless that is wanted.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Conversations written for this purpose: short and long, several turns, code, other languages.
const CONVERSATIONS: &str = include_str!("../../prompts/conversations.jsonl");
/// Common words, most of which are a token in most vocabularies.
const WORDS: &str = include_str!("../../prompts/words.txt");

/// A conversation that waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Messages as the API has them; the last is not the assistant's.
    pub messages: Vec<Value>,
}

impl Prompt {
    /// One message of a user.
    pub fn of_text(text: &str) -> Self {
        Self {
            messages: vec![json!({"role": "user", "content": text})],
        }
    }

    /// The texts, for an endpoint that takes no messages.
    pub fn text(&self) -> String {
        let texts = self.messages.iter().filter_map(|m| m["content"].as_str());
        texts.collect::<Vec<_>>().join("\n\n")
    }

    /// The same, with a beginning that no other has: nothing of it can have been cached.
    fn marked(mut self, mark: u64) -> Self {
        if let Some(first) = self.messages.first_mut() {
            let text = first["content"].as_str().unwrap_or_default();
            first["content"] = json!(format!("[{mark:016x}] {text}"));
        }
        self
    }
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Conversations, taken in turn.
    Conversations(Vec<Prompt>),
    /// Made-up text of a length.
    Made {
        /// Tokens of the whole prompt, by what the server counts.
        tokens: usize,
        /// Part of it that all prompts share, at the beginning.
        shared_prefix: f64,
    },
}

impl Source {
    /// The conversations that come with the program.
    pub fn built_in() -> Self {
        let conversations = jsonl(CONVERSATIONS).unwrap_or_default();
        Self::Conversations(conversations)
    }

    /// Reads a file: ShareGPT's JSON, or a JSON object a line with `messages` or `prompt`.
    ///
    /// # Errors
    ///
    /// With what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let conversations = match serde_json::from_str::<Vec<Value>>(text) {
            Ok(entries) => share_gpt(&entries)?,
            Err(_) => jsonl(text)?,
        };
        match conversations.is_empty() {
            true => Err("it has no conversations that a user begins".to_owned()),
            false => Ok(Self::Conversations(conversations)),
        }
    }
}

/// A JSON object a line.
fn jsonl(text: &str) -> Result<Vec<Prompt>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| {
        let wrong = |reason: &str| format!("line {}: {reason}", number + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
        if let Some(messages) = value["messages"].as_array() {
            return Ok(Prompt {
                messages: messages.clone(),
            });
        }
        let text = value["prompt"].as_str();
        text.map(Prompt::of_text)
            .ok_or_else(|| wrong("it has neither \"messages\" nor \"prompt\""))
    };
    lines.map(read).collect()
}

/// ShareGPT's form: `[{"conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}]`. Each is asked
/// up to its last turn of a human.
fn share_gpt(entries: &[Value]) -> Result<Vec<Prompt>, String> {
    let mut prompts = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let turns = entry["conversations"]
            .as_array()
            .ok_or_else(|| format!("entry {number} has no \"conversations\""))?;
        let messages = turns.iter().filter_map(|turn| {
            let role = match turn["from"].as_str()? {
                "human" | "user" => "user",
                "gpt" | "assistant" | "chatgpt" => "assistant",
                "system" => "system",
                _ => return None,
            };
            Some(json!({"role": role, "content": turn["value"].as_str()?}))
        });
        let mut messages: Vec<Value> = messages.collect();
        while messages.last().is_some_and(|last| last["role"] != "user") {
            messages.pop();
        }
        if !messages.is_empty() {
            prompts.push(Prompt { messages });
        }
    }
    Ok(prompts)
}

/// How many tokens a server makes of made-up words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Tokens that a prompt has without any.
    overhead: f64,
    tokens_per_word: f64,
}

impl Calibration {
    /// From two prompts of made-up words: (words, tokens).
    pub fn from_probes(short: (usize, u64), long: (usize, u64)) -> Self {
        let words = (long.0 - short.0).max(1) as f64;
        let tokens_per_word = (long.1.saturating_sub(short.1) as f64 / words).max(0.1);
        Self {
            overhead: short.1 as f64 - tokens_per_word * short.0 as f64,
            tokens_per_word,
        }
    }

    fn words(&self, tokens: usize) -> usize {
        let words = (tokens as f64 - self.overhead) / self.tokens_per_word;
        words.round().max(1.0) as usize
    }
}

/// Prompts by their number.
#[derive(Debug, Clone)]
pub struct Prompts {
    source: Source,
    calibration: Option<Calibration>,
    seed: u64,
    /// Whether each has a beginning of its own.
    unique: bool,
}

impl Prompts {
    /// Prompts of a source. Without a calibration, a word counts as a token.
    pub fn new(source: Source, calibration: Option<Calibration>, seed: u64, unique: bool) -> Self {
        Self {
            source,
            calibration,
            seed,
            unique,
        }
    }

    /// Part of a prompt that is shared on purpose.
    pub fn shared_prefix(&self) -> f64 {
        match self.source {
            Source::Conversations(_) => 0.0,
            Source::Made { shared_prefix, .. } => shared_prefix,
        }
    }

    /// The prompt of a number, of `tokens` tokens if the trace wants so many.
    pub fn get(&self, number: u64, tokens: Option<usize>) -> Prompt {
        let mut random = self.random(number);
        let mark: u64 = random.random();
        let (tokens, shared_prefix) = match (&self.source, tokens) {
            (Source::Conversations(all), None) => {
                let prompt = all[number as usize % all.len().max(1)].clone();
                return if self.unique {
                    prompt.marked(mark)
                } else {
                    prompt
                };
            }
            (
                Source::Made {
                    tokens,
                    shared_prefix,
                },
                None,
            ) => (*tokens, *shared_prefix),
            (source, Some(tokens)) => match source {
                Source::Made { shared_prefix, .. } => (tokens, *shared_prefix),
                Source::Conversations(_) => (tokens, 0.0),
            },
        };
        let words = self.calibration.map_or(tokens, |c| c.words(tokens));
        let shared = (words as f64 * shared_prefix).round() as usize;
        let mut text = words_of(&mut self.random(u64::MAX), shared);
        // The mark takes the place of some words.
        let mut own = (words - shared).max(1);
        if self.unique && own > 8 {
            text.push_str(&format!("[{mark:016x}] "));
            own -= 8;
        }
        text.push_str(&words_of(&mut random, own));
        Prompt::of_text(text.trim_end())
    }

    /// Made-up words for a calibration.
    pub fn words(&self, number: u64, words: usize) -> Prompt {
        Prompt::of_text(words_of(&mut self.random(number), words).trim_end())
    }

    fn random(&self, number: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(number);
        random
    }
}

fn words_of(random: &mut ChaCha8Rng, count: usize) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(all.choose(random).copied().unwrap_or("word"));
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn texts(prompts: &Prompts, count: u64) -> Vec<String> {
        (0..count).map(|i| prompts.get(i, None).text()).collect()
    }

    #[test]
    fn no_two_prompts_begin_alike_unless_wanted() {
        let many = 300;
        let unique = Prompts::new(Source::built_in(), None, 7, true);
        let beginnings: BTreeSet<String> = texts(&unique, many)
            .iter()
            .map(|text| text.chars().take(12).collect())
            .collect();
        assert_eq!(beginnings.len() as u64, many);
        let plain = Prompts::new(Source::built_in(), None, 7, false);
        let distinct: BTreeSet<String> = texts(&plain, many).into_iter().collect();
        assert!(
            (20..many as usize).contains(&distinct.len()),
            "{}",
            distinct.len()
        );
        assert_eq!(
            unique.get(5, None),
            unique.get(5, None),
            "a number is a prompt"
        );
    }

    #[test]
    fn made_up_text_has_the_length_and_the_beginning_that_was_asked_for() {
        let source = Source::Made {
            tokens: 500,
            shared_prefix: 0.4,
        };
        // A server that makes 1.5 tokens of a word, and adds 20.
        let calibration = Calibration::from_probes((100, 170), (300, 470));
        let prompts = Prompts::new(source, Some(calibration), 1, false);
        let all = texts(&prompts, 3);
        for text in &all {
            assert_eq!(text.split_whitespace().count(), 320);
        }
        let words = |text: &str, n| {
            text.split_whitespace()
                .take(n)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(words(&all[0], 128), words(&all[1], 128));
        assert_ne!(words(&all[0], 140), words(&all[1], 140));
        let longer = prompts.get(0, Some(1000)).text();
        assert_eq!(longer.split_whitespace().count(), 653);
    }

    #[test]
    fn files_of_others_are_read() {
        let share_gpt = r#"[
            {"id": "a", "conversations": [
                {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "And?"}, {"from": "gpt", "value": "Well."}]},
            {"id": "b", "conversations": [{"from": "gpt", "value": "only this"}]}]"#;
        let Source::Conversations(prompts) = Source::parse(share_gpt).unwrap() else {
            panic!("conversations")
        };
        assert_eq!(prompts.len(), 1);
        assert_eq!(prompts[0].messages.len(), 3);
        assert_eq!(
            prompts[0].messages[2],
            json!({"role": "user", "content": "And?"})
        );
        let lines =
            "{\"prompt\": \"A\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"B\"}]}\n";
        let Source::Conversations(prompts) = Source::parse(lines).unwrap() else {
            panic!("conversations")
        };
        assert_eq!([prompts[0].text(), prompts[1].text()], ["A", "B"]);
        for (text, reason) in [
            (
                "{\"prompt\": \"A\"}\n{\"text\": 1}",
                "line 2: it has neither",
            ),
            (
                "[{\"conversation\": []}]",
                "entry 0 has no \"conversations\"",
            ),
            ("[]", "it has no conversations"),
            ("x", "line 1: "),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
