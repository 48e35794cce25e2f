//! Separates what a reasoning model thinks from what it answers.
//!
//! Such a model opens its answer with a block in tags; some templates open the block themselves,
//! so that the answer begins inside of it. Only the beginning of an answer can open a block:
//! later, the tag is a word like any other. Blank space around the tags belongs to neither part.

/// How a model marks its reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// `<think>…</think>`: DeepSeek R1, Qwen 3, SmolLM3.
    Think,
    /// `[THINK]…[/THINK]`: Mistral's reasoning models.
    Mistral,
}

impl ReasoningFormat {
    /// The marks that a chat template shows its model.
    pub fn detect(template_source: &str) -> Option<Self> {
        [Self::Mistral, Self::Think]
            .into_iter()
            .find(|format| template_source.contains(format.closer()))
    }

    /// True if the prompt ends in an open block, so that the answer begins inside of it.
    pub fn starts_inside(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.opener())
    }

    /// What opens the block.
    pub fn opener(self) -> &'static str {
        match self {
            Self::Think => "<think>",
            Self::Mistral => "[THINK]",
        }
    }

    /// What closes it.
    pub fn closer(self) -> &'static str {
        match self {
            Self::Think => "</think>",
            Self::Mistral => "[/THINK]",
        }
    }
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasoningEvent {
    /// What the model thinks.
    Reasoning(String),
    /// What it answers.
    Content(String),
}

/// Splits an answer as it is generated. How it arrives in pieces changes nothing.
pub struct ReasoningSplitter {
    format: ReasoningFormat,
    part: ReasoningPart,
    /// What may be the beginning of a tag.
    held: String,
    /// Blank space that is dropped if a tag follows.
    blank: String,
    /// The part has had a character that isn't blank.
    has_begun: bool,
    events: Vec<ReasoningEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReasoningPart {
    /// Before anything that isn't blank: an opener may follow.
    Beginning,
    Reasoning,
    /// After the block.
    Answer,
    /// An answer without a block.
    Plain,
}

impl ReasoningSplitter {
    /// A splitter for one answer; `starts_inside` if the prompt has opened the block.
    pub fn new(format: ReasoningFormat, starts_inside: bool) -> Self {
        Self {
            format,
            part: match starts_inside {
                true => ReasoningPart::Reasoning,
                false => ReasoningPart::Beginning,
            },
            held: String::new(),
            blank: String::new(),
            has_begun: false,
            events: Vec::new(),
        }
    }

    /// Takes the next piece of the answer and returns what it settles.
    pub fn push(&mut self, text: &str) -> Vec<ReasoningEvent> {
        for character in text.chars() {
            self.step(character);
        }
        std::mem::take(&mut self.events)
    }

    /// Returns what was held back at the end of the answer. A block that was never closed is
    /// reasoning to its end.
    pub fn finish(&mut self) -> Vec<ReasoningEvent> {
        for character in std::mem::take(&mut self.held).chars() {
            self.emit(character);
        }
        if self.part == ReasoningPart::Beginning {
            self.part = ReasoningPart::Plain;
            let blank = std::mem::take(&mut self.blank);
            self.write(&blank);
        }
        std::mem::take(&mut self.events)
    }

    fn step(&mut self, character: char) {
        if self.held.is_empty() && (character.is_whitespace() || self.tags().is_empty()) {
            return self.emit(character);
        }
        self.held.push(character);
        while !self.held.is_empty() {
            let tags = self.tags();
            if let Some(tag) = tags.iter().find(|tag| **tag == self.held) {
                return self.enter(tag);
            }
            if tags.iter().any(|tag| tag.starts_with(&self.held)) {
                return;
            }
            let first = self.held.remove(0);
            self.emit(first);
        }
    }

    /// The tags that mean something here.
    fn tags(&self) -> Vec<&'static str> {
        match self.part {
            ReasoningPart::Beginning => vec![self.format.opener()],
            // A model may repeat the opener that the template wrote.
            ReasoningPart::Reasoning if !self.has_begun => {
                vec![self.format.opener(), self.format.closer()]
            }
            ReasoningPart::Reasoning => vec![self.format.closer()],
            ReasoningPart::Answer | ReasoningPart::Plain => Vec::new(),
        }
    }

    fn enter(&mut self, tag: &str) {
        self.held.clear();
        self.blank.clear();
        self.has_begun = false;
        self.part = match tag == self.format.opener() {
            true => ReasoningPart::Reasoning,
            false => ReasoningPart::Answer,
        };
    }

