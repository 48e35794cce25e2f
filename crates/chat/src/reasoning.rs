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

    fn opener(self) -> &'static str {
        match self {
            Self::Think => "<think>",
            Self::Mistral => "[THINK]",
        }
    }

    fn closer(self) -> &'static str {
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
    part: Part,
    /// What may be the beginning of a tag.
    held: String,
    /// Blank space that is dropped if a tag follows.
    blank: String,
    /// The part has had a character that isn't blank.
    has_begun: bool,
    events: Vec<ReasoningEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
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
                true => Part::Reasoning,
                false => Part::Beginning,
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
        if self.part == Part::Beginning {
            self.part = Part::Plain;
            let blank = std::mem::take(&mut self.blank);
            self.write(&blank);
        }
        std::mem::take(&mut self.events)
    }

    fn step(&mut self, character: char) {
        // Inside of the block a model may repeat the opener that the template wrote.
        let tag = match self.part {
            Part::Beginning => self.format.opener(),
            Part::Reasoning if !self.has_begun && self.held_is_opener(character) => {
                self.format.opener()
            }
            Part::Reasoning => self.format.closer(),
            Part::Answer | Part::Plain => return self.emit(character),
        };
        if self.held.is_empty() && character.is_whitespace() {
            return self.emit(character);
        }
        self.held.push(character);
        while !tag.starts_with(&self.held) {
            let first = self.held.remove(0);
            self.emit(first);
            if self.part == Part::Plain || self.held.is_empty() {
                break;
            }
        }
        if self.held == tag {
            self.held.clear();
            self.blank.clear();
            self.has_begun = false;
            self.part = match tag == self.format.opener() {
                true => Part::Reasoning,
                false => Part::Answer,
            };
        } else if self.part == Part::Plain {
            for character in std::mem::take(&mut self.held).chars() {
                self.emit(character);
            }
        }
    }

    fn held_is_opener(&self, character: char) -> bool {
        let rest = self.format.opener().strip_prefix(self.held.as_str());
        rest.is_some_and(|rest| rest.starts_with(character)) 
    }

    /// Writes a character that is no part of a tag, blank space only once something follows.
    fn emit(&mut self, character: char) {
        if character.is_whitespace() && self.part != Part::Plain && self.holds_blank() {
            self.blank.push(character);
            return;
        }
        if self.part == Part::Beginning {
            self.part = Part::Plain;
        }
        let blank = std::mem::take(&mut self.blank);
        if self.has_begun || self.part == Part::Plain {
            self.write(&blank);
        }
        self.has_begun = true;
        self.write(character.encode_utf8(&mut [0; 4]));
    }

    fn holds_blank(&self) -> bool {
        self.part != Part::Answer || !self.has_begun
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let is_reasoning = self.part == Part::Reasoning;
        match self.events.last_mut() {
            Some(ReasoningEvent::Reasoning(last)) if is_reasoning => last.push_str(text),
            Some(ReasoningEvent::Content(last)) if !is_reasoning => last.push_str(text),
            _ if is_reasoning => self.events.push(ReasoningEvent::Reasoning(text.to_owned())),
            _ => self.events.push(ReasoningEvent::Content(text.to_owned())),
        }
    }
}