    /// Writes a character that is no part of a tag, blank space only once something follows.
    fn emit(&mut self, character: char) {
        if character.is_whitespace() && self.part != ReasoningPart::Plain && self.holds_blank() {
            self.blank.push(character);
            return;
        }
        if self.part == ReasoningPart::Beginning {
            self.part = ReasoningPart::Plain;
        }
        let blank = std::mem::take(&mut self.blank);
        if self.has_begun || self.part == ReasoningPart::Plain {
            self.write(&blank);
        }
        self.has_begun = true;
        self.write(character.encode_utf8(&mut [0; 4]));
    }

    fn holds_blank(&self) -> bool {
        self.part != ReasoningPart::Answer || !self.has_begun
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let is_reasoning = self.part == ReasoningPart::Reasoning;
        match self.events.last_mut() {
            Some(ReasoningEvent::Reasoning(last)) if is_reasoning => last.push_str(text),
            Some(ReasoningEvent::Content(last)) if !is_reasoning => last.push_str(text),
            _ if is_reasoning => self.events.push(ReasoningEvent::Reasoning(text.to_owned())),
            _ => self.events.push(ReasoningEvent::Content(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reasoning and content of an answer that arrives in the given pieces.
    fn split<'a>(
        format: ReasoningFormat,
        starts_inside: bool,
        pieces: impl IntoIterator<Item = &'a str>,
    ) -> (String, String) {
        let mut splitter = ReasoningSplitter::new(format, starts_inside);
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(splitter.push(piece));
        }
        events.extend(splitter.finish());
        let (mut reasoning, mut content) = (String::new(), String::new());
        for event in events {
            match event {
                ReasoningEvent::Reasoning(text) => reasoning += &text,
                ReasoningEvent::Content(text) => content += &text,
            }
        }
        (reasoning, content)
    }

    #[test]
    fn answers_are_split_at_the_tags() {
        use ReasoningFormat::{Mistral, Think};
        for (format, inside, text, reasoning, content) in [
            (
                Think,
                false,
                "<think>\nhm, a < b\n</think>\n\nYes. ",
                "hm, a < b",
                "Yes. ",
            ),
            (Think, true, "hm\n</think>Yes", "hm", "Yes"),
            (Think, true, "<think>\nhm\n</think>Yes", "hm", "Yes"),
            (Think, false, " \n<think></think>a", "", "a"),
            (
                Think,
                false,
                " Use <think> tags</think>",
                "",
                " Use <think> tags</think>",
            ),
            (Think, false, "<thin", "", "<thin"),
            (Think, false, "<<think>a", "", "<<think>a"),
            (Think, false, "<think>never </think", "never </think", ""),
            (Think, true, "a</think>b</think>", "a", "b</think>"),
            (Think, false, "\n ", "", "\n "),
            (Mistral, false, "[THINK]so[/THINK][1]", "so", "[1]"),
            (Mistral, false, "[TOOL", "", "[TOOL"),
        ] {
            let expected = (reasoning.to_owned(), content.to_owned());
            assert_eq!(split(format, inside, [text]), expected, "{text:?}");
        }
    }

    #[test]
    fn text_is_held_back_no_longer_than_it_could_be_a_tag() {
        let mut splitter = ReasoningSplitter::new(ReasoningFormat::Think, true);
        assert_eq!(
            splitter.push("a</thi"),
            [ReasoningEvent::Reasoning("a".to_owned())]
        );
        assert_eq!(
            splitter.push("s"),
            [ReasoningEvent::Reasoning("</this".to_owned())]
        );
    }

    #[test]
    fn the_format_is_read_off_the_template_and_the_prompt() {
        let format = ReasoningFormat::detect("… content.split('</think>')[-1] …");
        assert_eq!(format, Some(ReasoningFormat::Think));
        assert_eq!(
            ReasoningFormat::detect("[THINK]…[/THINK]"),
            Some(ReasoningFormat::Mistral)
        );
        assert_eq!(ReasoningFormat::detect("no such thing"), None);
        assert!(ReasoningFormat::Think.starts_inside("<|assistant|><think>\n"));
        assert!(!ReasoningFormat::Think.starts_inside("<think></think>"));
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            text in "(<think>|</think>|<thi|\\[THINK\\]|\\[/THINK\\]|[a-c <>/é\n]){0,12}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            inside: bool,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| {
                let mut at = cut.index(text.len() + 1);
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            }).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            for format in [ReasoningFormat::Think, ReasoningFormat::Mistral] {
                prop_assert_eq!(
                    split(format, inside, pieces.iter().copied()),
                    split(format, inside, [text.as_str()])
                );
            }
        }
    }
}
